"""Campaigns: many measurements by one plan, unattended; and what follows from them."""
