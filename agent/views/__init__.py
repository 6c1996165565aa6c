"""What shows runs: terminal, report, gallery. It reads runs; no run needs it."""
