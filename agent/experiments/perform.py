"""Carries an experiment out: what is there already is kept, the rest is run, and every image is judged."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from ...tools.errors import SettingsError
from ...tools.roles import Critic
from ..batch.cast import Cast, cast_of
from ..batch.ledger import Ledger
from ..batch.ledger import read_rows as read_batch_rows
from ..batch.many import run_many
from .bench import Bench, OnRow
from .critics import CriticSettings
from .judges import make_judge
from .loading import Loadout
from .plan import Planned, by_critic, plan
from .rows import Row
from .sharing import sharing
from .variants import Variant

OnPlan = Callable[[list[Planned], list[Row]], object]


@dataclass(frozen=True)
class Crew:
    """The models of an experiment, loaded once."""

    cast: Cast
    judge: Critic | None
    """None where the critic's word is taken."""

    @classmethod
    async def of(cls, loadout: Loadout) -> Self:
        """Those that the experiment's settings name; ``DetailScribeError`` where one cannot be used."""
        judge = make_judge(loadout.experiment.judge, loadout.settings.settings)
        cast = await cast_of(loadout.settings)
        return cls(replace(cast, diffusion=sharing(cast.diffusion)), judge)

    def casts(self, variants: tuple[Variant, ...]) -> dict[str, Cast]:
        """The roles of each variant by its label; variants with the same critic share theirs."""
        made: dict[str, tuple[CriticSettings, Cast]] = {}
        for variant in variants:
            known = next((cast for critic, cast in made.values() if critic == variant.critic), None)
            own = known or replace(self.cast, critic=variant.critic.applied(self.cast.critic))
            made[variant.label] = (variant.critic, own)
        return {label: cast for label, (_, cast) in made.items()}


async def perform(
    loadout: Loadout,
    folder: Path,
    crew: Crew,
    *,
    prompts: int | None = None,
    concurrency: int = 16,
    keep_all: bool = False,
    on_plan: OnPlan | None = None,
    on_row: OnRow | None = None,
) -> list[Row]:
    """Run what is missing in ``folder``, judge what is not judged, and return the rows of the whole experiment.

    A kill at any moment loses no run that had ended: to call it again goes on. A run counts as there only
    while all that decides about it is the same, models included; what an older file asked for stays on the disk
    and out of the rows.

    Args:
        loadout: The experiment.
        folder: Of the results; made where it is absent.
        crew: Its models.
        prompts: Only so many of its prompts.
        concurrency: Runs in flight.
        keep_all: Whether the run folders keep latents and reports, which take most of the room.
        on_plan: Called once with all runs and the rows that are there.
        on_row: Called with each new row.

    Raises:
        SettingsError: the folder is in use, or holds something else.
        ModelError: a model cannot be used by any run.
    """
    casts = crew.casts(loadout.variants)
    planned = plan(loadout, casts, prompts)
    make(folder)
    with Ledger(folder) as ledger:
        bench = Bench(folder, planned, crew.judge, keep_all, on_row)
        if on_plan is not None:
            on_plan(planned, bench.rows())
        try:
            for ended in read_batch_rows(folder):
                bench.take(ended)
            for cast, jobs in by_critic(planned, casts):
                await run_many(jobs, cast, ledger, concurrency=concurrency, on_row=bench.take)
        finally:
            await bench.close()
    return bench.rows()


def make(folder: Path) -> None:
    """A folder for results; ``SettingsError`` if it cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"cannot write to the folder {folder}: {error.strerror}") from error
