"""Counter-based random numbers, rounding, saturation and number formats."""
