"""Everything that can be told without drawing, in one record."""

import asyncio
from typing import Any

from pydantic import SecretStr, computed_field

from ...state import Frozen
from ..policies import resolve_policy
from ..roles import Chats
from ..settings import Loaded, Settings, known_names
from ..traces.manifest import installed
from .chat import look_at_chat
from .diffusion import look_at_diffusion
from .finding import Finding, Status, found


class Setting(Frozen):
    """One setting as a run would use it."""

    name: str
    """``section.name``."""
    value: str | None
    """In words; ``set`` for a secret that is there; None for what is not set."""
    source: str
    """``argument``, ``environment``, ``file``, ``preset`` with its name, or ``default``."""


class Diagnosis(Frozen):
    """What is configured, and what was found."""

    preset: str
    versions: dict[str, str]
    """By distribution, of those that can change a run."""
    settings: tuple[Setting, ...]
    findings: tuple[Finding, ...]

    @computed_field
    @property
    def status(self) -> Status:
        """The worst of the findings'."""
        statuses = {finding.status for finding in self.findings}
        return "problem" if "problem" in statuses else "warning" if "warning" in statuses else "ok"


async def examine(loaded: Loaded) -> Diagnosis:
    """Look at all of it; nothing is loaded, and a chat model is asked two short questions."""
    settings = loaded.settings
    chat = asyncio.create_task(look_at_chat(settings))
    diffusion = await asyncio.to_thread(lambda: list(look_at_diffusion(settings)))
    policy = found("policy", lambda: repr(resolve_policy(settings.run.policy, **settings.run.policy_args)))
    findings = [policy, *diffusion, *await chat, *_templates(settings)]
    return Diagnosis(
        preset=settings.run.preset,
        versions=installed(),
        settings=tuple(_setting(loaded, name) for name in known_names()),
        findings=tuple(findings),
    )


def _templates(settings: Settings) -> list[Finding]:
    """Nothing where the package's own are used."""
    if not settings.chats or settings.chat.templates is None:
        return []
    return [found("templates", lambda: _tried(settings))]


def _tried(settings: Settings) -> str:
    chats = Chats(settings)
    chats.decomposer()
    chats.critic()
    return f"those in {settings.chat.templates} can be used"


def _setting(loaded: Loaded, name: str) -> Setting:
    value: Any = loaded.settings
    for part in name.split("."):
        value = getattr(value, part)
    return Setting(name=name, value=_in_words(value), source=loaded.source(name))


def _in_words(value: object) -> str | None:
    match value:
        case None:
            return None
        case SecretStr():
            return "set"
        case dict():
            return ", ".join(f"{name}={one!r}" for name, one in value.items()) or None
        case bool():
            return "true" if value else "false"
        case _:
            return str(value)
