"""Sub-commands of `joulebit` that need a board or a meter."""
