"""The rewriter of the embedded world: a prompt with a layout that fulfils it."""

import random

from ...state import derive_seed
from ..errors import PromptError
from ..language.rewriter import Rewritten
from .captions import detailed_caption
from .grammar import parse
from .layout import lay_out


class EmbeddedRewriter:
    """States one of the layouts that a prompt allows; needs no model."""

    model = "embedded-grammar"

    async def rewrite(self, prompt: str) -> Rewritten:
        """The prompt and where each thing stands; ``PromptError`` for what the world does not know or cannot show."""
        return Rewritten(laid_out(prompt))


def laid_out(prompt: str) -> str:
    """The prompt with a layout, always the same one."""
    scene = lay_out(parse(prompt), random.Random(derive_seed(0, "rewrite", prompt)))
    if scene is None:
        raise PromptError(f"no picture of the embedded world can show this: {prompt!r}")
    return detailed_caption(prompt.rstrip(" .,;:!?"), scene)
