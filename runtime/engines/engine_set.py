"""A set of engines: one GPU architecture's plans of a bundle at one precision, and how a host drives them.

Its ``manifest.json`` says, in the words of the bundle's, all that a host needs: it need not read the bundle.
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
VERSION = 1  # also of how graphs are rewritten: engines of another version are built again
PRECISIONS = ("float32", "float16", "bfloat16", "int8")
NARROW = ("float16", "bfloat16")  # of products; memories that only move into products hold them too
FLAVOURS = ("tensorrt", "tensorrt_rtx")  # for data centres and for RTX, by the names of their modules


@dataclass(frozen=True)
class Tensor:
    """An input or output of an engine; ``shape`` may name the dynamic size "batch"."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True, kw_only=True)
class EngineBinding(Binding):
    """An input or output of a prior's engine: the view of a memory that it is, with its type and shape."""

    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class EngineFile(GraphFile):
    """A plan with its bindings."""

    inputs: tuple[EngineBinding, ...]
    outputs: tuple[EngineBinding, ...]


@dataclass(frozen=True)
class CodecEngine:
    """The plan of the encoder or decoder. Inputs and outputs: ``images``, levels by name, the decoder's ``decoded``."""

    file: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


@dataclass(frozen=True)
class EnginePrior:
    """As ``Prior``, at one precision: ``graphs`` by role, memories with the types that they have at it."""

    condition_level: str | None
    classes: bool
    columns_per_step: int
    memories: tuple[StateBuffer, ...]
    graphs: dict[str, EngineFile]


@dataclass(frozen=True)
class EngineLevel:
    """As ``Level``."""

    name: str
    height: int
    width: int
    codebook_size: int
    prior: EnginePrior | None


@dataclass(frozen=True)
class Profile:
    """The batch sizes that one optimisation profile of every engine takes."""

    minimum: int
    optimum: int
    maximum: int


@dataclass(frozen=True)
class EngineSet:
    """Everything about one set. ``folder`` is where it lies, and is not written."""

    folder: Path
    flavour: str
    library: str  # the library's version
    architecture: str  # "sm90" for compute capability 9.0
    precision: str
    profiles: tuple[Profile, ...]
    sources: dict[str, str]  # SHA-256 of the bundle's files that the engines were built from
    image: tuple[int, int, int]
    levels: tuple[EngineLevel, ...]
    encoder: CodecEngine
    decoder: CodecEngine
    files: dict[str, FileRecord]

    def engines(self) -> Iterator[CodecEngine | EngineFile]:
        """All of them."""
        yield from (self.encoder, self.decoder)
        for level in self.levels:
            yield from level.prior.graphs.values() if level.prior else ()

    def plans(self) -> Iterator[str]:
        """The names of all plans."""
        return (engine.file for engine in self.engines())


def check_precision(precision: object) -> str:
    """Returns ``precision`` if it is one of ``PRECISIONS``. Raises InputError."""
    if not isinstance(precision, str) or precision not in PRECISIONS:
        raise InputError(f"precision is {short_repr(precision)}, expected one of {', '.join(PRECISIONS)}")
    return precision


def architecture_of(capability: tuple[int, int]) -> str:
    """What a GPU of that compute capability is called: "sm90" for (9, 0)."""
    major, minor = capability
    return f"sm{major}{minor}"


def folder_name(flavour: str, library: str, architecture: str, precision: str) -> str:
    """What a set's folder is called."""
    return f"{architecture}_{flavour}-{library}_{precision}"


def graph_precision(precision: str) -> str:
    """The precision of the bundle's graphs that engines of a precision are built from."""
    return "float32" if precision in NARROW else precision


def bound(binding: Binding, memory: StateBuffer) -> EngineBinding:
    """The binding of an engine. Engines see the whole history: their graphs' shapes do not change from row to row."""
    values = {**asdict(binding), "view": "all" if binding.view == "entries" else binding.view}
    index = view_index(Binding(**values), memory, 0, 0)
    kept = [part.stop - part.start for part in index if isinstance(part, slice)]
    return EngineBinding(**values, dtype=memory.dtype, shape=(*kept, *memory.shape[len(index) :]))


def sources(manifest: Manifest, precision: str) -> dict[str, str]:
    """SHA-256 of the bundle's files that engines of a precision are built from."""
    names = [manifest.weights, manifest.encoder, manifest.decoder]
    for level in manifest.levels:
        if level.prior is not None:
            graphs = level.prior.at(graph_precision(precision)).graphs
            names += [graph.file for graph in graphs.values()]
    return {name: manifest.files[name].sha256 for name in sorted(names)}


def to_json(engines: EngineSet) -> dict[str, Any]:
    """The set's manifest as plain JSON types."""
    fields = asdict(engines)
    del fields["folder"]
    return {"format": FORMAT, "version": VERSION, **fields}


def codec_of(manifest: Manifest) -> tuple[CodecEngine, CodecEngine]:
    """Encoder and decoder of a bundle, described as those of engines are."""
    images = Tensor("images", "uint8", (BATCH, *manifest.image))
    decoded = Tensor("decoded", "float32", images.shape)
    codes = tuple(Tensor(v.name, "int64", (BATCH, v.height, v.width)) for v in manifest.levels)
    return CodecEngine(manifest.encoder, (images,), codes), CodecEngine(manifest.decoder, codes, (images, decoded))
