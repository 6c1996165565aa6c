"""Silences known log messages of libraries while they are imported, load a model or encode a prompt."""

import logging
import sys
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module

from .roles import LOADING


def quiet_importing() -> AbstractContextManager[None]:
    """While diffusers is imported: no requests for torchvision or kernels, which are not needed here."""
    return _without(
        ("transformers.utils.import_utils", "requires torchvision"),
        ("bitsandbytes.backends.cpu.ops", "pip install kernels"),
    )


def quiet_encoding(pipe: object) -> AbstractContextManager[None]:
    """While a pipeline encodes a prompt: no warning that CLIP truncates it."""
    return _without(
        (type(pipe).__module__, "truncated because CLIP"),
        ("transformers.tokenization_utils_base", "longer than the specified maximum"),
    )


@contextmanager
def quiet_loading() -> Generator[None]:
    """While a model loads, one at a time in a process: no progress bars, and no warning of a VAE other than
    ``AutoencoderKL`` or a LoRA for the denoiser alone, which work."""
    libraries = ("transformers", "diffusers") if "diffusers" in sys.modules else ("transformers",)
    loggers = [import_module(f"{library}.utils.logging") for library in libraries]
    with_bars = [logger for logger in loggers if logger.is_progress_bar_enabled()]
    for library in with_bars:
        library.disable_progress_bar()
    known = (
        ("diffusers.pipelines.pipeline_utils", "Expected types for vae"),
        ("diffusers.loaders.lora_base", "No LoRA keys associated"),
    )
    try:
        with LOADING, _without(*known):
            yield
    finally:
        for library in with_bars:
            library.enable_progress_bar()


@contextmanager
def _without(*dropped: tuple[str, str]) -> Generator[None]:
    """Drop the records of these loggers that contain these words."""

    def is_other(record: logging.LogRecord) -> bool:
        return not any(record.name == name and words in record.getMessage() for name, words in dropped)

    for name, _ in dropped:
        logging.getLogger(name).addFilter(is_other)
    try:
        yield
    finally:
        for name, _ in dropped:
            logging.getLogger(name).removeFilter(is_other)
