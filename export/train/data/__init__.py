"""Data sets, and the order in which a training takes their items."""
