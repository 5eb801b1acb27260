"""Measurements of the nearest-codeword search, on the CPU and on a GPU."""
