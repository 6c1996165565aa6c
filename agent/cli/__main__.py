"""``python -m detailscribe.agent.cli``."""

from . import main

main()
