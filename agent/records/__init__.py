"""What is kept of a run: its manifest, its trace of events, and how both are read."""
