"""The command `joulebit`."""
