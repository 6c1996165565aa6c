"""``python -m detailscribe.agent.cli``."""

from .app import main

main()
