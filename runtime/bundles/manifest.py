"""The manifest: what a bundle holds, and how a host drives its graphs.

A host allocates each prior's *memories* once and runs its graphs over views of them; a *binding* says which view a
graph's input or output is. Nothing else about a model is known outside its graphs.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from latentloop.errors import BundleError, InputError, short_repr

FORMAT = "latentloop-bundle"
VERSION = 3
DTYPES = ("float32", "int64", "uint8")
BATCH = "batch"  # the one dynamic size

# Where in a memory a binding looks, for row i and column j. Rings keep the last rows: row i is at i modulo the ring.
VIEWS = (
    "all",  # the whole memory
    "row",  # entry i of the first axis
    "entries",  # entries 0 .. i of the first axis; more do no harm: the graph does not look at them
    "span",  # a ring's row i - back: `count` columns from `first` on, which may lie in the padding
    "columns",  # `count` columns from j + first on; of a ring: of its row i
)
GRAPHS = ("row", "step", "step_filtered")  # of a prior, at each precision
SHARED_GRAPHS = ("condition",)  # of all precisions, where a prior has something to compute once
PRECISIONS = ("float32", "int8")  # of weights; sums and activations are float32


@dataclass(frozen=True)
class StateBuffer:
    """One array of the loop. ``shape`` may name the dynamic size "batch"; a ring's axes are [rows, columns, ...]."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    fill: int = 0
    ring: bool = False
    padding: int = 0  # void columns on both sides of a ring's rows


@dataclass(frozen=True)
class Binding:
    """One input or output of a graph: the view of a memory that it is."""

    name: str
    memory: str
    view: str
    back: int = 0  # rows, for the view "span"
    first: int = 0  # column, for the views "span" and "columns"
    count: int = 0


@dataclass(frozen=True)
class GraphFile:
    """An ONNX file with its bindings."""

    file: str
    inputs: tuple[Binding, ...]
    outputs: tuple[Binding, ...]


@dataclass(frozen=True)
class Prior:
    """How one level's codes are drawn. ``graphs`` by ``graph_name``."""

    condition_level: str | None
    classes: bool
    columns_per_step: int
    memories: tuple[StateBuffer, ...]
    graphs: dict[str, GraphFile]

    def at(self, precision: str) -> Prior:
        """This prior with the graphs of one precision alone, under the names that a loop knows them by."""
        names = {role: graph_name(role, precision) for role in (*GRAPHS, *SHARED_GRAPHS)}
        return replace(self, graphs={role: self.graphs[name] for role, name in names.items() if name in self.graphs})


@dataclass(frozen=True)
class Level:
    """One level of codes, and its prior where the bundle has one."""

    name: str
    height: int
    width: int
    codebook_size: int
    prior: Prior | None


@dataclass(frozen=True)
class FileRecord:
    """What a file of the bundle must be: its size in bytes and SHA-256."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """Everything about a bundle. ``levels`` from the top down; ``image`` is (height, width, channels)."""

    image: tuple[int, int, int]
    levels: tuple[Level, ...]
    encoder: str
    decoder: str
    golden: str
    weights: str
    classes: tuple[str, ...]
    precisions: tuple[str, ...]
    exporter: str
    opset: int
    files: dict[str, FileRecord]
    classifier: str | None = None  # a graph, in a bundle that can tell how well a sample fits its label
    licence: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)

    def level(self, name: str) -> Level:
        """The level of that name; raises BundleError that lists the names there are."""
        for level in self.levels:
            if level.name == name:
                return level
        raise BundleError(f"no level {name!r}; the bundle has: {', '.join(level.name for level in self.levels)}")

    def digest(self) -> str:
        """Returns the SHA-256, in hexadecimal, of the digests of all graphs and weights: bundles that share it draw the
        same codes.
        """
        digests = {name: record.sha256 for name, record in self.files.items() if name != self.golden}
        return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()

    def check_precision(self, precision: object) -> str:
        """Returns ``precision`` if the bundle has graphs at it. Raises InputError."""
        if not isinstance(precision, str) or precision not in self.precisions:
            raise InputError(
                f"precision is {short_repr(precision)}, expected one that the bundle has: {', '.join(self.precisions)}"
            )
        return precision


def graph_name(role: str, precision: str) -> str:
    """What a prior's graph is called: by its role in float32, as ``step_int8`` at other precisions."""
    return role if precision == "float32" or role in SHARED_GRAPHS else f"{role}_{precision}"


def to_json(manifest: Manifest) -> dict[str, Any]:
    """The manifest as plain JSON types; ``classifier`` only where there is one."""
    values = asdict(manifest)
    if manifest.classifier is None:
        del values["classifier"]
    return {"format": FORMAT, "version": VERSION, **values}
