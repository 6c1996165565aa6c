"""The roles that many runs share."""

import asyncio
from dataclasses import dataclass

from ...tools.roles import Asker, Critic, Decomposer, Diffusion
from ..doctor.require import require
from ..presets import preset_named
from ..settings import Loaded
from ..traces.manifest import model_name


@dataclass(frozen=True)
class Cast:
    """The roles of all runs, made once."""

    decomposer: Decomposer
    diffusion: Diffusion
    critic: Critic
    loaded: Loaded
    """The settings that they were made from, for the manifests."""
    chat: Asker | None = None
    """For policies that ask a chat model; None where there is none."""

    @property
    def models(self) -> dict[str, str]:
        """Name and content hash by role."""
        return {role: model_name(getattr(self, role)) for role in ("decomposer", "diffusion", "critic")}


async def cast_of(
    loaded: Loaded,
    decomposer: Decomposer | None = None,
    diffusion: Diffusion | None = None,
    critic: Critic | None = None,
) -> Cast:
    """Look at everything as a run does, then load the models; what is given stands in for them.

    Raises:
        ModelError: a model cannot be used.
        SettingsError: a setting cannot.
    """
    models = preset_named(loaded.settings.run.preset).roles(loaded.settings)
    reader = decomposer or models.decomposer()
    await require(loaded.settings, draws=diffusion is None, looks=critic is None)
    looker = critic or await asyncio.to_thread(models.critic)  # first, since it loads faster
    drawer = diffusion or await asyncio.to_thread(models.diffusion)
    return Cast(reader, drawer, looker, loaded, models.chat())
