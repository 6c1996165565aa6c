"""The blocks of SD3's denoiser: compiled, or spared where they would add what they added before."""

from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from diffusers import SD3Transformer2DModel

from .sampling import Sample


@contextmanager
def replaced(owner: Any, **methods: Any) -> Generator[None]:
    """Replace methods of one object, as long as it lasts."""
    own = {name: vars(owner)[name] for name in methods if name in vars(owner)}
    vars(owner).update(methods)
    try:
        yield
    finally:
        for name in methods:
            del vars(owner)[name]
        vars(owner).update(own)


def compile_rows(module: torch.nn.Module) -> None:
    """Compile a module once for any number of rows; other sizes become dynamic where they are seen to vary.

    Block by block takes a fraction of the time that a whole model takes to compile, for about the same speed.
    """
    from torch._dynamo import config, maybe_mark_dynamic

    if hasattr(module.forward, "compiled"):
        return
    # All blocks share their code, which beyond the limit would run uncompiled without a word.
    config.recompile_limit = max(config.recompile_limit, 64)
    compiled = torch.compile(module.forward)

    def forward(*args: Any, **more: Any) -> Any:
        for value in (*args, *more.values(), *(more.get("joint_attention_kwargs") or {}).values()):
            if isinstance(value, torch.Tensor):
                maybe_mark_dynamic(value, 0)
        return compiled(*args, **more)

    vars(forward)["compiled"] = True
    vars(module)["forward"] = forward


class BlockCache:
    """First-block cache, https://github.com/chengzeyi/ParaAttention, that decides for each image by itself.

    The first block always runs. Where what it adds has changed by less than ``threshold`` of its size since the last
    step at which all blocks ran, the others add what they added then. To decide, the host waits for the device once a
    pass. Each image holds two tensors as large as the denoiser's state.
    """

    def __init__(self, transformer: SD3Transformer2DModel, threshold: float) -> None:
        self._blocks: list[Any] = list(transformer.transformer_blocks)
        self._threshold = threshold

    @contextmanager
    def sparing(self, rows: Sequence[Sample]) -> Generator[None]:
        """A forward pass inside, whose rows are of these images, spares what it can."""
        forwards: list[Callable[..., Any]] = [block.forward for block in self._blocks]
        entered, noted = list[torch.Tensor](), list[Callable[[], None]]()

        def run_first(**given: Any) -> Any:
            entered.append(given["hidden_states"])
            return forwards[0](**given)

        def run_others(**given: Any) -> Any:
            return given["encoder_hidden_states"], self._run(rows, forwards[1:], entered[0], given, noted)

        def skip(**given: Any) -> Any:
            return given["encoder_hidden_states"], given["hidden_states"]

        with ExitStack() as changed:
            new = [run_first, run_others, *(skip for _ in forwards[2:])]
            for block, forward in zip(self._blocks, new, strict=True):
                changed.enter_context(replaced(block, forward=forward))
            yield
        for note in noted:  # Only now is it known that the pass did not fail, after which it is tried again.
            note()

    def _run(
        self,
        rows: Sequence[Sample],
        forwards: Sequence[Callable[..., Any]],
        entered: torch.Tensor,
        given: dict[str, Any],
        noted: list[Callable[[], None]],
    ) -> torch.Tensor:
        """The state (rows, tokens, width) after all blocks; what the images are to remember goes to ``noted``."""
        state, places = given["hidden_states"], dict[int, list[int]]()
        for place, sample in enumerate(rows):
            places.setdefault(id(sample), []).append(place)
        samples, first = {id(sample): sample for sample in rows}, state - entered
        known = [key for key, one in samples.items() if one.blocks and len(one.blocks[0]) == len(places[key])]
        changes = [_change(samples[key].blocks[0], _pick(first, places[key])) for key in known]
        spared = {
            key
            for key, change in zip(known, torch.stack(changes).tolist() if changes else [], strict=True)
            if change < self._threshold
        }
        after = list(state)
        for key in spared:
            for place, added in zip(places[key], samples[key].blocks[1], strict=True):
                after[place] = state[place] + added
        running = [place for key, own in places.items() if key not in spared for place in own]
        if running:
            chosen = {name: _pick(value, running) for name, value in given.items()}
            for forward in forwards:
                chosen["encoder_hidden_states"], chosen["hidden_states"] = forward(**chosen)
            for place, made in zip(running, chosen["hidden_states"], strict=True):
                after[place] = made
            for key in samples.keys() - spared:
                own = places[key]
                added = _pick(first, own), torch.stack([after[p] - state[p] for p in own])
                noted.append(partial(setattr, samples[key], "blocks", added))
        for key in spared:
            left = samples[key].evaluations - len(places[key])
            noted.append(partial(setattr, samples[key], "evaluations", left))
        return torch.stack(after)


def _pick(value: Any, rows: Sequence[int]) -> Any:
    """These rows of a tensor, or of the tensors of a dictionary."""
    if isinstance(value, dict):
        return {name: _pick(one, rows) for name, one in value.items()}
    return torch.stack([value[row] for row in rows]) if isinstance(value, torch.Tensor) else value


def _change(before: torch.Tensor, now: torch.Tensor) -> torch.Tensor:
    """The mean change, relative to the mean size."""
    return (now - before).abs().mean(dtype=torch.float32) / before.abs().mean(dtype=torch.float32)
