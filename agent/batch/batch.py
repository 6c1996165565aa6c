"""A batch from its prompts to its rows."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...state import Budget
from ...tools.errors import SettingsError
from ...tools.roles import Critic, Decomposer, Diffusion
from ..policies import PolicySpec
from ..runs.folder import new_run_id
from ..runs.run import NOT_OURS, blocking, policy_of, settled
from ..settings import Given
from ..traces.events import Event
from .asks import Defaults
from .cast import cast_of
from .folder import BatchManifest, batch_folder, note_models
from .jobs import folder_name, policy_name
from .ledger import RESULTS, read_rows
from .many import run_many
from .rows import Row
from .sources import STDIN, display, given_asks, read_asks, stem
from .spool import spooled
from .tally import Tally

if TYPE_CHECKING:
    from ..cluster.wish import Cluster

Prompts = Path | str | Iterable[str | Mapping[str, Any]]
"""A file, a URL or ``-``; or prompts themselves, each a text or a table with ``prompt`` and what else is to differ."""


@dataclass(frozen=True)
class Progress:
    """How far a batch is."""

    folder: Path
    prompts: int
    """All of them."""
    left: int
    """Those that had no row when this start began."""
    tally: Tally
    """Of all rows so far."""


@dataclass(frozen=True)
class Batch:
    """A batch of which every prompt has a row."""

    folder: Path
    tally: Tally
    """Of all rows."""

    @property
    def results(self) -> Path:
        """The rows, one JSON object a line."""
        return self.folder / RESULTS

    def rows(self) -> Iterator[Row]:
        """The rows, read from the disk, in the order in which their runs ended."""
        return read_rows(self.folder)


async def arun_batch(
    prompts: Prompts,
    *,
    settings: Given | None = None,
    # how each run decides, unless its prompt says otherwise
    policy: PolicySpec | None = None,
    seed: int | None = None,
    budget: Budget | None = None,
    # what they work with
    preset: str | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    decomposer: Decomposer | None = None,
    diffusion: Diffusion | None = None,
    critic: Critic | None = None,
    concurrency: int = 16,
    cluster: "Cluster | None" = None,
    # where it leaves what it made
    out: Path | str | None = None,
    keep_runs: bool = True,
    retry_failed: bool = False,
    on_event: Callable[[Event], object] | None = None,
    on_progress: Callable[[Progress, Row | None], object] | None = None,
) -> Batch:
    """Run many prompts side by side over one set of models, and leave a row for each and a run folder.

    All prompts are read and checked before anything is spent. Started again with the same folder and settings, it
    goes on where it stopped: a prompt whose row is there is not run again. Memory does not grow with the number of
    prompts, but for the names of their folders.

    The arguments that are not named below are those of ``arun``.

    Args:
        prompts: A file, a URL or ``-``; or the prompts themselves.
        concurrency: Runs in flight; on a cluster, on each replica.
        cluster: Where to run them, instead of here. Roles are then given by ``Cluster.roles``, and ``on_event`` is not
            called.
        out: The folder; by default ``runs/`` and the name of the file.
        keep_runs: Whether run folders stay; else only rows do.
        retry_failed: Run the prompts again that failed in an earlier start.
        on_progress: Called once with no row before the first run, then with each row.

    Raises:
        DetailScribeError: the user can mend it; a prompt that fails by itself is a row instead.
    """
    if concurrency < 1:
        raise SettingsError(f"the concurrency of {concurrency} should be at least 1")
    if diffusion is not None and (steps, guidance) != (None, None):
        raise SettingsError(NOT_OURS)
    if cluster is not None and (decomposer, diffusion, critic) != (None, None, None):
        raise SettingsError("roles that are here cannot be on a cluster: name what makes them, with Cluster(roles=...)")
    loaded = settled(settings, policy, budget, seed=seed, preset=preset, steps=steps, guidance=guidance, out=out)
    chosen = loaded.settings.run
    defaults = Defaults(chosen.seed, policy_of(policy, chosen), chosen.budget)
    source = str(prompts) if isinstance(prompts, (str, Path)) else None
    manifest = BatchManifest(
        source=source and display(source), settings=loaded.settings, policy=policy_name(defaults.policy)
    )
    asks = read_asks(prompts) if isinstance(prompts, (str, Path)) else given_asks(prompts)
    with spooled(asks, defaults) as jobs:
        folder = chosen.out or default_folder(source)
        with batch_folder(folder, manifest, forget_failed=retry_failed) as ledger:
            progress = Progress(folder, len(jobs), sum(not ledger.has(job) for job in jobs), ledger.tally)
            tell = on_progress or _ignore
            tell(progress, None)
            if progress.left and cluster is not None:
                from ..cluster.running import run_on_cluster

                await run_on_cluster(
                    jobs,
                    cluster,
                    loaded,
                    ledger,
                    concurrency=concurrency,
                    keep_runs=keep_runs,
                    note_models=lambda models: note_models(folder, models),
                    on_row=lambda row: tell(progress, row),
                )
            elif progress.left:
                cast = await cast_of(loaded, decomposer, diffusion, critic)
                note_models(folder, cast.models)
                await run_many(
                    jobs,
                    cast,
                    ledger,
                    concurrency=concurrency,
                    keep_runs=keep_runs,
                    on_event=on_event,
                    on_row=lambda row: tell(progress, row),
                )
    return Batch(folder, ledger.tally)


run_batch = blocking(arun_batch)


def default_folder(source: str | None) -> Path:
    """``runs/`` and the name of the file; for prompts that come from no file, a new one."""
    if source is None or source == STDIN:
        return Path("runs") / new_run_id("batch")
    return Path("runs") / (folder_name(stem(source)) if stem(source) else "batch")


def _ignore(progress: Progress, row: Row | None) -> None:
    """For callers that need no news."""
