"""Counters and simulated energy."""
