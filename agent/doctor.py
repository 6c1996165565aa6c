"""Checks of the settings, the models and the machine, in one record: ``detailscribe doctor``."""

import asyncio
from operator import attrgetter
from typing import Any, cast, get_args

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
    """As text; ``set`` for a secret; None if it is not set."""
    source: str
    """``argument``, ``environment``, ``file``, ``preset`` with its name, or ``default``."""


class Diagnosis(Frozen):
    """The settings and the results of all checks."""

    preset: str
    """The name of the preset."""
    versions: dict[str, str]
    """By distribution, of those that can change a run."""
    settings: tuple[Setting, ...]
    """Every setting."""
    findings: tuple[Finding, ...]
    """Of policy, diffusion model, chat models and templates."""

    @computed_field
    @property
    def status(self) -> Status:
        """The worst status of the findings."""
        statuses: list[Status] = [finding.status for finding in self.findings]
        return max(statuses, key=get_args(Status).index)


async def examine(loaded: Loaded) -> Diagnosis:
    """Run every check; nothing is loaded, and a chat model is asked two short questions."""
    settings = loaded.settings
    chat = asyncio.create_task(look_at_chat(settings))
    diffusion = await asyncio.to_thread(lambda: list(look_at_diffusion(settings)))
    policy = found("policy", lambda: repr(resolve_policy(settings.run.policy, **settings.run.policy_args)))
    findings = [policy, *diffusion, *await chat]
    if settings.chats and settings.chat.templates is not None:
        findings.append(found("templates", lambda: _check_templates(settings)))
    return Diagnosis(
        preset=settings.run.preset,
        versions=installed(),
        settings=tuple(
            Setting(name=name, value=_as_text(attrgetter(name)(settings)), source=loaded.source(name))
            for name in known_names()
        ),
        findings=tuple(findings),
    )


def _check_templates(settings: Settings) -> str:
    models = Models(settings)
    make_decomposer(settings, models.language)
    make_critic(settings, models.vision)
    return f"those in {settings.chat.templates} can be used"


def _as_text(value: Any) -> str | None:
    if isinstance(value, dict):
        entries = cast(dict[str, Any], value).items()
        return ", ".join(f"{k}={'set' if isinstance(v, SecretStr) else repr(v)}" for k, v in entries) or None
    if isinstance(value, SecretStr):
        return "set"
    if isinstance(value, bool):
        return str(value).lower()
    return None if value is None else str(value)
