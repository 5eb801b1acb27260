"""Checked access to the fields of untrusted JSON: errors name the file, the field, its value and what was expected."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from latentloop.errors import BundleError, short_repr

LARGEST = 2**53  # limit of integers: exact in every JSON reader, far below overflow


@dataclass(frozen=True)
class Fields:
    """A JSON object. ``where`` is its location for messages, such as ``manifest.json.levels[0].prior``.

    Each method checks and returns one field, and raises BundleError if it is missing or has another type or range.
    """

    where: str
    values: dict[str, Any]

    @staticmethod
    def of(where: str, value: object) -> Fields:
        """Returns the fields of ``value``. Raises BundleError unless it is an object."""
        if not isinstance(value, dict):
            raise BundleError(f"{where} is {short_repr(value)}, expected an object")
        return Fields(where, value)

    def integer(self, name: str, minimum: int = 0, maximum: int = LARGEST) -> int:
        """Returns an integer from ``minimum`` to ``maximum``, both included."""
        value = self._get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not minimum <= value <= maximum:
            raise self._error(name, value, f"an integer from {minimum} to {maximum}")
        return value

    def boolean(self, name: str) -> bool:
        """Returns a boolean."""
        value = self._get(name)
        if not isinstance(value, bool):
            raise self._error(name, value, "true or false")
        return value

    def text(self, name: str, choices: tuple[str, ...] = (), default: str | None = None) -> str:
        """Returns a string; with ``choices``, one of them. ``default`` is for a missing field."""
        value = self._get(name, default)
        if not isinstance(value, str) or (choices and value not in choices):
            raise self._error(name, value, f"one of {', '.join(choices)}" if choices else "a string")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """Returns a list of strings."""
        value = self._list(name)
        if not all(isinstance(item, str) for item in value):
            raise self._error(name, value, "a list of strings")
        return tuple(value)

    def shape(self, name: str) -> tuple[int | str, ...]:
        """Returns a shape: positive integers, and names of dynamic sizes."""
        value = self._list(name)
        for size in value:
            if isinstance(size, bool) or not isinstance(size, int | str):
                raise self._error(name, value, "a list of positive integers and names")
            if isinstance(size, int) and not 1 <= size <= LARGEST:
                raise self._error(name, value, f"sizes from 1 to {LARGEST}")
        return tuple(value)

    def section(self, name: str) -> Fields:
        """Returns a nested object."""
        return Fields.of(f"{self.where}.{name}", self._get(name))

    def optional_section(self, name: str) -> Fields | None:
        """Returns a nested object, or None if the field is absent or null."""
        return None if self.values.get(name) is None else self.section(name)

    def objects(self, name: str) -> Iterator[Fields]:
        """Yields the objects of a list."""
        for index, item in enumerate(self._list(name)):
            yield Fields.of(f"{self.where}.{name}[{index}]", item)

    def items(self) -> Iterator[tuple[str, Fields]]:
        """Yields every field by name; each must be an object."""
        for name in self.values:
            yield name, self.section(name)

    def _list(self, name: str) -> list[Any]:
        value = self._get(name)
        if not isinstance(value, list):
            raise self._error(name, value, "a list")
        return value

    def _get(self, name: str, default: Any = None) -> Any:
        if name not in self.values and default is None:
            raise BundleError(f"{self.where}.{name} is missing")
        return self.values.get(name, default)

    def _error(self, name: str, value: object, expected: str) -> BundleError:
        return BundleError(f"{self.where}.{name} is {short_repr(value)}, expected {expected}")
