"""Result files: JSON with a schema version and a kind, checked when read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from latentloop.errors import InputError
from latentloop.io.files import write_file

SCHEMA = 1
LARGEST = 64 * 2**20  # bytes; a result has some tens of kB
# Required fields by kind. "peers" holds the implementations that were timed, baselines and LatentLoop, by name.
FIELDS: dict[str, tuple[str, ...]] = {
    "sampling": ("preset", "environment", "roofline", "levels", "bounds", "peers"),
    "growth": ("environment", "series"),
    "cold-start": ("environment", "seconds", "phases"),
    "throughput": ("environment", "bundle", "settings", "default", "left_out", "differing_codes", "runs"),
    "embedding": ("environment", "comparisons"),
    "roofline": ("environment", "gemm", "bandwidth"),
    "quality": ("environment", "bundle", "codes", "levels"),
    "samples": ("environment", "bundle", "reconstruction", "levels", "recognition", "likeness", "novelty"),
    "diversity": ("environment", "bundle", "judge", "images", "held_out", "curves"),
    "nearest": ("environment", "gemm", "searches"),
}


def new_result(kind: str, environment: dict[str, Any], **values: Any) -> dict[str, Any]:
    """Returns a result of ``kind``, ready to be written by ``write_result``."""
    return {"schema": SCHEMA, "kind": kind, "environment": environment, **values}


def write_result(path: Path, value: dict[str, Any], *, force: bool = False) -> None:
    """Writes a result as JSON. Raises OutputError."""
    text = json.dumps(value, indent=1, allow_nan=False)
    write_file(path, lambda temporary: temporary.write_text(text + "\n", encoding="utf-8"), force=force)


def read_result(path: Path, *kinds: str) -> dict[str, Any]:
    """Reads a result file of one of ``kinds``, or of any kind if none is given.

    Raises InputError that names the file and the field.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise InputError(f"{path}: larger than {LARGEST} bytes, not a result of `latentloop bench`")
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; `latentloop bench --out {path}` writes one") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not readable as JSON: {error}") from error
    if not isinstance(value, dict) or "schema" not in value:
        raise InputError(f"{path}: no field schema: not a result of this version's `latentloop bench`, measure again")
    if value["schema"] != SCHEMA:
        raise InputError(f"{path}: schema is {value['schema']!r}, expected {SCHEMA}: measure again with this version")
    kind = value.get("kind")
    if kind not in FIELDS:
        raise InputError(f"{path}: kind is {kind!r}, expected one of {', '.join(FIELDS)}")
    if kinds and kind not in kinds:
        raise InputError(f"{path}: kind is {kind!r}, expected {' or '.join(kinds)}")
    missing = [name for name in FIELDS[kind] if name not in value]
    if missing:
        raise InputError(f"{path}: no field {', '.join(missing)}: the file is truncated or edited, measure again")
    return value
