"""Changes SD3's denoiser: attention for prompts of different lengths, compiled blocks, and a block cache."""

from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from diffusers import SD3Transformer2DModel
from diffusers.models.attention_dispatch import dispatch_attention_fn
from diffusers.models.attention_processor import JointAttnProcessor2_0
from torch.nn.functional import scaled_dot_product_attention

from ..errors import SettingsError
from .sampling import Sample


class MaskedJointAttention(JointAttnProcessor2_0):
    """SD3's joint attention with a mask for padding, or a backend of diffusers; without them, diffusers' own attention.

    ``attention_mask`` is (rows, 1, 1, image and text tokens), False for padding.
    """

    _attention_backend = None
    """Set by ``set_attention_backend`` of diffusers."""

    def __call__(
        self,
        attn: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
    ) -> Any:
        """The attended image tokens, and text tokens if there are any, as from diffusers' processor."""
        backend = self._attention_backend
        if backend is None and (encoder_hidden_states is None or attention_mask is None):
            return super().__call__(attn, hidden_states, encoder_hidden_states)  # type: ignore[arg-type]
        image = _heads(attn, hidden_states, (attn.to_q, attn.to_k, attn.to_v), (attn.norm_q, attn.norm_k))
        if encoder_hidden_states is None:
            return attn.to_out[0](_attend(image, None, backend))
        text = _heads(
            attn,
            encoder_hidden_states,
            (attn.add_q_proj, attn.add_k_proj, attn.add_v_proj),
            (attn.norm_added_q, attn.norm_added_k),
        )
        both = [torch.cat(pair, dim=2) for pair in zip(image, text, strict=True)]
        attended = _attend(both, attention_mask, backend)
        of_image, of_text = attended.split([hidden_states.shape[1], text[0].shape[2]], dim=1)
        return attn.to_out[0](of_image), of_text if attn.context_pre_only else attn.to_add_out(of_text)


def _heads(attn: Any, tokens: torch.Tensor, projections: tuple[Any, ...], norms: tuple[Any, ...]) -> list[torch.Tensor]:
    """Query, key and value, each (rows, heads, tokens, width of a head)."""
    parts = [project(tokens).unflatten(-1, (attn.heads, -1)).transpose(1, 2) for project in projections]
    return [norm(part) if norm else part for norm, part in zip((*norms, None), parts, strict=True)]


def _attend(parts: list[torch.Tensor], mask: torch.Tensor | None, backend: Any) -> torch.Tensor:
    """(rows, tokens, width) from query, key and value, each (rows, heads, tokens, width of a head)."""
    if backend is None:
        return scaled_dot_product_attention(*parts, attn_mask=mask).transpose(1, 2).flatten(2)
    query, key, value = (part.transpose(1, 2) for part in parts)
    return dispatch_attention_fn(query, key, value, attn_mask=mask, backend=backend).flatten(2)


def set_attention(transformer: Any, backend: str) -> None:
    """Attend through a backend of diffusers' dispatcher; ``SettingsError`` if it is missing or has no effect."""
    processors = [getattr(module, "processor", None) for module in transformer.modules()]
    if not any(hasattr(processor, "_attention_backend") for processor in processors):
        raise SettingsError(f"a {type(transformer).__name__} attends in its own way: leave diffusion.attention out")
    try:
        transformer.set_attention_backend(backend)
    except (ValueError, RuntimeError, ImportError) as error:
        raise SettingsError(f'diffusion.attention = "{backend}" cannot be used here: {error}') from error


def mix_lengths(transformer: SD3Transformer2DModel) -> bool:
    """Let prompts of any lengths share a pass; False, and no change, if the model has custom attention."""
    known = (JointAttnProcessor2_0, MaskedJointAttention)
    if any(type(processor) not in known for processor in transformer.attn_processors.values()):
        return False
    transformer.set_attn_processor(MaskedJointAttention())  # type: ignore[arg-type]
    return True


