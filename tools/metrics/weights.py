"""Where the weights of a metric's model lie, and what they are called."""

import hashlib
import re
from pathlib import Path
from typing import Any

from ..errors import ModelError

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_SMALL = ("*.json", "*.txt")
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
"""In the order of preference; the second is read as weights alone, which runs no code."""


def locate(source: str) -> tuple[Path, str]:
    """The folder of a model and its name with a short content hash; a hub id is downloaded.

    Raises:
        ModelError: it is neither a folder nor a model of the hub that can be fetched.
    """
    folder = Path(source)
    if folder.is_dir():
        return folder, f"{folder.resolve().name}@{_content_hash(folder)}"
    if not _HUB_ID.fullmatch(source):
        raise ModelError(f"there is no model folder {source}; give a folder or a hub id such as owner/name")
    snapshot = _fetched(source)
    return snapshot, f"{source}@{snapshot.name[:12]}"


def device() -> Any:
    """The GPU if there is one, else the CPU."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load_part(part: Any, folder: Path, **options: Any) -> Any:
    """A model, tokenizer or image processor of that class from a folder; ``ModelError`` if it is not there."""
    from ..diffusion.quiet import quiet_loading

    try:
        with quiet_loading():
            return part.from_pretrained(folder, local_files_only=True, **options)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, ImportError) as error:
        why = " ".join(str(error).split())[:300]
        raise ModelError(f"{folder} holds no usable {part.__name__}: {why}") from error


def _fetched(source: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        for weights in _WEIGHTS:
            snapshot = Path(snapshot_download(source, allow_patterns=[*_SMALL, weights]))
            if any(snapshot.glob(weights)):
                return snapshot
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        why = " ".join(str(error).split())[:300]
        raise ModelError(
            f"{source} is no folder here, and the hub did not give it ({why}):"
            " download it elsewhere and name its folder with --weights METRIC=FOLDER"
        ) from error
    raise ModelError(f"{source} on the hub holds no weights that can be read")


def _content_hash(folder: Path) -> str:
    """The first 12 hex digits of a SHA-256 over names and contents of its files."""
    total = hashlib.sha256()
    for path in sorted(path for kind in (*_SMALL, *_WEIGHTS) for path in folder.glob(kind)):
        total.update(f"{path.name}\0".encode())
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()[:12]
