"""The manifest: the contents of a bundle, and how a loop runs its graphs.

A loop allocates the state buffers of a prior (``memories`` in JSON) once, and runs the graphs on views of them. A
*binding* says which view is bound to an input or output of a graph. A loop knows nothing else of the model. The
manifests of sets of engines use the same classes. The types of the fields are those that ``json_reading`` expects.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Any

from latentloop.errors import BundleError, InputError, short_repr
from latentloop.io.json_reading import Shape, Size

FORMAT = "latentloop-bundle"
VERSION = 6
UNDRAWN_SINCE = 6  # the first version with ``undrawn_codeword``
OLDEST = 3  # version that is read
DTYPES = ("float32", "int64", "uint8")
USAGES = ("checkpoint", "data", "equal")
BATCH = "batch"  # the only dynamic size
INDEX = "index"  # a fill

# Views of a state buffer at row i and column j of the loop. A ring stores the last rows: row i at index i modulo the
# number of its rows.
VIEWS = (
    "all",  # the whole buffer
    "row",  # index i of the first axis
    "entries",  # indices 0 .. i of the first axis; a loop may bind a longer view: graphs do not read beyond index i
    "span",  # row i - back of a ring: `count` columns from `first` on, which may be padding
    "columns",  # `count` columns from j + first on; if the buffer is a ring, of its row i
)
STEPS = {False: "step", True: "step_filtered"}  # by whether the draw has filters
GRAPHS = ("row", *STEPS.values())  # a prior has one of each per precision
SHARED_GRAPHS = ("condition",)  # one for all precisions, if the prior has a condition to compute once per batch
PRECISIONS = ("float32", "int8")  # of weights; accumulators and activations are float32
MAX_COLUMNS = 2**20
ABSENT_IF_NONE = ("classifier", "codes_sha256", "dtype", "shape", "undrawn_codeword")  # fields that JSON then lacks


@dataclass(frozen=True)
class StateBuffer:
    """One array of a loop. ``shape`` may contain the dynamic size "batch"; a ring has the axes [rows, columns, ...].

    ``fill`` is the initial value of every element; with "index" entry i of the first axis holds i.
    """

    name: str
    dtype: str
    shape: Shape
    fill: Annotated[int | str, range(-1, 2**31), INDEX] = 0
    ring: bool = False
    padding: int = 0  # columns added on both sides of a ring's rows


@dataclass(frozen=True)
class Binding:
    """One input or output of a graph, and the view of a state buffer that is bound to it. In a set of engines it has
    the type and the shape of the view, too.
    """

    name: str
    memory: str
    view: Annotated[str, VIEWS]
    back: int = 0  # number of rows, for the view "span"
    first: Annotated[int, range(-MAX_COLUMNS, MAX_COLUMNS + 1)] = 0  # column, for the views "span" and "columns"
    count: Annotated[int, range(MAX_COLUMNS + 1)] = 0  # number of columns, for the same views
    dtype: str | None = None
    shape: Shape | None = None


@dataclass(frozen=True)
class GraphFile:
    """An ONNX file, or an engine's plan, with its bindings."""

    file: str
    inputs: tuple[Binding, ...]
    outputs: tuple[Binding, ...]


@dataclass(frozen=True)
class Prior:
    """The prior of one level: its graphs by ``graph_name``, and the state buffers they share.

    In a set of engines the graphs are of one precision, by role, and the buffers have their types at that precision.
    """

    condition_level: str | None
    classes: bool
    columns_per_step: Annotated[int, range(1, 3)]
    memories: tuple[StateBuffer, ...]
    graphs: dict[str, GraphFile]

    def at(self, precision: str) -> "Prior":
        """Returns this prior with the graphs of one precision only, keyed by role: "row", not "row_int8"."""
        names = {role: graph_name(role, precision) for role in (*GRAPHS, *SHARED_GRAPHS)}
        return replace(self, graphs={role: self.graphs[name] for role, name in names.items() if name in self.graphs})


@dataclass(frozen=True)
class Level:
    """One level of codes, with its prior if the bundle has one."""

    name: str
    height: Size
    width: Size
    codebook_size: Size
    prior: Prior | None


@dataclass(frozen=True)
class FileRecord:
    """The expected size in bytes and SHA-256 of a file."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """The contents of a bundle. ``levels`` are listed from the top down; ``image`` is (height, width, channels).

    The decoder has a codeword for a code that is not drawn, -1: the mean of a level's codewords, weighted by how often
    they occur. ``undrawn_codeword`` says where that is from: the VQ-VAE's checkpoint, images given for the export, or
    neither, if all count equally. None: an earlier release exported the bundle, and the decoder has no such codeword.
    """

    image: tuple[int, int, int]
    levels: tuple[Level, ...]
    encoder: str
    decoder: str
    golden: str
    weights: str
    classes: tuple[str, ...]
    precisions: tuple[str, ...]
    exporter: str
    opset: Size
    files: dict[str, FileRecord]
    classifier: str | None = None  # file of the graph that computes class probabilities, if the bundle has one
    licence: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)
    codes_sha256: str | None = None  # digest of what gives the VQ-VAE's codes their meaning; None: not recorded
    undrawn_codeword: Annotated[str, USAGES] | None = None

    def level(self, name: str) -> Level:
        """Returns the level of that name. Raises BundleError, with the names of all levels, if there is none."""
        for level in self.levels:
            if level.name == name:
                return level
        raise BundleError(f"no level {name!r}; the bundle has: {', '.join(level.name for level in self.levels)}")

    def priors(self, precision: str) -> dict[str, Prior]:
        """Returns the priors by level, each with the graphs of one precision, as from ``Prior.at``."""
        return {level.name: level.prior.at(precision) for level in self.levels if level.prior is not None}

    def digest(self) -> str:
        """Returns the SHA-256, in hexadecimal, of the digests of all graphs and weights: bundles with the same digest
        draw the same codes.
        """
        digests = {name: record.sha256 for name, record in self.files.items() if name != self.golden}
        return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()

    def origin(self) -> dict[str, str]:
        """Returns what codes of this bundle record of it: ``bundle``, its digest, and its ``codes_sha256`` if known."""
        known = {} if self.codes_sha256 is None else {"codes_sha256": self.codes_sha256}
        return {"bundle": self.digest(), **known}

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
    """Returns the manifest as plain JSON types; without the fields of ``ABSENT_IF_NONE`` that are None."""
    return {"format": FORMAT, "version": VERSION, **asdict(manifest, dict_factory=present_fields)}


def present_fields(items: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Returns the fields of one object that its JSON has."""
    return {name: value for name, value in items if value is not None or name not in ABSENT_IF_NONE}
