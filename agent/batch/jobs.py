"""One run among many: what is asked of it, and the name of its folder."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from pydantic import JsonValue

from ...state import Budget
from ..policies.policy import Policy

SLUG_LENGTH = 40
"""Characters of a prompt or an id in the name of a folder."""
_PLAIN = re.compile(r"(?!(con|prn|aux|nul|com\d|lpt\d)(\.|$))[a-z0-9]([a-z0-9._-]{0,98}[a-z0-9])?")
"""Names that every file system takes as they are and keeps apart."""
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


@dataclass(frozen=True)
class Job:
    """One prompt under one policy."""

    id: str
    """Unique among the jobs of a folder; any text."""
    prompt: str
    seed: int
    """In [0, 2**32)."""
    policy: Policy
    budget: Budget = field(default_factory=Budget)
    tags: Mapping[str, JsonValue] = field(default_factory=dict[str, JsonValue])
    """Whatever else is known of it; handed on to its row."""

    @cached_property
    def folder(self) -> str:
        """Name of its run folder."""
        return folder_name(self.id)

    @cached_property
    def key(self) -> str:
        """Hash of all that decides about its outcome, but for the models."""
        return key_of(self.prompt, self.seed, policy_name(self.policy), self.budget)


def folder_name(id: str) -> str:
    """The id itself where every file system can hold it; else what is readable of it, and a hash."""
    return id if _PLAIN.fullmatch(id) else f"{slug(id) or 'run'}-{digest(id)}"


def slug(text: str) -> str:
    """The words of a text without articles, for a name: ``cat-holding-umbrella``; empty where it has no Latin word."""
    words = re.findall(r"[a-z0-9]+", text.lower())
    return "-".join(word for word in words if word not in ("a", "an", "the"))[:SLUG_LENGTH].strip("-")


def policy_name(policy: Policy) -> str:
    """Its class with parameters, as Python writes it, alike in every process."""
    return _ADDRESS.sub("", repr(policy))


def key_of(prompt: str, seed: int, policy: str, budget: Budget) -> str:
    """As ``Job.key``."""
    return digest("\0".join((prompt, str(seed), policy, budget.model_dump_json())))


def digest(text: str) -> str:
    """Eight hexadecimal digits."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]
