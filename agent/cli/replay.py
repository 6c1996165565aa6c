"""``detailscribe replay``."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .common import console, reported
from .options import parsed_argument

if TYPE_CHECKING:
    from ..experiments.replay import Replayed
    from ..experiments.tables import Table


def command(
    folder: Annotated[Path, typer.Argument(help="A run, or a folder of runs.", show_default=False)],
    policy: Annotated[str, typer.Option(help="A known name, or your own as module:Name.", show_default=False)],
    policy_arg: Annotated[
        list[str] | None, typer.Option("--policy-arg", "-p", metavar="KEY=VALUE", help="A parameter of the policy.")
    ] = None,
) -> None:
    """Judge recorded runs again by another policy: where it differs and, as far as the record reaches, its score."""
    from ..experiments.replay import replay
    from ..experiments.tables import for_terminal
    from ..policies import resolve_policy

    with reported():
        sys.path.append(str(Path.cwd()))  # where module:Name is looked for, after everything installed
        arguments = dict(parsed_argument(argument) for argument in policy_arg or [])
        found = replay(folder, resolve_policy(policy, **arguments))
        out = console()
        out.print(for_terminal(_table(found)))
        out.print(_summary(found), markup=False)


def _table(found: "list[Replayed]") -> "Table":
    from ..experiments.tables import Cell, Column, Table

    def line(one: "Replayed") -> tuple[Cell, ...]:
        place = "-" if one.differs is None else "at first" if one.differs < 0 else f"round {one.differs}"
        chosen = one.best or "not recorded"
        return one.run, place, one.reason or "the same", chosen, one.recorded, one.score, one.evaluations

    columns = (
        *(Column("run"), Column("differs"), Column("it would"), Column("its best")),
        *(Column("recorded", "share"), Column("its score", "share"), Column("evaluations", "number")),
    )
    return Table("Judged again", columns, tuple(line(one) for one in found))


def _summary(found: "list[Replayed]") -> str:
    known = [one for one in found if one.score is not None and one.evaluations is not None]
    same = sum(one.differs is None for one in found)
    text = f"{same} of {len(found)} runs would have gone the same way; {len(known)} can be scored from the record"
    if not known:
        return f"{text}."
    recorded = sum(one.recorded for one in known) / len(known)
    score = sum(one.score or 0.0 for one in known) / len(known)
    spent = sum(one.evaluations or 0 for one in known) - sum(one.recorded_evaluations for one in known)
    return f"{text}: {100 * score:.1f}% of checks where {100 * recorded:.1f}% were, with {spent:+d} evaluations."
