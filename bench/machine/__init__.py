"""Measurements of the machine itself, and how the bench runs and times work on it."""
