"""Layers, models and the loss, in integers."""
