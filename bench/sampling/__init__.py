"""Measurements of sampling: all implementations on one preset, growth with size, cold start, and peak memory."""
