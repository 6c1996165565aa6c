"""How the embedded models were trained: ``python -m detailscribe.tools.world.training --help``."""
