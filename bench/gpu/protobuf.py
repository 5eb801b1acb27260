"""Protocol buffers on the wire, without a package or a schema.

A message is fields, each a key (number << 3 | kind) and a value: a varint (kind 0), 8 or 4 bytes (1, 5), or a length
and as many bytes (2), which hold a text, a message, or packed numbers.
"""

from __future__ import annotations

from collections.abc import Iterator

Field = int | bytes  # 4 and 8 bytes stay bytes


def messages(data: bytes, field: int) -> list[bytes]:
    """Every value of that field that is bytes."""
    return [value for found, value in _fields(data) if found == field and isinstance(value, bytes)]


def texts(data: bytes, field: int) -> tuple[str, ...]:
    """Every text of that field."""
    return tuple(value.decode() for value in messages(data, field))


def text(data: bytes, field: int) -> str:
    """The text of that field, empty without one."""
    return next(iter(texts(data, field)), "")


def numbers(data: bytes, field: int) -> list[int]:
    """Every int64 of that field, one by one or packed."""
    found = []
    for there, value in _fields(data):
        if there != field:
            continue
        packed = value if isinstance(value, bytes) else b""
        place = 0
        while place < len(packed):
            one, place = _varint(packed, place)
            found.append(one)
        if isinstance(value, int):
            found.append(value)
    return [one - 2**64 if one >= 2**63 else one for one in found]


def number(data: bytes, field: int) -> int:
    """The int64 of that field, 0 without one."""
    return next(iter(numbers(data, field)), 0)


def _fields(data: bytes) -> Iterator[tuple[int, Field]]:
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        if key & 7 == 0:
            value, place = _varint(data, place)
            yield key >> 3, value
            continue
        size, place = _varint(data, place) if key & 7 == 2 else ({1: 8, 5: 4}[key & 7], place)
        yield key >> 3, data[place : place + size]
        place += size


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """The value, and the place after it."""
    value = shift = 0
    while True:
        value |= (data[place] & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if data[place - 1] < 0x80:
            return value, place
