"""The training loop, the optimiser and checkpoints."""
