"""Corruption of bundles for tests: replaced fields and files, and the errors that they cause."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterator
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
    write_manifest(bundle, manifest)


def write_manifest(bundle: Path, manifest: Any) -> None:
    (bundle / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


def value_at(value: Any, keys: Keys) -> Any:
    """Returns the value at this path of keys and indices."""
    for key in keys:
        value = value[key]
    return value


def scalars(value: Any, keys: Keys = ()) -> Iterator[tuple[Keys, Any]]:
    """Yields every scalar with its path of keys; ``provenance`` may have any content."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            if (*keys, key) != ("provenance",):
                yield from scalars(inner, (*keys, key))
    else:
        yield keys, value


def mutate(manifest: Any, rng: random.Random) -> None:
    """Changes one field at random: removes, replaces, duplicates or shuffles it, or adds or subtracts 1."""
    paths = [keys for keys, _ in scalars(manifest) if keys[0] != "files"]
    keys, other = rng.choice(paths), rng.choice(paths)
    depth = rng.randrange(1, len(keys) + 1)  # the scalar, or a list or object that contains it
    parent: Any = value_at(manifest, keys[: depth - 1])
    key: Any = keys[depth - 1]
    kind = rng.randrange(5)
    if kind == 0:
        del parent[key]
    elif kind == 1:
        parent[key] = rng.choice([None, True, -1, 0, 1, 7, 2**31, 2**53, 1.5, "", "x", [], {}])
    elif kind == 2 and isinstance(parent, list):
        parent.insert(rng.randrange(len(parent) + 1), parent[key])
    elif kind == 3 and isinstance(parent, list):
        rng.shuffle(parent)
    elif isinstance(parent[key], int):
        parent[key] += rng.choice([-1, 1])
    else:
        parent[key] = value_at(manifest, other[: rng.randrange(1, len(other) + 1)])


def mutated_manifests(original: str, count: int) -> Iterator[tuple[int, random.Random, str]]:
    """Yields manifests with one change: the seed, its random numbers, and the text."""
    for seed in range(count):
        rng, manifest = random.Random(seed), json.loads(original)
        mutate(manifest, rng)
        try:
            text = json.dumps(manifest)
        except ValueError:  # a list or object now contains itself
            continue
        yield seed, rng, text


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
