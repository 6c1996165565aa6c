"""Diffusion as a tool: draws images and takes them up again, with any SD3-class model.

``LocalDiffusion`` is the role; below it are plain functions that one can call by hand, in the order
of their use: ``loading``, ``noise``, ``schedule``, ``embeddings``, ``operators``, ``denoise``, ``decode``.
"""

from typing import TYPE_CHECKING, Any

from .quiet import without_torchvision_advice
from .tools import diffusion_tools

if TYPE_CHECKING:
    from .local import LocalDiffusion

__all__ = ["LocalDiffusion", "diffusion_tools"]


def __getattr__(name: str) -> Any:
    if name == "LocalDiffusion":  # torch loads with it
        with without_torchvision_advice():
            from .local import LocalDiffusion
        return LocalDiffusion
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
