"""Numbers that the simulator, the driver and the RTL share."""
