"""Corruption of bundles for tests: replaced fields and files, and the errors that they cause."""

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
    """Sets the field of manifest.json at this path of keys and indices."""
    manifest = read_manifest(bundle)
    value_at(manifest, keys[:-1])[keys[-1]] = value
    (bundle / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


def value_at(value: Any, keys: Keys) -> Any:
    """Returns the value at this path of keys and indices."""
    for key in keys:
        value = value[key]
    return value


def replace_file(bundle: Path, name: str, content: bytes) -> None:
    """Replaces a file's content, and updates its size and SHA-256 in the manifest."""
    (bundle / name).write_bytes(content)
    record = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    edit_manifest(bundle, "files", name, value=record)


def scale_weight(bundle: Path, graph: str, weight: str, factor: float) -> None:
    """Multiplies a weight in the weights file by ``factor``. ``graph`` is the file of a graph that uses the weight."""
    model = onnx.load(bundle / graph, load_external_data=False)
    tensor = next(t for t in model.graph.initializer if t.name == weight)
    external = {entry.key: entry.value for entry in tensor.external_data}
    data = bytearray((bundle / external["location"]).read_bytes())
    begin, length = int(external["offset"]), int(external["length"])
    values = np.frombuffer(data, np.float32, length // 4, begin) * np.float32(factor)
    data[begin : begin + length] = values.tobytes()
    replace_file(bundle, external["location"], bytes(data))


def error_of(action: Callable[[], object]) -> str:
    """Returns the message of the BundleError that the action must raise."""
    with pytest.raises(BundleError) as caught:
        action()
    return str(caught.value)
