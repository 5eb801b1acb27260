"""Builds the native libraries (none yet); everything declarative is in pyproject.toml."""

from setuptools import setup

# A strict editable install is a link tree, which type checkers and editors can follow.
setup(options={"editable_wheel": {"mode": "strict"}})
