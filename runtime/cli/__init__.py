"""The program ``latentloop``."""

from latentloop.cli.program import main

__all__ = ["main"]
