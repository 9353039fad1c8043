"""Emulators of the serial meters, written from their protocols; they share no code with the decoders."""
