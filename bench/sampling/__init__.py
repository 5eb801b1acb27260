"""Measurements of sampling: a preset against all baselines, growth with size, and the cold start."""
