"""Ray, if it is installed."""

import os
from typing import Any

from ..errors import SettingsError

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # what later versions do anyway; without it Ray warns in each process
    "RAY_worker_niceness": "0",  # a replica is all that the user waits for; by default it gives way to everything
}
"""Of the environment of what is started here, unless it says otherwise; nothing is told to anyone on the network."""


def library() -> Any:
    """The module.

    Raises:
        SettingsError: it is not installed.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        raise SettingsError('Ray is not installed: pip install "detailscribe[ray]"') from error
    return ray
