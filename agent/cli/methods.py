"""``batch --methods``: several methods on the same prompts, each with settings and a folder of its own."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..settings import Loaded

WHOLE = "detailscribe"
"""The method that is the preset itself."""
OF_THE_MODEL = ("steps", "guidance")
OF_THE_POLICY = ("policy", "policy_args")


def load_methods(
    names: Sequence[str], given: Mapping[str, Mapping[str, Any]], folder: Path, file: Path | None
) -> dict[str, "Loaded"]:
    """The settings of each method, by its name, which is also the name of its folder.

    A name is ``detailscribe`` for the preset itself, a baseline of that preset, or another preset with or without a
    baseline. What is given of the model that draws holds for the preset's own; what is given of the policy, only
    where the method leaves it open.

    Args:
        names: Of the methods.
        given: Settings by section, as the command line gives them.
        folder: Under which each method has its own.
        file: TOML.

    Raises:
        SettingsError: a name is unknown or comes twice, the preset is a baseline already, or another preset's model
            would be overruled by a setting from elsewhere.
    """
    from ...tools.errors import SettingsError
    from ..settings import load

    own = load(given, file=file).settings.run.preset
    if "+" in own:
        raise SettingsError(f"the preset {own!r} is one method already: name it without what follows the +")
    if not names or len(set(names)) < len(names):
        raise SettingsError(f"--methods {','.join(names)!r} should name each method once")
    return {name: _loaded(name, own, given, folder / name, file) for name in names}


def _loaded(name: str, own: str, given: Mapping[str, Mapping[str, Any]], folder: Path, file: Path | None) -> "Loaded":
    from ...tools.errors import SettingsError
    from ..presets import preset_named
    from ..settings import load

    preset = _preset(name, own)
    fixed = preset_named(preset).settings
    theirs = preset.partition("+")[0] != own
    dropped = (*(OF_THE_MODEL if theirs else ()), *(OF_THE_POLICY if theirs or _decides(preset) else ()))
    sections = {section: dict(values) for section, values in given.items() if not (theirs and section == "diffusion")}
    run = {key: value for key, value in sections.get("run", {}).items() if key not in dropped}
    loaded = load({**sections, "run": {**run, "preset": preset, "out": folder}}, file=file)
    model = fixed.get("diffusion", {}).get("model")
    if theirs and loaded.settings.diffusion.model != model:
        source = loaded.source("diffusion.model")
        raise SettingsError(f"{name} draws with {model}, but diffusion.model comes from elsewhere ({source}): unset it")
    return loaded


def _preset(name: str, own: str) -> str:
    """Of a method."""
    from ...tools.errors import SettingsError
    from ..baselines import BASELINES, baseline_named
    from ..presets import PRESETS

    if name == WHOLE:
        return own
    if name.partition("+")[0] in PRESETS:
        return name
    try:
        baseline_named(name)
    except SettingsError as error:
        known = f"{WHOLE}, {', '.join(BASELINES)}, best-by-METRIC, best-of-N-by-METRIC, or another preset"
        raise SettingsError(f"no method {name!r}; known are {known}") from error
    return f"{own}+{name}"


def _decides(preset: str) -> bool:
    """Whether a preset's baseline is a policy of its own."""
    from ..baselines import baseline_named

    baseline = preset.partition("+")[2]
    return bool(baseline) and "policy" in baseline_named(baseline).settings.get("run", {})
