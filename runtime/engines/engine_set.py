"""A set of engines: TensorRT plans of a bundle's graphs for one GPU architecture, TensorRT version and precision.

Its ``manifest.json`` describes levels, state buffers and bindings like the manifest of the bundle.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from latentloop.bundles.manifest import BATCH, Binding, FileRecord, GraphFile, Manifest, StateBuffer
from latentloop.bundles.views import view_index
from latentloop.errors import InputError, short_repr

FORMAT = "latentloop-engines"
VERSION = 1  # of the format and of the rewriting of graphs: engines of another version are built again
PRECISIONS = ("float32", "float16", "bfloat16", "int8")
NARROW = ("float16", "bfloat16")  # of matrix products, and of the state buffers that only matrix products read
FLAVOURS = ("tensorrt", "tensorrt_rtx")  # Python modules of TensorRT and of TensorRT for RTX


@dataclass(frozen=True)
class Tensor:
    """The description of an input or output of an engine; ``shape`` may contain the dynamic size "batch"."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True, kw_only=True)
class EngineBinding(Binding):
    """A ``Binding`` of a prior's engine, with the type and the shape of its view."""

    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class EngineFile(GraphFile):
    """The plan of one of a prior's graphs, with its bindings."""

    inputs: tuple[EngineBinding, ...]
    outputs: tuple[EngineBinding, ...]


@dataclass(frozen=True)
class CodecEngine:
    """The plan of the encoder or the decoder. Inputs and outputs are ``images``, one tensor per level with the level's
    name, and ``decoded`` of the decoder.
    """

    file: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


@dataclass(frozen=True)
class EnginePrior:
    """Like ``Prior``, for one precision: ``graphs`` by role, and state buffers with their types at that precision."""

    condition_level: str | None
    classes: bool
    columns_per_step: int
    memories: tuple[StateBuffer, ...]
    graphs: dict[str, EngineFile]


@dataclass(frozen=True)
class EngineLevel:
    """Like ``Level``."""

    name: str
    height: int
    width: int
    codebook_size: int
    prior: EnginePrior | None


@dataclass(frozen=True)
class Profile:
    """The batch sizes of one optimisation profile; all engines of a set have the same profiles."""

    minimum: int
    optimum: int
    maximum: int


@dataclass(frozen=True)
class EngineSet:
    """The manifest of a set, except ``folder``, which is the directory of the set."""

    folder: Path
    flavour: str
    library: str  # version of the TensorRT library
    architecture: str  # for example "sm90", for compute capability 9.0
    precision: str
    profiles: tuple[Profile, ...]
    sources: dict[str, str]  # SHA-256 of the bundle's files that the engines were built from
    image: tuple[int, int, int]
    levels: tuple[EngineLevel, ...]
    encoder: CodecEngine
    decoder: CodecEngine
    files: dict[str, FileRecord]

    def engines(self) -> Iterator[CodecEngine | EngineFile]:
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


def engine_binding(binding: Binding, buffer: StateBuffer) -> EngineBinding:
    """Returns the engine's form of a bundle's binding: the view "entries" becomes "all", because the shapes of an
    engine must not change from row to row.
    """
    values = {**asdict(binding), "view": "all" if binding.view == "entries" else binding.view}
    index = view_index(Binding(**values), buffer, 0, 0)
    sizes = [part.stop - part.start for part in index if isinstance(part, slice)]
    return EngineBinding(**values, dtype=buffer.dtype, shape=(*sizes, *buffer.shape[len(index) :]))


def source_digests(manifest: Manifest, precision: str) -> dict[str, str]:
    """Returns the SHA-256 of each file of the bundle that engines of this precision are built from."""
    names = [manifest.weights, manifest.encoder, manifest.decoder]
    for level in manifest.levels:
        if level.prior is not None:
            graphs = level.prior.at(graph_precision(precision)).graphs
            names += [graph.file for graph in graphs.values()]
    return {name: manifest.files[name].sha256 for name in sorted(names)}


def to_json(engines: EngineSet) -> dict[str, Any]:
    """Returns the manifest of a set as plain JSON types."""
    fields = asdict(engines)
    del fields["folder"]
    return {"format": FORMAT, "version": VERSION, **fields}


def codec_of(manifest: Manifest) -> tuple[CodecEngine, CodecEngine]:
    """Returns descriptions of a bundle's encoder and decoder in the form of those of engines."""
    images = Tensor("images", "uint8", (BATCH, *manifest.image))
    decoded = Tensor("decoded", "float32", images.shape)
    codes = tuple(Tensor(v.name, "int64", (BATCH, v.height, v.width)) for v in manifest.levels)
    return CodecEngine(manifest.encoder, (images,), codes), CodecEngine(manifest.decoder, codes, (images, decoded))
