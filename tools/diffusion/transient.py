"""A text encoder that is there only while prompts are read."""

from collections.abc import Callable
from typing import Any

import torch


class TransientEncoder(torch.nn.Module):
    """Stands in a pipeline for a network that is loaded when it is called and stays until it is dropped.

    All prompts of a batch are read with one load; ``drop_before`` names what comes after them.
    """

    def __init__(self, load: Callable[[], torch.nn.Module], dtype: torch.dtype, device: torch.device) -> None:
        """Nothing is loaded yet.

        Args:
            load: Makes the network where it is to run, which may be elsewhere than the pipeline.
            dtype: Of the network.
            device: Where the pipeline runs; a pipeline may ask any of its parts.
        """
        super().__init__()
        self._load = load
        self.dtype, self.device = dtype, device
        # In a list, so that it is no part of this module: moving or offloading the pipeline leaves it alone.
        self._loaded: list[Any] = []

    @property
    def is_loaded(self) -> bool:
        """Whether the network is in memory now."""
        return bool(self._loaded)

    def forward(self, input_ids: torch.Tensor) -> Any:
        """What the network makes of token ids (n, tokens), on the network's own device."""
        if not self._loaded:
            self._loaded.append(self._load())
        [network] = self._loaded
        return network(input_ids.to(network.device))

    def drop(self) -> None:
        """Free the network; the next call loads it again."""
        if not self._loaded:
            return
        self._loaded.clear()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def drop_before(self, network: torch.nn.Module) -> None:
        """Free the network whenever ``network`` is about to run."""

        def drop(*called: object) -> None:
            self.drop()

        network.register_forward_pre_hook(drop)
