"""``detailscribe replay``."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .common import console, reported
from .options import parsed_argument

if TYPE_CHECKING:
    from ...state import Budget


def command(
    folder: Annotated[
        Path, typer.Argument(help="A run, a folder of runs, or one of exhaustive trees.", show_default=False)
    ],
    policy: Annotated[str, typer.Option(help="A known name, or your own as module:Name.", show_default=False)],
    policy_arg: Annotated[
        list[str] | None, typer.Option("--policy-arg", "-p", metavar="KEY=VALUE", help="A parameter of the policy.")
    ] = None,
    bound: Annotated[
        list[str] | None,
        typer.Option("--bound", "-b", metavar="KEY=VALUE", help="Another bound than the recorded: evaluations=112."),
    ] = None,
    most: Annotated[int, typer.Option("--list", min=0, help="List at most so many runs or trees.")] = 20,
) -> None:
    """Judge recorded runs again by another policy: where it differs and, as far as the record reaches, its score.

    On trees that `detailscribe experiment --exhaustive` recorded: what it would have scored on each.
    """
    from ..evaluation.tables import for_terminal
    from ..experiments.replay import each, in_words, replay, totals
    from ..policies import resolve_policy

    with reported():
        sys.path.append(str(Path.cwd()))  # where module:Name is looked for, after everything installed
        arguments = dict(parsed_argument(argument) for argument in policy_arg or [])
        found = replay(folder, resolve_policy(policy, **arguments), _bounds(bound or []))
        out, listed = console(), each(found, most)
        for table in [listed] if found[0].recorded is not None else [listed, totals(found)]:
            if table.rows:
                out.print(for_terminal(table))
            if table.note:
                out.print(table.note, markup=False, soft_wrap=True)
        if found[0].recorded is not None:
            out.print(in_words(found), markup=False, soft_wrap=True)


def _bounds(given: list[str]) -> "Budget":
    """``SettingsError`` for what is no bound."""
    from pydantic import ValidationError

    from ...state import Budget
    from ...tools.errors import SettingsError, first_problem

    try:
        return Budget.model_validate(dict(parsed_argument(one, "--bound") for one in given))
    except ValidationError as error:
        raise SettingsError(f"--bound {first_problem(error)}") from error
