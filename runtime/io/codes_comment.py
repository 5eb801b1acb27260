"""The comment of a file of codes: how each level was made, and the names of classes, as JSON in the archive's comment.

An origin is a run that made codes of a level. It has ``bundle``, the digest of the bundle; ``codes_sha256``, that of
the VQ-VAE, if the bundle records it; if codes were drawn also the settings and the precision of the draw; and
``seeds`` (of N images, or one for all) if they differ from the file's.
"""

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from latentloop.draws.settings import SETTINGS
from latentloop.errors import BundleError, InputError
from latentloop.io.json_reading import parse_json, read

FORMAT = "latentloop-codes-1"
LONGEST = 2**16 - 1  # bytes, a limit of the archive format
Seed = Annotated[int, range(2**64)]


@dataclass(frozen=True)
class Comment:
    """``origins`` by level, first to last: several if parts of the level were drawn later. ``classes`` maps labels in
    use to names. Both are empty if the file does not record them.
    """

    origins: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    classes: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Stored:
    """The comment as JSON."""

    format: Annotated[str, (FORMAT,)]
    origins: dict[str, tuple[dict[str, Any], ...]] | None
    classes: dict[str, str] | None


@dataclass(frozen=True)
class _Made:
    """The fields of an origin, except the settings and the seeds."""

    bundle: str | None
    codes_sha256: str | None
    precision: str | None


def write_comment(
    origins: Mapping[str, Sequence[Mapping[str, Any]]], classes: Mapping[int, str], seeds: Sequence[int] = ()
) -> bytes:
    """Returns the comment. ``seeds`` are the file's: an origin that equals the one after it, which has these, is left
    out. If the comment is too long, the origins' seeds are left out, then the class names, then the oldest origins.
    """
    kept = {level: _without_repetitions(of_level, seeds) for level, of_level in origins.items()}
    names = {str(label): name for label, name in classes.items()}
    while True:
        comment = json.dumps({"format": FORMAT, "origins": kept, "classes": names}).encode()
        if len(comment) <= LONGEST:
            return comment
        with_seeds = [each for each in itertools.chain(*kept.values()) if "seeds" in each]
        longest = max(kept.values(), key=len, default=[])
        if with_seeds:  # thousands of images
            for each in with_seeds:
                del each["seeds"]
        elif names:  # thousands of classes
            names = {}
        elif len(longest) > 1:  # a level of which parts were drawn in hundreds of runs
            del longest[0]
        else:
            kept = {}


def _without_repetitions(origins: Sequence[Mapping[str, Any]], seeds: Sequence[int]) -> list[dict[str, Any]]:
    kept: list[dict[str, Any]] = []
    for origin in origins:
        if kept and {"seeds": seeds, **kept[-1]} == {"seeds": seeds, **origin}:
            kept.pop()
        kept.append(dict(origin))
    return kept


def read_comment(path: Path, content: bytes) -> Comment:
    """Returns the comment of the file ``path``; an empty one if another program wrote the archive.

    Raises InputError that names the field if it is damaged or has another version.
    """
    if not content.startswith(b'{"format": "latentloop-codes-'):
        return Comment()
    where = f"{path}: its comment"
    try:
        stored = read(_Stored, parse_json(content, where), where)
        origins = {level: [dict(origin) for origin in of_level] for level, of_level in (stored.origins or {}).items()}
        for level, of_level in origins.items():
            for index, origin in enumerate(of_level):
                _check_origin(origin, f"{where}.origins.{level}[{index}]")
        names = stored.classes or {}
        labels = {label: read(Seed, _integer(label), f"{where}.classes: label {label!r:.60}") for label in names}
    except BundleError as error:
        raise InputError(
            f"{error}: it is damaged, or of a later release; save the file again with NumPy to use the codes"
        ) from error
    return Comment(origins, {labels[label]: name for label, name in names.items()})


def _check_origin(origin: dict[str, Any], where: str) -> None:
    read(_Made, origin, where)
    for name in SETTINGS:
        read(float | None, origin.get(name), f"{where}.{name}")  # type: ignore[arg-type]
    seeds = origin.get("seeds")
    if isinstance(seeds, list):
        read(tuple[Seed, ...], seeds, f"{where}.seeds")
    else:
        read(Seed | None, seeds, f"{where}.seeds")  # type: ignore[arg-type]


def _integer(text: str) -> int | str:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else text
