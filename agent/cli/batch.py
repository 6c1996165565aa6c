"""``detailscribe batch``."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .common import console, reported
from .options import (
    LEAVES,
    MODELS,
    WHERE,
    ChatModel,
    ChatUrl,
    Diffusion,
    Guidance,
    Images,
    PolicyArgs,
    PolicyName,
    Preset,
    Rounds,
    Seed,
    SettingsFile,
    Steps,
    VisionModel,
    VisionUrl,
    model_arguments,
    run_arguments,
)

if TYPE_CHECKING:
    from ..batch.batch import Batch
    from ..cluster.wish import Cluster
    from ..settings.loading import Loaded


def command(
    prompts: Annotated[
        str,
        typer.Argument(
            help="JSONL with `prompt` and, where they differ, `id`, `seed`, `policy`, `policy_args`, `budget`; CSV with"
            " a column prompt; text with a prompt a line; a URL of one of these; or - for standard input.",
            show_default=False,
        ),
    ],
    concurrency: Annotated[int, typer.Option(help="Prompts in flight; with --ray, on each replica.", min=1)] = 16,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="auto|local|ADDRESS",
            help="Run on a Ray cluster: auto for the one that runs here, or else one of this machine; local for one of"
            " this machine; host:port.",
            rich_help_panel=WHERE,
        ),
    ] = None,
    replicas: Annotated[
        int, typer.Option(help="Processes on the cluster, each with models of its own.", min=1, rich_help_panel=WHERE)
    ] = 1,
    gpus_per_replica: Annotated[
        float | None,
        typer.Option(help="By default 1 if the cluster has GPUs.", min=0, rich_help_panel=WHERE),
    ] = None,
    cpus_per_replica: Annotated[
        float | None,
        typer.Option(help="Also its threads. By default an equal share of all.", min=0, rich_help_panel=WHERE),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Where run folders go when they are finished, such as s3://bucket/name. By default they lie beside the"
            " rows, in a folder that all machines share.",
            rich_help_panel=WHERE,
        ),
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help="Several methods, one after another, each into a folder of its own: detailscribe (the preset itself),"
            " base, rewrite, refine, best-by-METRIC, best-of-N-by-METRIC, or another preset (dall-e-3+base).",
            rich_help_panel=MODELS,
        ),
    ] = None,
    preset: Preset = None,
    chat_url: ChatUrl = None,
    chat_model: ChatModel = None,
    vision_url: VisionUrl = None,
    vision_model: VisionModel = None,
    diffusion: Diffusion = None,
    steps: Steps = None,
    guidance: Guidance = None,
    policy: PolicyName = None,
    policy_arg: PolicyArgs = None,
    seed: Seed = None,
    rounds: Rounds = None,
    images: Images = None,
    settings: SettingsFile = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The folder. By default runs/ and the name of the file. One that holds a part of the batch is gone on"
            " with.",
            rich_help_panel=LEAVES,
        ),
    ] = None,
    runs: Annotated[
        bool, typer.Option("--runs/--no-runs", help="Keep run folders, or rows alone.", rich_help_panel=LEAVES)
    ] = True,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Run the prompts again that failed.", rich_help_panel=LEAVES)
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print nothing but the folder.", rich_help_panel=LEAVES)
    ] = False,
) -> None:
    """Run every prompt of PROMPTS over one set of models; exit status 1 if some failed."""
    with reported():
        given = model_arguments(preset, chat_url, chat_model, vision_url, vision_model, diffusion)
        run = run_arguments(steps, guidance, policy, policy_arg, seed, rounds, images, out)
        given["run"] = given.get("run", {}) | run
        cluster = _cluster(ray, replicas, gpus_per_replica, cpus_per_replica, store, quiet)
        failed = 0
        for name, loaded in _loaded(prompts, methods, given, out, settings).items():
            if name and not quiet:
                typer.echo(name)
            place = _place_of(cluster, name)
            failed += _run(prompts, loaded, concurrency, place, runs, retry_failed, quiet).tally.failed
    raise typer.Exit(1 if failed else 0)


def _cluster(
    address: str | None,
    replicas: int,
    gpus: float | None,
    cpus: float | None,
    store: str | None,
    quiet: bool,
) -> "Cluster | None":
    """What these options wish for; None where the batch runs here."""
    if address is None:
        if (replicas, gpus, cpus, store) != (1, None, None, None):
            from ...tools.errors import SettingsError

            raise SettingsError("--replicas, --gpus-per-replica, --cpus-per-replica and --store belong to --ray")
        return None
    from ..cluster.wish import Cluster

    def tell(line: str) -> None:
        if not quiet:
            typer.echo(line, err=True)

    return Cluster(address, replicas, gpus, cpus, store, news=tell)


def _place_of(cluster: "Cluster | None", method: str) -> "Cluster | None":
    """The cluster, with a store of its own for each of several methods."""
    if cluster is None or cluster.store is None or not method:
        return cluster
    from dataclasses import replace

    return replace(cluster, store=f"{cluster.store.rstrip('/')}/{method}")


def _loaded(
    prompts: str, methods: str | None, given: dict[str, dict[str, Any]], out: Path | None, file: Path | None
) -> "dict[str, Loaded]":
    """Settings by method, all of them checked before the first begins; one without a name where none are listed."""
    from ..settings.loading import load

    if methods is None:
        return {"": load(given, file=file)}
    from ...tools.errors import SettingsError
    from ..batch.batch import default_folder
    from ..batch.prompts import STDIN
    from .methods import load_methods

    if prompts == STDIN:
        raise SettingsError("standard input can be read once, and every method reads the prompts: name a file")
    return load_methods(methods.split(","), given, out or default_folder(prompts), file)


def _run(
    prompts: str,
    loaded: "Loaded",
    concurrency: int,
    cluster: "Cluster | None",
    keep_runs: bool,
    retry_failed: bool,
    quiet: bool,
) -> "Batch":
    from rich.text import Text

    from ...tools.errors import DetailScribeError
    from ..batch.batch import run_batch
    from ..views.live import BatchLive, tally_in_words
    from ..views.words import duration

    out = console(quiet)
    sys.path.append(str(Path.cwd()))  # where module:Name is looked for, after everything installed
    live = BatchLive(out)
    try:
        with live:
            batch = run_batch(
                prompts,
                settings=loaded,
                concurrency=concurrency,
                cluster=cluster,
                keep_runs=keep_runs,
                retry_failed=retry_failed,
                on_event=live.on_event,
                on_progress=live.on_progress,
            )
    except (DetailScribeError, KeyboardInterrupt):
        if live.way_on:
            typer.echo(live.way_on, err=True)
        raise
    if quiet:
        typer.echo(batch.folder)
    for line in (f"{tally_in_words(batch.tally)}; {duration(live.seconds, rough=True)}", f"results  {batch.results}"):
        out.print(Text(line), soft_wrap=True)
    return batch
