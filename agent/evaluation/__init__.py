"""Measures recorded runs with metrics and by people, and compares methods."""
