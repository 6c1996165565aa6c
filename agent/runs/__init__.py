"""Runs: begun, taken up again, forked, made again, many side by side; each in a folder of its own."""
