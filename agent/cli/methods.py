"""``batch --methods``: several methods on the same prompts, each with settings and a folder of its own."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..settings.loading import Loaded

WHOLE = "detailscribe"
"""The method that is the preset itself."""


def load_methods(
    names: Sequence[str], given: Mapping[str, Mapping[str, Any]], folder: Path, file: Path | None
) -> dict[str, "Loaded"]:
    """The settings of each method, by its name, which is also the name of its folder.

    A name is ``detailscribe`` for the preset itself, a baseline of that preset, or another preset with or without a
    baseline. Settings of the model that draws are for the preset's own model; settings of the policy are for the
    methods that have none of their own.

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
    from ..settings.loading import load

    own = load(given, file=file).settings.run.preset
    if "+" in own:
        raise SettingsError(f"the preset {own!r} is one method already: name it without what follows the +")
    if not names or len(set(names)) < len(names):
        raise SettingsError(f"--methods {','.join(names)!r} should name each method once")
    return {name: _loaded(name, own, given, folder / name, file) for name in names}


def _loaded(name: str, own: str, given: Mapping[str, Mapping[str, Any]], folder: Path, file: Path | None) -> "Loaded":
    from ...tools.errors import SettingsError
    from ..settings.loading import load
    from ..settings.presets import BASELINES, PRESETS, preset_named

    bare = name.partition("+")[0]
    preset = own if name == WHOLE else name if bare in PRESETS else f"{own}+{name}"
    try:
        fixed = preset_named(preset)
    except SettingsError as error:
        if bare in PRESETS:
            raise
        known = f"{WHOLE}, {', '.join(BASELINES)}, best-by-METRIC, best-of-N-by-METRIC, or another preset"
        raise SettingsError(f"no method {name!r}; known are {known}") from error
    is_other = preset.partition("+")[0] != own
    decides = fixed.baseline is not None and "policy" in fixed.baseline.settings.get("run", {})
    dropped = ("steps", "guidance") * is_other + ("policy", "policy_args") * (is_other or decides)
    sections = {section: values for section, values in given.items() if not (is_other and section == "diffusion")}
    run = {key: value for key, value in given.get("run", {}).items() if key not in dropped}
    loaded = load({**sections, "run": {**run, "preset": preset, "out": folder}}, file=file)
    model = fixed.settings.get("diffusion", {}).get("model")
    if is_other and loaded.settings.diffusion.model != model:
        source = loaded.source("diffusion.model")
        raise SettingsError(f"{name} draws with {model}, but diffusion.model comes from elsewhere ({source}): unset it")
    return loaded
