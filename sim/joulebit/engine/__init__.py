"""Engines: the tensor operations of a training step, identical to the bit."""
