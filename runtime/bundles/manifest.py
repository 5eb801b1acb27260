"""The manifest: the contents of a bundle, and how a loop runs its graphs.

A loop allocates the state buffers of a prior (``memories`` in JSON) once, and runs the graphs on views of them. A
*binding* says which view is bound to an input or output of a graph. A loop knows nothing else of the model.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from latentloop.errors import BundleError, InputError, short_repr

FORMAT = "latentloop-bundle"
VERSION = 4
OLDEST = 3  # version that is read
DTYPES = ("float32", "int64", "uint8")
BATCH = "batch"  # the only dynamic size

# Views of a state buffer at row i and column j of the loop. A ring stores the last rows: row i at index i modulo the
# number of its rows.
VIEWS = (
    "all",  # the whole buffer
    "row",  # index i of the first axis
    "entries",  # indices 0 .. i of the first axis; a loop may bind a longer view: graphs do not read beyond index i
    "span",  # row i - back of a ring: `count` columns from `first` on, which may be padding
    "columns",  # `count` columns from j + first on; if the buffer is a ring, of its row i
)
GRAPHS = ("row", "step", "step_filtered")  # a prior has one of each per precision
SHARED_GRAPHS = ("condition",)  # one for all precisions, if the prior has a condition to compute once per batch
PRECISIONS = ("float32", "int8")  # of weights; accumulators and activations are float32


@dataclass(frozen=True)
class StateBuffer:
    """One array of a loop. ``shape`` may contain the dynamic size "batch"; a ring has the axes [rows, columns, ...]."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    fill: int = 0
    ring: bool = False
    padding: int = 0  # columns added on both sides of a ring's rows


@dataclass(frozen=True)
class Binding:
    """One input or output of a graph, and the view of a state buffer that is bound to it."""

    name: str
    memory: str
    view: str
    back: int = 0  # number of rows, for the view "span"
    first: int = 0  # column, for the views "span" and "columns"
    count: int = 0  # number of columns, for the same views


@dataclass(frozen=True)
class GraphFile:
    """An ONNX file with its bindings."""

    file: str
    inputs: tuple[Binding, ...]
    outputs: tuple[Binding, ...]


@dataclass(frozen=True)
class Prior:
    """The prior of one level: its graphs by ``graph_name``, and the state buffers they share."""

    condition_level: str | None
    classes: bool
    columns_per_step: int
    memories: tuple[StateBuffer, ...]
    graphs: dict[str, GraphFile]

    def at(self, precision: str) -> Prior:
        """Returns this prior with the graphs of one precision only, keyed by role: "row", not "row_int8"."""
        names = {role: graph_name(role, precision) for role in (*GRAPHS, *SHARED_GRAPHS)}
        return replace(self, graphs={role: self.graphs[name] for role, name in names.items() if name in self.graphs})


@dataclass(frozen=True)
class Level:
    """One level of codes, with its prior if the bundle has one."""

    name: str
    height: int
    width: int
    codebook_size: int
    prior: Prior | None


@dataclass(frozen=True)
class FileRecord:
    """The expected size in bytes and SHA-256 of a file."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """The contents of a bundle. ``levels`` are listed from the top down; ``image`` is (height, width, channels)."""

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
    classifier: str | None = None  # file of the graph that computes class probabilities, if the bundle has one
    licence: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)

    def level(self, name: str) -> Level:
        """Returns the level of that name. Raises BundleError, with the names of all levels, if there is none."""
        for level in self.levels:
            if level.name == name:
                return level
        raise BundleError(f"no level {name!r}; the bundle has: {', '.join(level.name for level in self.levels)}")

    def digest(self) -> str:
        """Returns the SHA-256, in hexadecimal, of the digests of all graphs and weights: bundles with the same digest
        draw the same codes.
        """
        digests = {name: record.sha256 for name, record in self.files.items() if name != self.golden}
        return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()

    def check_precision(self, precision: object) -> str:
        """Returns ``precision`` if the bundle has graphs at that precision. Raises InputError otherwise."""
        if not isinstance(precision, str) or precision not in self.precisions:
            raise InputError(
                f"precision is {short_repr(precision)}, expected one that the bundle has: {', '.join(self.precisions)}"
            )
        return precision


def graph_name(role: str, precision: str) -> str:
    """Returns the name of a prior's graph: its role at float32, and for example ``step_int8`` at other precisions."""
    return role if precision == "float32" or role in SHARED_GRAPHS else f"{role}_{precision}"


def to_json(manifest: Manifest) -> dict[str, Any]:
    """Returns the manifest as plain JSON types; without ``classifier`` if the bundle has none."""
    values = asdict(manifest)
    if manifest.classifier is None:
        del values["classifier"]
    return {"format": FORMAT, "version": VERSION, **values}
