"""What carries a meter's bytes: serial ports, files, processes."""
