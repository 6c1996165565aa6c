"""Finds and loads the weights of a metric's model."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import ModelError
from ..text import HUB_ID, brief

_SMALL = ("*.json", "*.txt")
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
"""In the order of preference; the second is read as weights alone, which runs no code."""


@dataclass
class Weights:
    """A model with its tokenizer and image processor, each loaded at its first use."""

    source: str
    """Folder or hub id."""
    kinds: tuple[str, str, str]
    """Names of the classes in transformers: model, tokenizer, image processor."""

    @cached_property
    def located(self) -> tuple[Path, str]:
        """The folder, and the model's name with a short content hash; raises as ``locate`` does."""
        return locate(self.source)

    @cached_property
    def loaded(self) -> tuple[Any, Any, Any]:
        """Model in single precision on the GPU if there is one, tokenizer, image processor.

        Raises:
            ModelError: the folder does not hold one of them.
        """
        import torch
        import transformers

        from ..diffusion.quiet import quiet_loading

        folder = self.located[0]
        parts: list[Any] = []
        for kind in self.kinds:
            options = {} if parts else {"dtype": torch.float32}
            try:
                with quiet_loading():
                    parts.append(getattr(transformers, kind).from_pretrained(folder, local_files_only=True, **options))
            except (OSError, ValueError, RuntimeError, KeyError, TypeError, ImportError) as error:
                raise ModelError(f"{folder} holds no usable {kind}: {brief(str(error))}") from error
        return parts[0].eval().to("cuda" if torch.cuda.is_available() else "cpu"), parts[1], parts[2]


def locate(source: str) -> tuple[Path, str]:
    """The folder of a model and its name with a short content hash; a hub id is downloaded.

    Raises:
        ModelError: it is neither a folder nor a model of the hub that can be fetched.
    """
    folder = Path(source)
    if folder.is_dir():
        total = hashlib.sha256()
        for path in sorted(path for kind in (*_SMALL, *_WEIGHTS, "*.pt") for path in folder.glob(kind)):
            total.update(f"{path.name}\0".encode())
            with path.open("rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
        return folder, f"{folder.resolve().name}@{total.hexdigest()[:12]}"
    if not HUB_ID.fullmatch(source):
        raise ModelError(f"there is no model folder {source}; give a folder or a hub id such as owner/name")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        for weights in _WEIGHTS:
            snapshot = Path(snapshot_download(source, allow_patterns=[*_SMALL, weights]))
            if any(snapshot.glob(weights)):
                return snapshot, f"{source}@{snapshot.name[:12]}"
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise ModelError(
            f"{source} is no folder here, and the hub did not give it ({brief(str(error))}):"
            " download it elsewhere and name its folder with --weights METRIC=FOLDER"
        ) from error
    raise ModelError(f"{source} on the hub holds no weights that can be read")
