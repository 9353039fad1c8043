"""Configuration, runs, comparison, reports and the tables of the papers."""
