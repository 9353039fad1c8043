"""Power meters: protocols, transports and emulators."""
