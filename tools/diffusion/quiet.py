"""Keeps libraries quiet while they are imported and while a model loads; at any other time they are heard."""

import logging
from collections.abc import Generator
from contextlib import contextmanager

from ..roles import LOADING


@contextmanager
def quiet_importing() -> Generator[None]:
    """Import diffusers inside: nothing asks for torchvision or kernels, which are not needed here."""
    with (
        _without("transformers.utils.import_utils", "requires torchvision"),
        _without("bitsandbytes.backends.cpu.ops", "pip install kernels"),
    ):
        yield


@contextmanager
def quiet_loading() -> Generator[None]:
    """Load from disk in here, one at a time in a process: no bars, and no complaint of a VAE other than
    ``AutoencoderKL``, which works as well, nor of a LoRA for the denoiser alone."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    with_bars = [library for library in (diffusers_logging, transformers_logging) if library.is_progress_bar_enabled()]
    for library in with_bars:
        library.disable_progress_bar()
    try:
        with (
            LOADING,
            _without("diffusers.pipelines.pipeline_utils", "Expected types for vae"),
            _without("diffusers.loaders.lora_base", "No LoRA keys associated"),
        ):
            yield
    finally:
        for library in with_bars:
            library.enable_progress_bar()


@contextmanager
def quiet_encoding(pipe: object) -> Generator[None]:
    """Let a pipeline encode a prompt inside: nothing reports that CLIP does not read all of it, which is known."""
    with (
        _without(type(pipe).__module__, "truncated because CLIP"),
        _without("transformers.tokenization_utils_base", "longer than the specified maximum"),
    ):
        yield


@contextmanager
def _without(logger: str, words: str) -> Generator[None]:
    """Drop the logger's messages that contain ``words``."""

    def is_another(record: logging.LogRecord) -> bool:
        return words not in record.getMessage()

    logging.getLogger(logger).addFilter(is_another)
    try:
        yield
    finally:
        logging.getLogger(logger).removeFilter(is_another)
