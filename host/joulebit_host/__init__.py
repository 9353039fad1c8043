"""Driver, boards and meters: what runs beside the accelerator."""
