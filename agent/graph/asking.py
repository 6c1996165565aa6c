"""The questions that are asked beside the critic's: of a policy's adviser, and of the critic where images tie."""

from ...state import Advice, Comparison, Population, RunState, Spend, pair_name
from ...tools.errors import SettingsError
from ...tools.roles import Asker, Comparer
from ..policies.policy import Advised
from .asked_once import advise, compare
from .context import Context, population_of

MOST_COMPARED = 4
"""Images of those that lead together that are compared, the earliest."""


async def advice_for(state: RunState, context: Context) -> Advice | None:
    """What the policy's adviser says; None where the policy has none, or the budget leaves nothing to decide."""
    if not isinstance(context.policy, Advised):
        return None
    population = population_of(state, context)
    image = population.spend + Spend(images=1, critic_calls=1)
    if population.round >= population.budget.rounds or population.budget.exceeded_by(image):
        return None
    return await advise(population, context.policy, asker_of(context.policy, context), context)


def asker_of(policy: Advised, context: Context) -> Asker:
    """The policy's own chat model, or that of the run; ``SettingsError`` where there is neither."""
    asker = policy.chat or context.chat
    if asker is None:
        raise SettingsError(f"the policy {policy!r} asks a chat model: name one with --chat-model and --chat-url")
    return asker


async def with_comparisons(population: Population, context: Context) -> Population:
    """The population with its first leaders compared, each with the winner so far.

    Nothing is asked of a critic that cannot compare, nor beyond the budget.
    """
    if not isinstance(context.critic, Comparer):
        return population
    for other in population.leaders()[1:MOST_COMPARED]:
        if population.budget.exceeded_by(population.spend + Spend(critic_calls=1)):
            return population
        best = population.best()
        made = await compare(best, other, population.concepts, context.critic, context)
        known: dict[str, Comparison] = {**population.comparisons, pair_name(best, other): made}
        population = population.model_copy(update={"comparisons": known})
    return population
