"""What a run looks at before it spends anything."""

import asyncio

from ...tools.errors import ModelError
from ..roles import Chats
from ..settings import Settings
from .finding import Finding


async def require(settings: Settings, *, draws: bool, looks: bool) -> None:
    """End at the first problem of the diffusion model (``draws``) or of the critic's chat model (``looks``).

    The decomposer's chat model needs no look: its first question comes before anything else is spent.
    What costs nothing to tell is told first.

    Raises:
        ModelError: the message says what to do.
        SettingsError: a template of the user's cannot be used.
    """
    if looks and settings.chats:
        Chats(settings).critic()
    if draws and settings.diffusion.model is not None:
        from .diffusion import look_at_diffusion

        for finding in await asyncio.to_thread(lambda: list(look_at_diffusion(settings))):
            _refuse(finding)
    if looks and settings.chats:
        from .chat import look_at_vision

        _refuse(await look_at_vision(settings.vision_settings()))


def _refuse(finding: Finding) -> None:
    if finding.status == "problem":
        raise ModelError(finding.text)
