"""``detailscribe experiment``."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .common import console

if TYPE_CHECKING:
    from rich.console import Console

    from ..experiments.loading import Loadout
    from ..experiments.progress import Bars
    from ..experiments.rows import Row
    from ..experiments.tables import Table


_A_TREE = 8
"""Runs that one tree stands for: it has as many images in flight."""


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
            "--exhaustive", help="Run no policy: record, of each prompt and seed, a tree that any can be replayed on."
        ),
    ] = False,
    check: Annotated[bool, typer.Option("--check", help="Say what it would run, and stop.")] = False,
) -> None:
    """Run the experiment in FILE, judge every image, and leave tables and plots. To start it again goes on."""
    from ...tools.errors import DetailScribeError
    from ..experiments.loading import ExperimentError, load_experiment

    sys.path.append(str(Path.cwd()))  # where module:Name is looked for, after everything installed
    try:
        loadout = load_experiment(file)
        if check:
            _tell_plan(console(), loadout, prompts, exhaustive)
        elif exhaustive:
            _record(loadout, out or Path("runs") / f"{loadout.name}-trees", prompts, concurrency, keep_all)
        else:
            _run(loadout, out or Path("runs") / loadout.name, prompts, concurrency, keep_all)
    except ExperimentError as error:
        for line in str(error).splitlines():
            typer.echo(f"error: {line}", err=True)
        raise typer.Exit(2) from error
    except DetailScribeError as error:
        typer.echo(f"error: {' '.join(str(error).split())}", err=True)
        raise typer.Exit(2) from error
    except KeyboardInterrupt as interrupt:
        typer.echo("interrupted; start it again to go on", err=True)
        raise typer.Exit(130) from interrupt


def _run(loadout: "Loadout", folder: Path, prompts: int | None, concurrency: int, keep_all: bool) -> None:
    from ..experiments.leave import leave
    from ..experiments.progress import Bars

    out = console()
    with Bars(out) as bars:
        rows = _performed(loadout, folder, prompts, concurrency, keep_all, bars)
    tables = leave(loadout, rows, folder)
    _show(out, folder, list(tables.values()))


def _record(loadout: "Loadout", folder: Path, prompts: int | None, concurrency: int, keep_all: bool) -> None:
    import asyncio

    from rich.progress import Progress
    from rich.text import Text

    from ..experiments.perform import Crew
    from ..experiments.tree import Tree, grow

    out = console()

    async def main() -> "list[Tree]":
        with Progress(console=out, disable=not out.is_terminal) as progress:
            bar = progress.add_task("trees", total=len(loadout.prompts[:prompts]) * len(loadout.experiment.seeds))
            return await grow(
                loadout,
                folder,
                await Crew.of(loadout),
                prompts=prompts,
                concurrency=-(-concurrency // _A_TREE),
                keep_all=keep_all,
                on_tree=lambda _: progress.advance(bar),
            )

    trees = asyncio.run(main())
    images = sum(len(tree.images) for tree in trees)
    out.print(Text(f"{len(trees)} trees of {images} images; decide about them with"), soft_wrap=True)
    out.print(Text(f"  detailscribe replay {folder} --policy NAME"), soft_wrap=True)


def _performed(
    loadout: "Loadout", folder: Path, prompts: int | None, concurrency: int, keep_all: bool, bars: "Bars"
) -> "list[Row]":
    import asyncio

    from ..experiments.perform import Crew, perform

    async def main() -> "list[Row]":
        return await perform(
            loadout,
            folder,
            await Crew.of(loadout),
            prompts=prompts,
            concurrency=concurrency,
            keep_all=keep_all,
            on_plan=bars.begin,
            on_row=bars.step,
        )

    return asyncio.run(main())


def _show(out: "Console", folder: Path, tables: "list[Table]") -> None:
    from rich.text import Text

    from ..experiments.plots import NEEDS, can_plot
    from ..experiments.tables import for_terminal

    for table in tables[:3]:
        out.print()
        out.print(for_terminal(table))
    out.print()
    if not can_plot():
        out.print(Text(NEEDS), soft_wrap=True)
    for name, path in (("results", folder / "summary.md"), ("page", folder / "page.html")):
        out.print(Text(f"{name:<8} {path}"), soft_wrap=True)


def _tell_plan(out: "Console", loadout: "Loadout", prompts: int | None, exhaustive: bool) -> None:
    from rich.text import Text

    count, seeds = len(loadout.prompts[:prompts]), len(loadout.experiment.seeds)
    out.print(Text(loadout.experiment.question), soft_wrap=True)
    if exhaustive:
        most = loadout.experiment.tree.most_images
        out.print(Text(f"{count} prompts, {seeds} seed(s): {count * seeds} trees of at most {most} images"))
        return
    out.print(Text(f"{count} prompts, {seeds} seed(s), {len(loadout.variants)} variants:"))
    for variant in loadout.variants:
        out.print(Text(f"  {variant.label}"), soft_wrap=True)
    out.print(Text(f"{count * seeds * len(loadout.variants)} runs"))
