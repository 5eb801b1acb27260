"""Bundles to spoil: a field or a file of a copy is replaced, and the error that follows is read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from latentloop.errors import BundleError

Keys = tuple[str | int, ...]


def read_manifest(bundle: Path) -> Any:
    return json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))


def edit_manifest(bundle: Path, *keys: str | int, value: Any) -> None:
    """Sets one field, given by the keys that lead to it."""
    manifest = read_manifest(bundle)
    at(manifest, keys[:-1])[keys[-1]] = value
    (bundle / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


def at(value: Any, keys: Keys) -> Any:
    """What the keys lead to."""
    for key in keys:
        value = value[key]
    return value


def replace_file(bundle: Path, name: str, content: bytes) -> None:
    """Another content, and the manifest says so."""
    (bundle / name).write_bytes(content)
    record = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    edit_manifest(bundle, "files", name, value=record)


def refusal(action: Callable[[], object]) -> str:
    """The text of the BundleError that the action must raise."""
    with pytest.raises(BundleError) as caught:
        action()
    return str(caught.value)
