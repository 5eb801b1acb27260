"""``latentloop bench`` and its sub-commands."""
