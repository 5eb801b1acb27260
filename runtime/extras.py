"""Optional packages: one sentence and the pip line where one is missing."""

from __future__ import annotations

from importlib import import_module

from latentloop.errors import MissingError


def require(purpose: str, *packages: str, extra: str = "export") -> None:
    """Imports ``packages``; raises MissingError, "<purpose> needs …", where one cannot be imported."""
    for package in packages:
        try:
            import_module(package)
        except ImportError as error:
            needed = " and ".join(packages)
            raise MissingError(f'{purpose} needs {needed}: pip install "latentloop[{extra}]"') from error
