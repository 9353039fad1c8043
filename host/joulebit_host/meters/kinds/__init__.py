"""One file per meter: its protocol, its options, its decoder, how it is opened."""
