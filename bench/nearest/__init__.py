"""Measurements of the nearest-codeword search."""
