"""The measurement method: windows, joules with an uncertainty budget, phases, and the procedure around them."""
