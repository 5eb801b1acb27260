"""The manifest: what a bundle holds, and how a host drives its graphs.

A host allocates each prior's *memories* once and runs its graphs over views of them; a *binding* says which view a
graph's input or output is. Nothing else about a model is known outside its graphs.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from latentloop.errors import BundleError
from latentloop.fields import Fields

FORMAT = "latentloop-bundle"
VERSION = 1
FILE_NAME = "manifest.json"
DTYPES = ("float32", "int64", "uint8")

# Where in a memory a binding looks, for row i and column j. Rings keep the last rows: row i is at i modulo the ring.
VIEWS = (
    "all",  # the whole memory
    "row",  # entry i of the first axis
    "entries",  # entries 0 .. i of the first axis
    "above",  # a ring's row i - back, all its columns
    "window",  # a ring's row i, the `padding` columns before column j
    "column",  # column j (of a ring: of its row i)
)
GRAPHS = ("condition", "row", "step", "step_filtered")


@dataclass(frozen=True)
class Memory:
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
    back: int = 0  # for the view "above"


@dataclass(frozen=True)
class GraphFile:
    """An ONNX file with its bindings."""

    file: str
    inputs: tuple[Binding, ...]
    outputs: tuple[Binding, ...]


@dataclass(frozen=True)
class Prior:
    """How one level's codes are drawn."""

    condition_level: str | None
    classes: bool
    columns_per_step: int
    memories: tuple[Memory, ...]
    graphs: dict[str, GraphFile]


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
    classes: tuple[str, ...]
    precision: str
    exporter: str
    opset: int
    files: dict[str, FileRecord]
    licence: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)

    def level(self, name: str) -> Level:
        """The level of that name; raises BundleError that lists the names there are."""
        for level in self.levels:
            if level.name == name:
                return level
        raise BundleError(f"no level {name!r}; the bundle has: {', '.join(level.name for level in self.levels)}")


def to_json(manifest: Manifest) -> dict[str, Any]:
    """The manifest as plain JSON types."""
    return {"format": FORMAT, "version": VERSION, **asdict(manifest)}


def from_json(value: object, source: str) -> Manifest:
    """Checks and builds a manifest; ``source`` names the file in errors. Raises BundleError naming the field."""
    root = Fields.of(source, value)
    root.text("format", (FORMAT,))
    version = root.integer("version")
    if version != VERSION:
        raise BundleError(f"{source}.version is {version}, this LatentLoop reads {VERSION}: use a matching release")
    image = root.shape("image")
    if len(image) != 3 or not all(isinstance(size, int) for size in image):
        raise BundleError(f"{source}.image is {list(image)}, expected [height, width, channels]")
    provenance = root.optional("provenance")
    manifest = Manifest(
        image=(int(image[0]), int(image[1]), int(image[2])),
        levels=tuple(_level(fields) for fields in root.objects("levels")),
        encoder=root.text("encoder"),
        decoder=root.text("decoder"),
        golden=root.text("golden"),
        classes=root.texts("classes"),
        precision=root.text("precision", ("float32",)),
        exporter=root.text("exporter"),
        opset=root.integer("opset", 1),
        files={
            name: FileRecord(fields.integer("size"), fields.text("sha256"))
            for name, fields in root.section("files").items()
        },
        licence=root.text("licence", default=""),
        provenance=provenance.values if provenance else {},
    )
    _check_grids(manifest, source)
    _check_files(manifest, source)
    return manifest


def _level(fields: Fields) -> Level:
    prior = fields.optional("prior")
    return Level(
        name=fields.text("name"),
        height=fields.integer("height", 1),
        width=fields.integer("width", 1),
        codebook_size=fields.integer("codebook_size", 1),
        prior=_prior(prior) if prior else None,
    )


