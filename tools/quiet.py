"""Keeps libraries quiet while they are imported and while a model loads; at any other time they are heard."""

import logging
import sys
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module

from .roles import LOADING


def quiet_importing() -> AbstractContextManager[None]:
    """Import diffusers inside: nothing asks for torchvision or kernels, which are not needed here."""
    return _without(
        ("transformers.utils.import_utils", "requires torchvision"),
        ("bitsandbytes.backends.cpu.ops", "pip install kernels"),
    )


def quiet_encoding(pipe: object) -> AbstractContextManager[None]:
    """Let a pipeline encode a prompt inside: nothing reports that CLIP does not read all of it, which is known."""
    return _without(
        (type(pipe).__module__, "truncated because CLIP"),
        ("transformers.tokenization_utils_base", "longer than the specified maximum"),
    )


@contextmanager
def quiet_loading() -> Generator[None]:
    """Load from disk in here, one at a time in a process: no bars, and no complaint of a VAE other than
    ``AutoencoderKL``, which works as well, nor of a LoRA for the denoiser alone."""
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
    """Drop what these loggers say with these words."""

    def is_another(record: logging.LogRecord) -> bool:
        return not any(record.name == name and words in record.getMessage() for name, words in dropped)

    for name, _ in dropped:
        logging.getLogger(name).addFilter(is_another)
    try:
        yield
    finally:
        for name, _ in dropped:
            logging.getLogger(name).removeFilter(is_another)
