"""Tools that measure on a GPU."""
