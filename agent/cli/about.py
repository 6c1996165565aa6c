"""``detailscribe doctor``, ``presets``, ``policies`` and ``graph``."""

import asyncio
import inspect
import json
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast, get_args, get_origin

import typer

from .common import console, print_tables
from .options import MODEL_OPTIONS, SettingsFile, option, with_options

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

STYLES = {"ok": "green", "warning": "yellow", "problem": "bold red"}
ENDINGS = {
    "ok": "ready to run",
    "warning": "ready to run, but see the warnings",
    "problem": "a run would end at the first problem",
}


@with_options(MODEL_OPTIONS)
def doctor(
    given: dict[str, Any],
    settings: SettingsFile = None,
    everything: Annotated[bool, option("Show settings at their defaults too.", "--all")] = False,
    as_json: Annotated[bool, option("Print JSON, with every setting.", "--json")] = False,
) -> None:
    """Check settings, servers, downloads and memory, and print the results; exit status 2 if a run would fail."""
    from ..doctor import examine
    from ..settings.loading import load

    diagnosis = asyncio.run(examine(load(given, file=settings)))
    exit = typer.Exit(2 if diagnosis.status == "problem" else 0)
    if as_json:
        typer.echo(diagnosis.model_dump_json(indent=2))
        raise exit
    from rich.text import Text

    from ..evaluation.tables import Table, columns

    out, shown = console(), [setting for setting in diagnosis.settings if everything or setting.source != "default"]
    rows = tuple((setting.name, setting.value, setting.source) for setting in shown)
    findings = tuple((finding.status, finding.topic, finding.text) for finding in diagnosis.findings)
    versions = ", ".join(f"{name} {version}" for name, version in diagnosis.versions.items())
    out.print(Text(f"{versions}\n", style="dim"))
    print_tables([Table("", columns("setting, value, from"), rows)])
    out.print()
    print_tables([Table("", columns("status, of, finding"), findings)])
    if hidden := len(diagnosis.settings) - len(shown):
        out.print(Text(f"\n{hidden} settings are at their defaults; --all shows them", style="dim"))
    out.print(Text(f"\n{ENDINGS[diagnosis.status]}", style=STYLES[diagnosis.status]))
    raise exit


def presets() -> None:
    """List the presets with the GPU memory and the download that each needs, and the baselines."""
    from ...tools.diffusion.memory import Placement, local_folder, memory_needed, model_size
    from ..evaluation.tables import Table, columns
    from ..settings.presets import BASELINES, PRESETS, baseline_named
    from ..settings.settings import DiffusionSection

    rows: list[tuple[str, ...]] = []
    for name, preset in PRESETS.items():
        chosen = DiffusionSection.model_validate(preset.settings.get("diffusion", {}))
        memory = download = "-"
        if chosen.model is not None and chosen.kind != "endpoint":
            size = model_size(chosen.model)
            placement = Placement("cuda", chosen.precision or "bf16", chosen.offload, chosen.t5)
            memory = f"{(memory_needed(size, placement).gpu_bytes or 0) / 1e9:.0f} GB"
            download = "done" if local_folder(chosen.model) else f"{size.download / 1e9:.0f} GB"
        rows.append((name, memory, download, preset.summary))
    baselines = {**BASELINES, "best-by-clipscore": baseline_named("best-by-clipscore")}
    rows += [(f"...+{name}", "", "", f"baseline: {baseline.summary}") for name, baseline in baselines.items()]
    print_tables([Table("", columns("preset, GPU memory, download, what it is"), tuple(rows))])


def policies() -> None:
    """List the policies and their parameters: default, range and meaning."""
    from rich.padding import Padding
    from rich.text import Text

    from ..policies import POLICIES
    from ..policies.policy import Parameters

    out = console()
    for name, policy in POLICIES.items():
        out.print(Text(f"{name}", style="bold"), Text((inspect.getdoc(policy) or "").partition("\n\n")[0]))
        for parameter, field in cast(type[Parameters], policy).model_fields.items():
            default = f"{field.default:.3g}" if isinstance(field.default, float) else json.dumps(field.default)
            words = f"{parameter} = {default}{_range(field)}  {' '.join((field.description or '').split())}"
            out.print(Padding(Text(words.replace("``", "")), (0, 0, 0, 4)))


def _range(field: "FieldInfo") -> str:
    """The values or the bounds of a parameter, in brackets."""
    if get_origin(field.annotation) is Literal:
        return f"  [{' | '.join(map(str, get_args(field.annotation)))}]"
    signs = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    rules = [(word, getattr(rule, sign, None)) for rule in field.metadata for sign, word in signs.items()]
    bounds = ", ".join(f"{word} {bound}" for word, bound in rules if bound is not None)
    return f"  [{bounds}]" if bounds else ""


def graph() -> None:
    """Print the state machine as a Mermaid drawing."""
    from ..graph.graph import build_graph

    typer.echo(build_graph().get_graph().draw_mermaid())
