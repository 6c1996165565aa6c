"""Carries an experiment out: what is there already is kept, the rest is run, and every image is judged."""

import asyncio
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from ...state import RunResult
from ...tools.errors import SettingsError
from ...tools.roles import Critic
from ...tools.store import Store
from ..batch import rows as batch
from ..batch.ledger import Ledger
from ..batch.ledger import read_rows as read_batch_rows
from ..manifest import model_name
from ..many import Cast, cast_of, run_many
from .critics import CriticSettings
from .judges import judged, make_judge
from .loading import Loadout
from .plan import Planned, by_critic, plan
from .rows import Row, read_rows, told
from .variants import Variant

JUDGED = "judged.jsonl"
"""The rows of an experiment, beside those of its runs."""
OnRow = Callable[[Row], object]
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
        return cls(await cast_of(loadout.settings), judge)

    @property
    def judge_name(self) -> str | None:
        """Name and hash of the judge."""
        return None if self.judge is None else model_name(self.judge)

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
    planned = {one.job.id: one for one in plan(loadout, casts, prompts)}
    _make(folder)
    with Ledger(folder) as ledger:
        bench = _Bench(folder, crew, planned, keep_all, on_row)
        if on_plan is not None:
            on_plan(list(planned.values()), list(bench.rows.values()))
        try:
            for ended in read_batch_rows(folder):
                bench.take(ended)
            for cast, group in by_critic(list(planned.values()), casts):
                jobs = (one.job for one in group)
                await run_many(jobs, cast, ledger, concurrency=concurrency, on_row=bench.take)
        finally:
            await bench.close()
    return [bench.rows[id] for id in planned if id in bench.rows]


class _Bench:
    """Judges runs as they end, and writes their rows down."""

    def __init__(
        self, folder: Path, crew: Crew, planned: dict[str, Planned], keep_all: bool, on_row: OnRow | None
    ) -> None:
        self._folder = folder
        self._crew = crew
        self._planned = planned
        self._keep_all = keep_all
        self._on_row = on_row
        self._room = asyncio.Semaphore(4)
        self._tasks: set[asyncio.Task[None]] = set()
        _cut_torn_line(folder / JUDGED)
        found = [row for row in read_rows(folder / JUDGED) if row.job in planned and row.judge == crew.judge_name]
        self.rows = {row.job: self._current(row) for row in found}
        """By job."""

    def _current(self, row: Row) -> Row:
        """The row under the label that its variant has now."""
        one = self._planned[row.job]
        return row.model_copy(update={"label": one.variant.label, "scenario": one.prompt.scenario, "seed": one.seed})

    def take(self, ended: batch.Row) -> None:
        """Set to work on a run that ended, unless that was done before."""
        if ended.id in self._planned and ended.id not in self.rows:
            self._tasks.add(asyncio.create_task(self._judge(ended)))

    async def close(self) -> None:
        """Wait until everything taken is judged; the first error is raised."""
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _judge(self, ended: batch.Row) -> None:
        one = self._planned[ended.id]
        row = Row(
            job=ended.id,
            label=one.variant.label,
            prompt=one.prompt.text,
            scenario=one.prompt.scenario,
            seed=one.seed,
            error=f"{ended.error}: {ended.message}" if ended.status == "failed" else None,
            judge=self._crew.judge_name,
            folder=ended.run,
        )
        if row.error is None:
            async with self._room:
                row = await self._looked_at(row)
        self.rows[row.job] = row
        with (self._folder / JUDGED).open("ab", buffering=0) as file:
            file.write(row.model_dump_json().encode() + b"\n")
        if self._on_row is not None:
            self._on_row(row)

    async def _looked_at(self, row: Row) -> Row:
        store = Store(self._folder / (row.folder or ""))
        result = RunResult.model_validate_json(store.read("result.json"))
        seen = {} if self._crew.judge is None else await judged(self._crew.judge, result, store)
        if not self._keep_all:
            shutil.rmtree(store.path("latents"), ignore_errors=True)
            store.path("report.html").unlink(missing_ok=True)
        return told(row, result, seen)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"cannot write to the folder {folder}: {error.strerror}") from error


def _cut_torn_line(path: Path) -> None:
    """Take away a last line that a kill left without its end."""
    if path.exists():
        whole = path.read_bytes().rfind(b"\n") + 1
        with path.open("ab") as file:
            file.truncate(whole)
