"""The work of the roles, each of which is done once in a run, however often the run is taken up again."""

import hashlib

from ...state import Advice, Comparison, ConceptGraph, Critique, ImageRecord, Population
from ...tools.roles import Asker, Comparer, GenerateRequest, Progress, RedenoiseRequest
from ..policies.policy import Advised
from ..traces.manifest import model_name
from .answers import key_of
from .context import Context
from .taken_over import image_made_for


async def draw(request: GenerateRequest, context: Context, progress: Progress) -> ImageRecord:
    """The image that is asked for; the one that is there already, or else drawn from pure noise."""
    made = _made(request, context)
    if made is None:
        [made] = await context.diffusion.generate([request], context.store, progress)
    return made


async def redenoise(request: RedenoiseRequest, context: Context, progress: Progress) -> ImageRecord:
    """The image that is asked for; the one that is there already, or else re-denoised."""
    made = _made(request, context)
    if made is None:
        [made] = await context.diffusion.redenoise([request], context.store, progress)
    return made


def _made(request: GenerateRequest | RedenoiseRequest, context: Context) -> ImageRecord | None:
    if context.answers is None:
        return None
    return image_made_for(request, model_name(context.diffusion), context.store)


async def look(image: ImageRecord, concepts: ConceptGraph, context: Context) -> Critique:
    """What the critic says of an image."""

    async def ask() -> Critique:
        return await context.critic.critique(image, concepts, context.store)

    if context.answers is None:
        return await ask()
    key = key_of("critique", model_name(context.critic), concepts, _content(image, context))
    return await context.answers.get(key, Critique, ask)


async def compare(
    first: ImageRecord, second: ImageRecord, concepts: ConceptGraph, critic: Comparer, context: Context
) -> Comparison:
    """Which of two images the critic takes for better."""

    async def ask() -> Comparison:
        return await critic.compare(first, second, concepts, context.store)

    if context.answers is None:
        return await ask()
    pair = (_content(image, context) for image in (first, second))
    return await context.answers.get(key_of("comparison", model_name(critic), concepts, *pair), Comparison, ask)


async def advise(population: Population, policy: Advised, asker: Asker, context: Context) -> Advice:
    """What the policy's chat model says of the images that wait."""

    async def ask() -> Advice:
        return await policy.advise(population, asker)

    if context.answers is None:
        return await ask()
    return await context.answers.get(key_of("advice", model_name(asker), repr(policy), population), Advice, ask)


def _content(image: ImageRecord, context: Context) -> str:
    """The image's id, and the hash of its file."""
    return f"{image.id} {hashlib.sha256(context.store.read(image.path)).hexdigest()}"