def _prior(fields: Fields) -> Prior:
    graphs = {name: _graph(graph) for name, graph in fields.section("graphs").items()}
    for name in ("row", "step", "step_filtered"):
        if name not in graphs:
            raise BundleError(f"{fields.where}.graphs.{name} is missing")
    for name in graphs:
        if name not in GRAPHS:
            raise BundleError(f"{fields.where}.graphs.{name} is unknown, expected one of {', '.join(GRAPHS)}")
    memories = tuple(_memory(memory) for memory in fields.objects("memories"))
    known = {memory.name: memory for memory in memories}
    for name, graph in graphs.items():
        for binding in (*graph.inputs, *graph.outputs):
            where = f"{fields.where}.graphs.{name}: binding {binding.name}"
            if binding.memory not in known:
                raise BundleError(f"{where} names the memory {binding.memory!r}, which is not there")
            if binding.view in ("above", "window") and not known[binding.memory].ring:
                raise BundleError(f"{where} has the view {binding.view}, but {binding.memory!r} is no ring")
    columns = fields.integer("columns_per_step", 1)
    if columns != 1:
        raise BundleError(f"{fields.where}.columns_per_step is {columns}, this LatentLoop runs 1")
    condition_level = fields.values.get("condition_level")
    if condition_level is not None:
        condition_level = fields.text("condition_level")
    return Prior(condition_level, fields.boolean("classes"), columns, memories, graphs)


def _memory(fields: Fields) -> Memory:
    memory = Memory(
        name=fields.text("name"),
        dtype=fields.text("dtype", DTYPES),
        shape=fields.shape("shape"),
        fill=fields.integer("fill"),
        ring=fields.boolean("ring"),
        padding=fields.integer("padding"),
    )
    sizes = [size for size in memory.shape if isinstance(size, int)]
    if [size for size in memory.shape if size not in (*sizes, "batch")] or math.prod(sizes) > 2**40:
        raise BundleError(f"{fields.where}.shape is {list(memory.shape)}, expected sizes and at most 'batch'")
    return memory


def _graph(fields: Fields) -> GraphFile:
    def bindings(name: str) -> tuple[Binding, ...]:
        return tuple(
            Binding(f.text("name"), f.text("memory"), f.text("view", VIEWS), f.integer("back"))
            for f in fields.objects(name)
        )

    return GraphFile(fields.text("file"), bindings("inputs"), bindings("outputs"))


def _check_grids(manifest: Manifest, source: str) -> None:
    """The image is a power of two times the bottom grid, and every level's grid twice that of the one above it."""
    if not manifest.levels:
        raise BundleError(f"{source}.levels is empty")
    height, width = manifest.image[:2]
    bottom = manifest.levels[-1]
    scale = height // bottom.height
    if scale & (scale - 1) or scale < 2:
        raise BundleError(
            f"{source}.levels: {bottom.name} has {bottom.height} rows for images of {height} x {width}, expected the "
            "height divided by a power of two"
        )
    above = {level.name: upper.name for upper, level in zip(manifest.levels, manifest.levels[1:], strict=False)}
    for level in reversed(manifest.levels):
        if (level.height * scale, level.width * scale) != (height, width):
            raise BundleError(
                f"{source}.levels: {level.name} has the grid {level.height} x {level.width}, expected "
                f"{height / scale:g} x {width / scale:g} for images of {height} x {width}"
            )
        scale *= 2
        upper = above.get(level.name)
        if level.prior and level.prior.condition_level not in (None, upper):
            raise BundleError(
                f"{source}.levels: {level.name} is conditioned on {level.prior.condition_level!r}, expected {upper!r}"
            )


def _check_files(manifest: Manifest, source: str) -> None:
    named = [manifest.encoder, manifest.decoder, manifest.golden]
    for level in manifest.levels:
        named += [graph.file for graph in level.prior.graphs.values()] if level.prior else []
    missing = sorted(set(named) - set(manifest.files))
    if missing:
        raise BundleError(f"{source}.files does not list {', '.join(missing)}")
