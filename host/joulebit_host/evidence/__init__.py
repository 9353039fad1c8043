"""What was received, kept so that every joule can be derived again: hash-chained, append-only logs."""
