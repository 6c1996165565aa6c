"""``detailscribe batch``: many prompts over one set of models, by one method or several."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ...tools.errors import DetailScribeError, SettingsError
from .common import console
from .options import RUN_OPTIONS, Quiet, SettingsFile, argument, by_section, option, with_options

if TYPE_CHECKING:
    from ..settings.loading import Loaded

WHOLE = "detailscribe"
"""The method that is the preset itself."""
PROMPTS = (
    "JSONL with `prompt` and, where they differ, `id`, `seed`, `policy`, `policy_args`, `budget`; CSV with a column"
    " prompt; text with a prompt a line; a URL of one of these; or - for standard input."
)
RAY = "Run on a Ray cluster: auto for one that runs here, or else of this machine; local for this machine; host:port."
STORE = "Where finished run folders go, such as s3://bucket/name; by default beside the rows, in a shared folder."
METHODS = (
    "Several methods, one after another, each into a folder of its own: detailscribe (the preset itself), base,"
    " rewrite, refine, best-by-METRIC, best-of-N-by-METRIC, or another preset (dall-e-3+base)."
)
CHECKLIST = "What guides the loop: the decomposer's checks, or the benchmark's own questions in PROMPTS."
OUT = "The folder. By default runs/ and the name of the file. If it holds a part of the batch, the rest is run."
RETRY = "Run the prompts again that failed or had checks without an answer."


@with_options(RUN_OPTIONS)
def batch(
    prompts: Annotated[str, argument(PROMPTS)],
    given: dict[str, Any],
    concurrency: Annotated[int, option("Prompts in flight; with --ray, on each replica.", min=1)] = 16,
    ray: Annotated[str | None, option(RAY, panel="where", metavar="auto|local|ADDRESS")] = None,
    replicas: Annotated[
        int, option("Processes on the cluster, each with models of its own.", panel="where", min=1)
    ] = 1,
    gpus_per_replica: Annotated[float | None, option("1 if the cluster has GPUs.", panel="where", min=0)] = None,
    cpus_per_replica: Annotated[float | None, option("Also its threads; an equal share.", panel="where", min=0)] = None,
    store: Annotated[str | None, option(STORE, panel="where", metavar="URL")] = None,
    methods: Annotated[str | None, option(METHODS, panel="models", metavar="A,B")] = None,
    checklist: Annotated[Literal["decomposed", "own"], option(CHECKLIST, panel="decides")] = "decomposed",
    settings: SettingsFile = None,
    out: Annotated[Path | None, option(OUT, panel="files")] = None,
    runs: Annotated[bool, option("Keep run folders, or rows alone.", "--runs/--no-runs", panel="files")] = True,
    retry_failed: Annotated[bool, option(RETRY, "--retry-failed", panel="files")] = False,
    quiet: Quiet = False,
) -> None:
    """Run every prompt of PROMPTS over one set of models; exit status 1 if some failed."""
    from ...tools.data.reader import STDIN
    from ..batch.batch import default_folder, run_batch
    from ..settings.loading import load
    from ..views.live import BatchLive, tally_in_words
    from ..views.words import duration

    if prompts == STDIN and (checklist == "own" or methods is not None):
        raise SettingsError("standard input can be read once: name a file for --methods or --checklist own")
    if checklist == "own":
        given.setdefault("run", {})["checklist"] = prompts if "://" in prompts else str(Path(prompts).absolute())
    cluster = None
    if ray is not None:
        from ..batch.cluster import Cluster

        cluster = Cluster(ray, replicas, gpus_per_replica, cpus_per_replica, store)
        cluster = cluster if quiet else replace(cluster, news=partial(typer.echo, err=True))
    elif (replicas, gpus_per_replica, cpus_per_replica, store) != (1, None, None, None):
        raise SettingsError("--replicas, --gpus-per-replica, --cpus-per-replica and --store belong to --ray")
    if methods is None:
        chosen = {"": load(given, by_section({"run.out": out}), file=settings)}
    else:
        chosen = load_methods(methods.split(","), given, out or default_folder(prompts), settings)
    failed, shown = 0, console(quiet)
    for name, loaded in chosen.items():
        if name and not quiet:
            typer.echo(name)
        place = cluster
        if cluster is not None and cluster.store is not None and name:
            place = replace(cluster, store=f"{cluster.store.rstrip('/')}/{name}")
        live = BatchLive(shown)
        try:
            with live:
                done = run_batch(
                    prompts,
                    settings=loaded,
                    concurrency=concurrency,
                    cluster=place,
                    keep_runs=runs,
                    retry_failed=retry_failed,
                    on_event=live.on_event,
                    on_progress=live.on_progress,
                )
        except (DetailScribeError, KeyboardInterrupt):
            if live.resume_hint:
                typer.echo(live.resume_hint, err=True)
            raise
        failed += done.tally.failed
        if quiet:
            typer.echo(done.folder)
        else:
            typer.echo(f"{tally_in_words(done.tally)}; {duration(live.seconds, rough=True)}")
            typer.echo(f"results  {done.results}")
    raise typer.Exit(1 if failed else 0)


def load_methods(
    names: Sequence[str], given: Mapping[str, Mapping[str, Any]], folder: Path, file: Path | None
) -> dict[str, "Loaded"]:
    """The settings of each method, by its name, which is also the name of its folder in ``folder``.

    A name is ``detailscribe`` for the preset itself, a baseline of that preset, or another preset with or without a
    baseline. Given settings of the model that draws apply to the preset's own model, and those of the policy to methods
    that set none. ``SettingsError`` if a name is unknown or comes twice, the preset is already a baseline, or a setting
    from elsewhere would override another preset's model.
    """
    from ..settings.loading import load
    from ..settings.presets import BASELINES, PRESETS, preset_named

    own = load(given, file=file).settings.run.preset
    if "+" in own:
        raise SettingsError(f"the preset {own!r} is one method already: name it without what follows the +")
    if not names or len(set(names)) < len(names):
        raise SettingsError(f"--methods {','.join(names)!r} should name each method once")
    methods: dict[str, Loaded] = {}
    for name in names:
        bare = name.partition("+")[0]
        preset = own if name == WHOLE else name if bare in PRESETS else f"{own}+{name}"
        try:
            method = preset_named(preset)
        except SettingsError as error:
            if bare in PRESETS:
                raise
            known = f"{WHOLE}, {', '.join(BASELINES)}, best-by-METRIC, best-of-N-by-METRIC, or another preset"
            raise SettingsError(f"no method {name!r}; known are {known}") from error
        is_other = preset.partition("+")[0] != own
        decides = method.baseline is not None and "policy" in method.baseline.settings.get("run", {})
        dropped = ("steps", "guidance") * is_other + ("policy", "policy_args") * (is_other or decides)
        sections = {section: values for section, values in given.items() if not (is_other and section == "diffusion")}
        run = {key: value for key, value in given.get("run", {}).items() if key not in dropped}
        loaded = load({**sections, "run": {**run, "preset": preset, "out": folder / name}}, file=file)
        model = method.settings.get("diffusion", {}).get("model")
        if is_other and loaded.settings.diffusion.model != model:
            place = f"diffusion.model comes from elsewhere ({loaded.source('diffusion.model')})"
            raise SettingsError(f"{name} draws with {model}, but {place}: unset it")
        methods[name] = loaded
    return methods
