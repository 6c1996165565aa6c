"""The state machine: nodes, routing, runtime context, and checkpoints."""
