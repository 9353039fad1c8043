"""Joulebit: bit-exact fixed-point training of neural networks, and the joules it costs."""

__version__ = "0.1.0"
