"""Comparison of what a journal records with what a command asks for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from latentloop.bulk.journal import ANEW
from latentloop.bulk.shards import RunPart, Shards
from latentloop.errors import InputError, short_repr

REMEDIES = {
    "instruction_set": "set LATENTLOOP_INSTRUCTION_SET to the journal's, if this processor has it",
    "gpu": "use a GPU of the journal's model",
    "bundle": "name the bundle of before",
    "given_sha256": "name the file of before, unchanged",
    "codes_sha256": "name the files of before, unchanged and in the same order",
    "inputs_sha256": "images were changed, added or removed since, or are named by another path: name those of before, "
    "unchanged",
    "labels_sha256": "name the classes of before",
    "packages": "install the versions of before",
}
SAME = "give the options of before"
_MISSING = object()


def recorded_shards(header: Mapping[str, Any]) -> Shards | None:
    """Returns the shards of the run of a journal's header; None if it does not say them."""
    n, size = header.get("n"), header.get("shard_size")
    return Shards(n, size) if type(n) is int and type(size) is int and n > 0 and size > 0 else None


def no_shards(path: Path, header: Mapping[str, Any]) -> str:
    """Returns a message on a journal whose header does not say the shards."""
    found = [header.get("n"), header.get("shard_size")]
    return f"{path}: line 1 has n and shard_size {found}, expected positive integers"


def recorded_part(header: Mapping[str, Any]) -> RunPart | None:
    """Returns the part of the run that a journal's folder has; None for a whole run. Raises InputError."""
    part = header.get("part")
    return None if part is None else RunPart.parse(str(part))


def check_same(path: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raises InputError unless the fields in ``now`` have the values that the journal at ``path`` has ``before``."""
    for field, was, has in _differences("", {name: before.get(name, _MISSING) for name in now}, now):
        remedy = REMEDIES.get(field.partition(".")[0], SAME)
        raise InputError(
            f"{path}: {field} was {_shown(was)}, this command has {_shown(has)}: {remedy}, or {ANEW}, which removes "
            "the files of before"
        )


def first_difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[str, str, str] | None:
    """Returns the first field that differs between two journals' headers, and both values for people; or None."""
    for field, a, b in _differences("", one, other):
        return field, _shown(a), _shown(b)
    return None


def _differences(where: str, before: object, now: object) -> Iterator[tuple[str, object, object]]:
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for name in dict.fromkeys((*now, *before)):
            inner = f"{where}.{name}" if where else str(name)
            yield from _differences(inner, before.get(name, _MISSING), now.get(name, _MISSING))
    elif before != now or isinstance(before, bool) != isinstance(now, bool):
        yield where, before, now


def _shown(value: object) -> str:
    return "missing" if value is _MISSING else "none" if value is None else short_repr(value)
