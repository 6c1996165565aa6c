"""Settings: their types by section, where they come from, and how the sources are put together."""

from .layers import known_names
from .loading import Given, Loaded, load, load_settings, with_secrets
from .sections import ChatSection, DiffusionSection, ImagesSection, RunSettings, Settings, VisionSection

__all__ = [
    "ChatSection",
    "DiffusionSection",
    "Given",
    "ImagesSection",
    "Loaded",
    "RunSettings",
    "Settings",
    "VisionSection",
    "known_names",
    "load",
    "load_settings",
    "with_secrets",
]
