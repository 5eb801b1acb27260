"""Measurements of sampling on a GPU, and PyTorch programs that run there."""