@contextmanager
def replaced(owner: Any, **methods: Any) -> Generator[None]:
    """Replace methods of one object inside the block."""
    own = {name: vars(owner)[name] for name in methods if name in vars(owner)}
    vars(owner).update(methods)
    try:
        yield
    finally:
        for name in methods:
            del vars(owner)[name]
        vars(owner).update(own)


def compile_rows(module: torch.nn.Module) -> None:
    """Compile a module once for any number of rows; other sizes become dynamic once they vary. Compiling blocks takes a
    fraction of the time that a whole model takes, for about the same speed."""
    from torch._dynamo import config, maybe_mark_dynamic

    if hasattr(module.forward, "compiled"):
        return
    # All blocks share their code, which beyond the limit would silently run uncompiled.
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
    """First-block cache, https://github.com/chengzeyi/ParaAttention, that decides for each image separately.

    The first block always runs. If its output has changed by less than ``threshold``, relative to its size, since the
    last step at which all blocks ran, the others add what they added then. The host waits for the device once a pass
    to decide. Each image holds two tensors as large as the denoiser's state.
    """

    def __init__(self, transformer: SD3Transformer2DModel, threshold: float) -> None:
        self._blocks: list[Any] = list(transformer.transformer_blocks)
        self._threshold = threshold

    @contextmanager
    def applied(self, rows: Sequence[Sample]) -> Generator[None]:
        """Let a forward pass in the block, whose rows are of these images, use the cache."""
        forwards: list[Callable[..., Any]] = [block.forward for block in self._blocks]
        entered, updates = list[torch.Tensor](), list[Callable[[], None]]()
        places: dict[int, list[int]] = {}
        for place, sample in enumerate(rows):
            places.setdefault(id(sample), []).append(place)
        samples = {id(sample): sample for sample in rows}

        def run_first(**given: Any) -> Any:
            entered.append(given["hidden_states"])
            return forwards[0](**given)

        def run_others(**given: Any) -> Any:
            state = given["hidden_states"]
            first, after = state - entered[0], list(state)
            cached = [key for key, one in samples.items() if one.blocks and len(one.blocks[0]) == len(places[key])]
            changes = [_change(samples[key].blocks[0], _pick(first, places[key])) for key in cached]
            changes = torch.stack(changes).tolist() if changes else []
            skipping = {key for key, change in zip(cached, changes, strict=True) if change < self._threshold}
            for key in skipping:
                for place, added in zip(places[key], samples[key].blocks[1], strict=True):
                    after[place] = state[place] + added
                left = samples[key].evaluations - len(places[key])
                updates.append(partial(setattr, samples[key], "evaluations", left))
            if running := [place for key, own in places.items() if key not in skipping for place in own]:
                chosen = {name: _pick(value, running) for name, value in given.items()}
                for forward in forwards[1:]:
                    chosen["encoder_hidden_states"], chosen["hidden_states"] = forward(**chosen)
                for place, made in zip(running, chosen["hidden_states"], strict=True):
                    after[place] = made
            for key in samples.keys() - skipping:
                own = places[key]
                added = _pick(first, own), torch.stack([after[p] - state[p] for p in own])
                updates.append(partial(setattr, samples[key], "blocks", added))
            return given["encoder_hidden_states"], torch.stack(after)

        def skip(**given: Any) -> Any:
            return given["encoder_hidden_states"], given["hidden_states"]

        with ExitStack() as changed:
            new = [run_first, run_others, *(skip for _ in forwards[2:])]
            for block, forward in zip(self._blocks, new, strict=True):
                changed.enter_context(replaced(block, forward=forward))
            yield
        for update in updates:  # only now, since a pass that failed is tried again
            update()


def _pick(value: Any, rows: Sequence[int]) -> Any:
    """These rows of a tensor, or of the tensors of a dictionary."""
    if isinstance(value, dict):
        return {name: _pick(one, rows) for name, one in value.items()}
    return torch.stack([value[row] for row in rows]) if isinstance(value, torch.Tensor) else value


def _change(before: torch.Tensor, now: torch.Tensor) -> torch.Tensor:
    """The mean change, relative to the mean size."""
    return (now - before).abs().mean(dtype=torch.float32) / before.abs().mean(dtype=torch.float32)
