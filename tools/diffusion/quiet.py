"""Keeps the libraries from talking while a model loads; what they say at any other time is heard."""

import logging
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def quiet_importing() -> Generator[None]:
    """Import diffusers in here, and nobody asks for torchvision or kernels, which nothing here needs."""
    with (
        _without("transformers.utils.import_utils", "requires torchvision"),
        _without("bitsandbytes.backends.cpu.ops", "pip install kernels"),
    ):
        yield


@contextmanager
def quiet_loading() -> Generator[None]:
    """Load from disk in here: no bars, and no complaint of a VAE other than ``AutoencoderKL``, which works as well."""
    with _without("diffusers.pipelines.pipeline_utils", "Expected types for vae"), _without_bars():
        yield


@contextmanager
def _without(logger: str, words: str) -> Generator[None]:
    """Drop the logger's messages that have ``words`` in them."""

    def is_another(record: logging.LogRecord) -> bool:
        return words not in record.getMessage()

    logging.getLogger(logger).addFilter(is_another)
    try:
        yield
    finally:
        logging.getLogger(logger).removeFilter(is_another)


@contextmanager
def _without_bars() -> Generator[None]:
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    talking = [library for library in (diffusers_logging, transformers_logging) if library.is_progress_bar_enabled()]
    for library in talking:
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library in talking:
            library.enable_progress_bar()
