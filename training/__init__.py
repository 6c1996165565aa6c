"""How the embedded models were trained: ``python -m training --help``."""
