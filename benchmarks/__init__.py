"""Measurements: ``python -m benchmarks.NAME`` prints a table, with ``--json`` one object."""
