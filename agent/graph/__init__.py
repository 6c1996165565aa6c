"""The state machine: its nodes, its routing, what they are handed, and where its state is kept."""
