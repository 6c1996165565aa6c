"""What is configured, reachable and downloaded, and whether it fits, in one record."""

import asyncio
from operator import attrgetter
from typing import Any

from pydantic import SecretStr, computed_field

from ..state import Frozen
from .policies import resolve_policy
from .records.manifest import installed
from .settings.checks import Finding, Status, found, look_at_chat, look_at_diffusion
from .settings.loading import Loaded, known_names
from .settings.models import Models, make_critic, make_decomposer
from .settings.settings import Settings


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
    """The name of the preset."""
    versions: dict[str, str]
    """By distribution, of those that can change a run."""
    settings: tuple[Setting, ...]
    """All of them."""
    findings: tuple[Finding, ...]
    """Of policy, diffusion model, chat models and templates."""

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
    findings = [policy, *diffusion, *await chat]
    if settings.chats and settings.chat.templates is not None:
        findings.append(found("templates", lambda: _tried_templates(settings)))
    return Diagnosis(
        preset=settings.run.preset,
        versions=installed(),
        settings=tuple(
            Setting(name=name, value=_in_words(attrgetter(name)(settings)), source=loaded.source(name))
            for name in known_names()
        ),
        findings=tuple(findings),
    )


def _tried_templates(settings: Settings) -> str:
    models = Models(settings)
    make_decomposer(settings, models.language)
    make_critic(settings, models.vision)
    return f"those in {settings.chat.templates} can be used"


def _in_words(value: Any) -> str | None:
    match value:
        case None:
            return None
        case SecretStr():
            return "set"
        case dict():
            words = (f"{k}={_in_words(v) if isinstance(v, SecretStr) else repr(v)}" for k, v in value.items())
            return ", ".join(words) or None
        case bool():
            return "true" if value else "false"
        case _:
            return str(value)
