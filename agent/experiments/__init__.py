"""Experiments: policies, critics and seeds from a file, run side by side, judged independently, and compared."""
