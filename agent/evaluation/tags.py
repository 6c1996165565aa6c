"""What batches say of their runs, beside the runs' own folders."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

ROWS = "results.jsonl"
"""The rows of a batch, one a prompt."""


@dataclass(frozen=True)
class Tagged:
    """A row of a batch."""

    id: str
    run: Path | None = None
    """The run folder, resolved; None where nothing was left."""
    policy: str = ""
    """As Python writes it."""
    scenario: str = ""
    subclass: str = ""
    message: str = ""
    """Why it failed; empty where it did not."""


def tags_in(folder: Path) -> dict[Path | str, Tagged]:
    """The rows of every batch in a folder, or that a run folder belongs to: by run folder, else by id.

    Of several rows of one run the last counts; lines that cannot be read are passed over, since a batch may be
    writing at this very moment.
    """
    found: dict[Path | str, Tagged] = {}
    beside = [parent / ROWS for parent in folder.resolve().parents[:2]]
    for path in (*(p for p in beside if p.is_file()), *sorted(folder.rglob(ROWS))):
        for row in _rows(path):
            tagged = _tagged(row, path.parent)
            if tagged.run is not None:
                found[tagged.run] = tagged
            elif path not in beside:
                found[f"{path.parent} {tagged.id}"] = tagged
    return found


def is_batch(folder: Path) -> bool:
    """Whether it is the folder of one batch."""
    return (folder / ROWS).is_file()


def policy_class(policy: str) -> str:
    """``Adaptive`` of ``Adaptive(images=2)``."""
    return re.split(r"[(<\s]", policy.strip(), maxsplit=1)[0] or "runs"


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            yield cast("Mapping[str, Any]", row)


def _tagged(row: Mapping[str, Any], root: Path) -> Tagged:
    tags = cast("Mapping[str, Any]", row.get("tags") if isinstance(row.get("tags"), dict) else {})
    run = row.get("run")
    return Tagged(
        id=str(row.get("id", "")),
        run=(root / run).resolve() if isinstance(run, str) else None,
        policy=str(row.get("policy", "")),
        scenario=str(tags.get("scenario") or row.get("scenario") or ""),
        subclass=str(tags.get("subclass") or row.get("subclass") or ""),
        message=str(row.get("message") or ""),
    )
