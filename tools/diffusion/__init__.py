"""Diffusion as a tool: draws images and refines them, with any SD3-class model.

``LocalDiffusion`` is the role; below it stand the ``engine``, which owns the model, and ``sampling``: plain functions
that one can call by hand. ``PipelineDiffusion`` is the same role over the pipelines of other families,
``EndpointDiffusion`` over an images endpoint, which can only draw, and ``RemoteDiffusion`` over engines on a Ray
cluster. ``choose_placement`` says where a model would go, ``check_family`` whether a class of pipelines can be refined.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..quiet import quiet_importing
from .tools import diffusion_tools

if TYPE_CHECKING:
    from .endpoint import EndpointDiffusion
    from .local import LocalDiffusion
    from .pipelines import PipelineDiffusion, check_family
    from .placement import choose_placement
    from .remote import RemoteDiffusion

__all__ = ["EndpointDiffusion", "LocalDiffusion", "PipelineDiffusion", "RemoteDiffusion"]
__all__ += ["check_family", "choose_placement", "diffusion_tools"]

_LATER = {
    "EndpointDiffusion": "endpoint",
    "LocalDiffusion": "local",
    "PipelineDiffusion": "pipelines",
    "RemoteDiffusion": "remote",
    "check_family": "pipelines",
    "choose_placement": "placement",
}
"""The module that defines a name; torch or an SDK loads with it."""


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with quiet_importing():
        return getattr(import_module(f".{_LATER[name]}", __name__), name)
