"""``detailscribe experiment``."""

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .common import console, reported

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from ..experiments.judge import PlannedRun
    from ..experiments.load import Experiment
    from ..experiments.rows import Row

_TREE_RUNS = 8
"""Runs that recording a tree counts for: it has that many images in flight."""


def command(
    file: Annotated[Path, typer.Argument(help="The experiment, in TOML.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the results. By default runs and the file's name.")
    ] = None,
    prompts: Annotated[int | None, typer.Option(min=1, help="Only so many of its prompts, to try it out.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Runs in flight.")] = 16,
    keep_all: Annotated[
        bool, typer.Option(help="Keep latents and reports of every run; they take most of the room.")
    ] = False,
    exhaustive: Annotated[
        bool,
        typer.Option(
            "--exhaustive",
            help="Instead of its policies, record a tree of each prompt and seed that any policy can be replayed on.",
        ),
    ] = False,
    check: Annotated[bool, typer.Option("--check", help="Print what it would run, and stop.")] = False,
) -> None:
    """Run the experiment in FILE, judge every image, and write tables and plots; exit status 1 if some runs failed.

    To start it again goes on, and runs again what failed.
    """
    from ..experiments.load import ExperimentError, load_experiment
    from ..experiments.run import exhaustive as recording
    from ..experiments.run import run_experiment

    sys.path.append(str(Path.cwd()))  # where module:Name is looked for, after everything installed
    with reported():
        try:
            experiment = load_experiment(file)
        except ExperimentError as error:
            for line in str(error).splitlines():
                typer.echo(f"error: {line}", err=True)
            raise typer.Exit(2) from error
        if check:
            _print_plan(console(), experiment, prompts, exhaustive)
            return
        folder = out or Path("runs") / (f"{experiment.name}-trees" if exhaustive else experiment.name)
        if exhaustive:
            experiment, concurrency = recording(experiment), -(-concurrency // _TREE_RUNS)
        with Bars(console()) as bars:
            rows = run_experiment(
                experiment,
                folder,
                prompts=prompts,
                concurrency=concurrency,
                keep_all=keep_all,
                on_plan=bars.begin,
                on_row=bars.step,
            )
        _print_results(console(), experiment, rows, folder, exhaustive)
    raise typer.Exit(1 if any(row.error for row in rows) else 0)


def _print_results(out: "Console", experiment: "Experiment", rows: "list[Row]", folder: Path, exhaustive: bool) -> None:
    from rich.text import Text

    from ..evaluation.tables import for_terminal
    from ..experiments.plots import NEEDS, can_plot
    from ..experiments.write import write_results

    if exhaustive:
        images = sum(len(row.images) for row in rows)
        out.print(Text(f"{len(rows)} trees of {images} images; decide about them with"), soft_wrap=True)
        out.print(Text(f"  detailscribe replay {folder} --policy NAME"), soft_wrap=True)
        return
    for table in list(write_results(experiment, rows, folder).values())[:3]:
        out.print()
        out.print(for_terminal(table))
    out.print()
    if not can_plot():
        out.print(Text(NEEDS), soft_wrap=True)
    for name, path in (("results", folder / "summary.md"), ("page", folder / "page.html")):
        out.print(Text(f"{name:<8} {path}"), soft_wrap=True)


def _print_plan(out: "Console", experiment: "Experiment", prompts: int | None, exhaustive: bool) -> None:
    from rich.text import Text

    count, seeds = len(experiment.prompts[:prompts]), len(experiment.spec.seeds)
    lines = [experiment.spec.question]
    if exhaustive:
        most = experiment.spec.tree.budget.images
        lines.append(f"{count} prompts, {seeds} seed(s): {count * seeds} trees of at most {most} images")
    else:
        lines.append(f"{count} prompts, {seeds} seed(s), {len(experiment.variants)} variants:")
        lines += [f"  {variant.label}" for variant in experiment.variants]
        lines.append(f"{count * seeds * len(experiment.variants)} runs")
    out.print(Text("\n".join(lines)), soft_wrap=True)


class Bars:
    """A bar for each variant and one for all; where the terminal draws none, a line for each tenth of the runs."""

    def __init__(self, out: "Console") -> None:
        self._out = out
        self._drawn = out.is_terminal and not out.is_dumb_terminal
        self._progress = _progress(out, self._drawn)
        self._bars: dict[str, TaskID] = {}
        self._correct, self._done, self._total = Counter[str](), Counter[str](), 0

    def __enter__(self) -> "Bars":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def begin(self, planned: "Sequence[PlannedRun]", done: "Sequence[Row]") -> None:
        """All runs, and the rows of those that are done."""
        from rich.text import Text

        self._total = len(planned)
        runs = Counter(one.variant.label for one in planned)
        for label, total in {"all": self._total, **runs}.items():
            self._bars[label] = self._progress.add_task(label, total=total, note="")
        for row in done:
            self._count(row)
        if done:
            self._out.print(Text(f"{len(done)} of {self._total} runs are there already"))

    def step(self, row: "Row") -> None:
        """One more row."""
        from rich.text import Text

        self._count(row)
        if row.error is not None:
            self._out.print(Text(f"failed: {row.label}: {row.prompt}: {row.error}"), soft_wrap=True)
        done = self._done["all"]
        if not self._drawn and done * 10 // self._total != (done - 1) * 10 // self._total:
            self._out.print(Text(f"{done} of {self._total} runs, {self._share('all')}"))

    def _count(self, row: "Row") -> None:
        from ..experiments.measures import correct

        for label in ("all", row.label):
            self._done[label] += 1
            self._correct[label] += row.error is None and correct(row.chosen) == 1
            self._progress.update(self._bars[label], completed=self._done[label], note=self._share(label))

    def _share(self, label: str) -> str:
        return f"{100 * self._correct[label] / self._done[label]:.0f}% all correct"


def _progress(out: "Console", drawn: bool) -> "Progress":
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=out,
        disable=not drawn,
    )
