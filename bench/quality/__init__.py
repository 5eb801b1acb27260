"""Measurements of quality: of samples and reconstructions, and of int8 weights."""
