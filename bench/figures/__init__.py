"""Measured quantities: medians and spreads, fits, units, tables, and the JSON files that hold them."""
