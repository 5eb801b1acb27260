"""Measurements of sampling on the CPU."""
