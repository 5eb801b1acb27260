"""A set of engines: TensorRT plans of a bundle's graphs for one GPU architecture, TensorRT version and precision.

Its ``manifest.json`` describes levels, state buffers and bindings like the manifest of the bundle.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from latentloop.bundles.codec import CodecGraph, Tensor
from latentloop.bundles.manifest import (
    Binding,
    FileRecord,
    GraphFile,
    Level,
    Manifest,
    StateBuffer,
    present_fields,
)
from latentloop.bundles.views import view_index, view_shape
from latentloop.errors import InputError, short_repr
from latentloop.io.json_reading import Size

FORMAT = "latentloop-engines"
VERSION = 2  # of the format and of the rewriting of graphs: engines of versions that are not read are built again
OLDEST = 1  # version that is read
FILLS_SINCE = 2  # the first version with the initial values of ``loop_buffers``
PRECISIONS = ("float32", "float16", "bfloat16", "int8")
NARROW = ("float16", "bfloat16")  # of matrix products, and of the state buffers that only matrix products read
FLAVOURS = ("tensorrt", "tensorrt_rtx")  # Python modules of TensorRT and of TensorRT for RTX


@dataclass(frozen=True)
class Profile:
    """The batch sizes of one optimisation profile; all engines of a set have the same profiles."""

    minimum: Size
    optimum: Size
    maximum: Size


@dataclass(frozen=True)
class EngineSet:
    """The manifest of a set, except ``folder``, which is the directory of the set."""

    folder: Path
    flavour: Annotated[str, FLAVOURS]
    library: str  # version of the TensorRT library
    architecture: str  # for example "sm90", for compute capability 9.0
    precision: Annotated[str, PRECISIONS]
    profiles: tuple[Profile, ...]
    sources: dict[str, str]  # SHA-256 of the bundle's files that the engines were built from
    image: tuple[int, int, int]
    levels: tuple[Level, ...]
    encoder: CodecGraph
    decoder: CodecGraph
    files: dict[str, FileRecord]

    def engines(self) -> Iterator[CodecGraph | GraphFile]:
        """Yields the description of every engine."""
        yield from (self.encoder, self.decoder)
        for level in self.levels:
            yield from level.prior.graphs.values() if level.prior else ()

    def plans(self) -> Iterator[str]:
        """Returns the file names of all plans."""
        return (engine.file for engine in self.engines())


def check_precision(precision: object) -> str:
    """Returns ``precision`` if it is one of ``PRECISIONS``. Raises InputError otherwise."""
    if not isinstance(precision, str) or precision not in PRECISIONS:
        raise InputError(f"precision is {short_repr(precision)}, expected one of {', '.join(PRECISIONS)}")
    return precision


def architecture_of(capability: tuple[int, int]) -> str:
    """Returns the name of the architecture with this compute capability: "sm90" for (9, 0)."""
    major, minor = capability
    return f"sm{major}{minor}"


def folder_name(flavour: str, library: str, architecture: str, precision: str) -> str:
    """Returns the name of a set's folder."""
    return f"{architecture}_{flavour}-{library}_{precision}"


def graph_precision(precision: str) -> str:
    """Returns the precision of the bundle's graphs that engines of this precision are built from."""
    return "float32" if precision in NARROW else precision


def view_tensor(binding: Binding, buffer: StateBuffer) -> Tensor:
    """Returns the type and the shape of a binding's view at the first row and column, with the binding's name."""
    return Tensor(binding.name, buffer.dtype, view_shape(view_index(binding, buffer, 0, 0), buffer.shape))


def engine_binding(binding: Binding, buffer: StateBuffer) -> Binding:
    """Returns the engine's form of a binding: the view "entries" becomes "all", because the shapes of an engine must
    not change from row to row.
    """
    fixed = replace(binding, view="all") if binding.view == "entries" else binding
    view = view_tensor(fixed, buffer)
    return replace(fixed, dtype=view.dtype, shape=view.shape)


def engine_file(name: str, graph: GraphFile, buffers: dict[str, StateBuffer]) -> GraphFile:
    """Returns the description of the engine, in the file ``name``, that has the bindings of a graph."""
    inputs, outputs = (
        tuple(engine_binding(binding, buffers[binding.memory]) for binding in bindings)
        for bindings in (graph.inputs, graph.outputs)
    )
    return GraphFile(name, inputs, outputs)


def source_digests(manifest: Manifest, precision: str) -> dict[str, str]:
    """Returns the SHA-256 of each file of the bundle that engines of this precision are built from."""
    names = [manifest.weights, manifest.encoder, manifest.decoder]
    for prior in manifest.priors(graph_precision(precision)).values():
        names += [graph.file for graph in prior.graphs.values()]
    return {name: manifest.files[name].sha256 for name in sorted(names)}


def to_json(engines: EngineSet) -> dict[str, Any]:
    """Returns the manifest of a set as plain JSON types."""
    fields = asdict(engines, dict_factory=present_fields)
    del fields["folder"]
    return {"format": FORMAT, "version": VERSION, **fields}
