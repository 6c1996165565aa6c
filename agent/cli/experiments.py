"""``detailscribe experiment``, ``compare``, ``replay`` and ``learn``: compares policies over many runs."""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...tools.errors import SettingsError, first_problem
from .common import console, print_line, print_tables
from .options import LpipsWeights, Markdown, PolicyArgs, argument, option, parsed_arguments

if TYPE_CHECKING:
    from rich.console import Console

    from ..batch.jobs import Job
    from ..experiments.load import Experiment
    from ..experiments.rows import ExperimentRow

EXHAUSTIVE = "Instead of its policies, record a tree for each prompt and seed, to replay any policy on."
BOUND = "A bound in place of the recorded one, such as evaluations=112."
PAGE = "Write runs side by side, with their images, as one page."
_TREE_RUNS = 8
"""Images that a tree has in flight, for which it counts as so many runs."""


def experiment(
    file: Annotated[Path, argument("The experiment, in TOML.")],
    out: Annotated[Path | None, option("Folder of the results. By default runs and the file's name.")] = None,
    prompts: Annotated[int | None, option("Use only so many of its prompts, to try it out.", min=1)] = None,
    concurrency: Annotated[int, option("Runs in flight.", min=1)] = 16,
    keep_all: Annotated[bool, option("Keep latents and reports of every run; they take most of the room.")] = False,
    lpips: LpipsWeights = None,
    exhaustive: Annotated[bool, option(EXHAUSTIVE, "--exhaustive")] = False,
    check: Annotated[bool, option("Print what it would run, and stop.", "--check")] = False,
) -> None:
    """Run the experiment in FILE, judge every image, and write tables and plots; exit status 1 if some runs failed.

    If you start it again, it goes on and repeats what failed.
    """
    from ..experiments.load import ExperimentError, load_experiment
    from ..experiments.plots import NEEDS, can_plot
    from ..experiments.run import exhaustive as recording
    from ..experiments.run import run_experiment
    from ..experiments.write import write_results

    try:
        experiment = load_experiment(file)
    except ExperimentError as error:
        for line in str(error).splitlines():
            print_line(f"error: {line}")
        raise typer.Exit(2) from error
    if check:
        _print_plan(experiment, prompts, exhaustive)
        return
    folder = out or Path("runs") / (f"{experiment.name}-trees" if exhaustive else experiment.name)
    if exhaustive:
        experiment, concurrency = recording(experiment), -(-concurrency // _TREE_RUNS)
    how: dict[str, Any] = {"prompts": prompts, "concurrency": concurrency, "keep_all": keep_all, "lpips": lpips}
    try:
        bars = Bars(console())
        with bars.progress:
            rows = run_experiment(experiment, folder, **how, on_plan=bars.begin, on_row=bars.step)
        if exhaustive:
            images = sum(len(row.images) for row in rows)
            typer.echo(f"{len(rows)} trees of {images} images; decide about them with")
            typer.echo(f"  detailscribe replay {folder} --policy NAME")
        else:
            typer.echo()
            print_tables(list(write_results(experiment, rows, folder).values())[:3])
            typer.echo("" if can_plot() else f"\n{NEEDS}")
            typer.echo(f"results  {folder / 'summary.md'}\npage     {folder / 'page.html'}")
    except KeyboardInterrupt as interrupt:
        typer.echo("interrupted; start it again to go on", err=True)
        raise typer.Exit(130) from interrupt
    raise typer.Exit(1 if any(row.error for row in rows) else 0)


def _print_plan(experiment: "Experiment", prompts: int | None, exhaustive: bool) -> None:
    count, seeds = len(list(islice(experiment.prompts, prompts))), len(experiment.spec.seeds)
    lines, asked = [experiment.spec.question], f"{count} prompts, {seeds} seed(s)"
    if exhaustive:
        most = experiment.spec.tree.budget.images
        lines.append(f"{asked}: {count * seeds} trees of at most {most} images")
    else:
        labels = [variant.label for variant in experiment.variants]
        lines += [f"{asked}, {len(labels)} variants:", *(f"  {label}" for label in labels)]
        lines.append(f"{count * seeds * len(labels)} runs")
    typer.echo("\n".join(lines))


class Bars:
    """A bar for each variant and one for all; without a terminal, a line for each tenth of the runs."""

    def __init__(self, out: "Console") -> None:
        from rich import progress

        self._is_drawn = out.is_terminal and not out.is_dumb_terminal
        self._print = partial(out.print, markup=False, soft_wrap=True)  # above the bars
        text = partial(progress.TextColumn, markup=False)
        columns = (text("{task.description}"), progress.BarColumn(), progress.MofNCompleteColumn())
        times = (text("{task.fields[note]}"), progress.TimeElapsedColumn(), progress.TimeRemainingColumn())
        self.progress = progress.Progress(*columns, *times, console=out, disable=not self._is_drawn)
        self._bars = dict[str, progress.TaskID]()
        self._correct, self._done, self._total = Counter[str](), Counter[str](), 0

    def begin(self, planned: "Sequence[Job]", done: "Sequence[ExperimentRow]") -> None:
        """Start with all runs, and the rows of those that are done."""
        self._total = len(planned)
        runs = Counter(str(job.tags["label"]) for job in planned)
        for label, total in {"all": self._total, **runs}.items():
            self._bars[label] = self.progress.add_task(label, total=total, note="")
        for row in done:
            self._count(row)
        if done:
            self._print(f"{len(done)} of {self._total} runs are there already")

    def step(self, row: "ExperimentRow") -> None:
        """Add a row."""
        share = self._count(row)
        if row.error is not None:
            self._print(f"failed: {row.label}: {row.prompt}: {row.error}")
        done = self._done["all"]
        if not self._is_drawn and done * 10 // self._total != (done - 1) * 10 // self._total:
            self._print(f"{done} of {self._total} runs, {share}")

    def _count(self, row: "ExperimentRow") -> str:
        from ..experiments.measures import correct

        share = ""
        for label in (row.label, "all"):
            self._done[label] += 1
            self._correct[label] += row.error is None and correct(row.chosen) == 1
            share = f"{100 * self._correct[label] / self._done[label]:.0f}% all correct"
            self.progress.update(self._bars[label], completed=self._done[label], note=share)
        return share


def compare(
    a: Annotated[Path, argument("An experiment, a batch, a run, or a folder of runs.")],
    b: Annotated[Path, argument("Another one, or the same.")],
    only_a: Annotated[str | None, option("Only this variant of A.", "--a", metavar="VARIANT")] = None,
    only_b: Annotated[str | None, option("Only this variant of B.", "--b", metavar="VARIANT")] = None,
    prompts: Annotated[int, option("List so many of the prompts that differ most.", min=0)] = 20,
    markdown: Markdown = False,
    page: Annotated[Path | None, option(PAGE, "--page", metavar="FILE")] = None,
    opened: Annotated[bool, option("Open that page in the browser.", "--open")] = False,
) -> None:
    """Print how B differs from A over the same prompts and seeds: differences with intervals, and prompt by prompt."""
    from ..experiments.compare import compare, run_pairs

    if page is None and not opened:
        print_tables(compare(a, b, only_a, only_b, prompts), markdown=markdown)
        return
    import webbrowser

    from ...tools.files import require_writable, write_whole
    from ..records.reader import read_run
    from ..views.comparison import compare_page

    left, right = _run_or_image(a), _run_or_image(b)
    pairs = [(left, right)] if left and right else run_pairs(a, b, only_a, only_b, prompts)
    page = page or Path("comparison.html")
    require_writable(page)
    shown = [((read_run(one), first), (read_run(two), second)) for (one, first), (two, second) in pairs]
    write_whole(page, compare_page(shown).encode())
    typer.echo(page)
    if opened:
        webbrowser.open(page.resolve().as_uri())


def _run_or_image(given: Path) -> tuple[Path, str] | None:
    """A run, or one of its images as ``RUN@IMAGE``; None for anything else."""
    from ..records.reader import is_run

    run, _, image = str(given).rpartition("@")
    return (given, "") if is_run(given) else (Path(run), image) if run and is_run(Path(run)) else None


def replay(
    folder: Annotated[Path, argument("A run, a folder of runs, or one of exhaustive trees.")],
    policy: Annotated[str, option("A known name, or your own as module:Name.", show_default=False)],
    policy_arg: PolicyArgs = None,
    bound: Annotated[list[str] | None, option(BOUND, "--bound", "-b", metavar="KEY=VALUE")] = None,
    most: Annotated[int, option("List so many runs or trees at most.", "--list", min=0)] = 20,
) -> None:
    """Replay another policy on recorded runs: where it decides otherwise and, as far as the record reaches, its score.

    On trees of `detailscribe experiment --exhaustive`: its score on each.
    """
    from pydantic import ValidationError

    from ...state import Budget
    from ..experiments.replay import each, in_words, replay, totals
    from ..policies import resolve_policy

    try:
        bounds = Budget.model_validate(parsed_arguments(bound, "--bound"))
    except ValidationError as error:
        raise SettingsError(f"--bound {first_problem(error)}") from error
    replays = replay(folder, resolve_policy(policy, **parsed_arguments(policy_arg)), bounds)
    if replays[0].recorded is None:  # on trees
        print_tables([each(replays, most), totals(replays)])
    else:
        print_tables([each(replays, most)])
        typer.echo(in_words(replays))


def learn(
    folder: Annotated[Path, argument("A run, or a folder of runs, of one critic and one diffusion model.")],
    out: Annotated[Path, option("The learned values to write.")] = Path("policy.json"),
) -> None:
    """Learn from recorded runs what each attempt is worth, for --policy value -p file=policy.json."""
    from ...tools.files import write_whole
    from ..experiments.learn import learn

    values = learn(folder)
    write_whole(out, (values.model_dump_json(indent=1) + "\n").encode())
    for name, entry in values.card.items():
        print_line(f"{name:<32} {entry}")
    print_line(f"{'written':<32} {out}")
