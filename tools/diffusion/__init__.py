"""Diffusion as a tool: draws images and takes them up again, with any SD3-class model.

``LocalDiffusion`` is the role; below it stands the ``engine``, which owns the model, and below that are
plain functions that one can call by hand, in the order of their use: ``loading``, ``noise``, ``schedule``,
``embeddings``, ``operators``, ``denoise``, ``decode``.
``PipelineDiffusion`` is the same role over the pipelines of other families, ``EndpointDiffusion`` over an images
endpoint, which can only draw. ``memory_needed`` and ``memory_there`` tell whether a model fits.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .memory import MemoryNeed, MemoryThere, memory_needed, memory_there
from .quiet import without_torchvision_advice
from .sizes import is_downloaded
from .tools import diffusion_tools

if TYPE_CHECKING:
    from .endpoint import EndpointDiffusion, EndpointSettings
    from .families import PipelineDiffusion
    from .local import LocalDiffusion

__all__ = [
    "EndpointDiffusion",
    "EndpointSettings",
    "LocalDiffusion",
    "MemoryNeed",
    "MemoryThere",
    "PipelineDiffusion",
    "diffusion_tools",
    "is_downloaded",
    "memory_needed",
    "memory_there",
]

_LATER = {
    "EndpointDiffusion": "endpoint",
    "EndpointSettings": "endpoint",
    "LocalDiffusion": "local",
    "PipelineDiffusion": "families",
}
"""Modules by what they define; torch or an SDK's settings load with them."""


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with without_torchvision_advice():
        return getattr(import_module(f".{_LATER[name]}", __name__), name)
