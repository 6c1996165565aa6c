"""The roles by the name of a preset; models load only when ``load`` is called."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..tools.errors import SettingsError
from ..tools.roles import Critic, Decomposer, Diffusion

EMBEDDED_DIFFUSION = Path(__file__).parent.parent / "tools" / "world" / "weights" / "diffusion"
"""The diffusers folder inside the package."""
EMBEDDED_STEPS = 28
EMBEDDED_GUIDANCE = 3.0


@dataclass(frozen=True)
class Preset:
    """How to make the roles of one set of models."""

    decomposer: Callable[[], Decomposer]
    """Cheap: it is made before anything is loaded, so that a bad prompt is told at once."""
    diffusion: Callable[[int | None, float | None], Diffusion]
    """Of steps and guidance, each its own default where None. ``ModelError`` if the weights cannot be read."""
    critic: Callable[[], Critic]
    """``ModelError`` if the weights cannot be read."""


def embedded() -> Preset:
    """The models inside the package: they run offline, on a CPU."""

    def decomposer() -> Decomposer:
        from ..tools.world import EmbeddedDecomposer

        return EmbeddedDecomposer()

    def diffusion(steps: int | None, guidance: float | None) -> Diffusion:
        from ..tools.diffusion import LocalDiffusion

        return LocalDiffusion.load(
            EMBEDDED_DIFFUSION,
            steps=EMBEDDED_STEPS if steps is None else steps,
            guidance=EMBEDDED_GUIDANCE if guidance is None else guidance,
        )

    def critic() -> Critic:
        from ..tools.world import EmbeddedCritic

        return EmbeddedCritic.load()

    return Preset(decomposer, diffusion, critic)


PRESETS: dict[str, Callable[[], Preset]] = {"embedded": embedded}


def preset_named(name: str) -> Preset:
    """The preset of that name; ``SettingsError`` if there is none."""
    if name not in PRESETS:
        raise SettingsError(f"no preset {name!r}: known are {', '.join(sorted(PRESETS))}")
    return PRESETS[name]()
