"""Looking at images with a chat model that sees: verdicts, corrected prompts, comparisons."""

from .critic import ChatCritic
from .wrapping import UnreliableCritic, VotingCritic

__all__ = ["ChatCritic", "UnreliableCritic", "VotingCritic"]
