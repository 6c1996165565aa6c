"""Looking at images with a chat model that sees: verdicts, corrected prompts, comparisons."""

from .critic import ChatCritic
from .unreliable import UnreliableCritic
from .voting import VotingCritic

__all__ = ["ChatCritic", "UnreliableCritic", "VotingCritic"]
