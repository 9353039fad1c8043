"""Energy-saving training techniques."""
