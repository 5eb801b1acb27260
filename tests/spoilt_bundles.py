"""Bundles to spoil: a field or a file of a copy is replaced, and the error that follows is read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
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


def scaled_weight(bundle: Path, graph: str, weight: str, factor: float) -> None:
    """Scales one weight of the shared file, through the offset that a graph names."""
    model = onnx.load(bundle / graph, load_external_data=False)
    tensor = next(t for t in model.graph.initializer if t.name == weight)
    entries = {entry.key: entry.value for entry in tensor.external_data}
    data = bytearray((bundle / entries["location"]).read_bytes())
    begin, length = int(entries["offset"]), int(entries["length"])
    values = np.frombuffer(data, np.float32, length // 4, begin) * np.float32(factor)
    data[begin : begin + length] = values.tobytes()
    replace_file(bundle, entries["location"], bytes(data))


def refusal(action: Callable[[], object]) -> str:
    """The text of the BundleError that the action must raise."""
    with pytest.raises(BundleError) as caught:
        action()
    return str(caught.value)
