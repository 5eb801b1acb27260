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
BATCH = "batch"  # the one dynamic size
LARGEST_IMAGE = 2**28  # values; a bundle that asks for more is a mistake or an attack
LARGEST_STATE = 2**28  # values that one prior's memories hold for one sample
MOST_AXES = 8

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
    upper = None
    for index, level in enumerate(manifest.levels):
        if level.prior is not None:
            _check_prior(level, level.prior, upper, f"{source}.levels[{index}].prior")
            if level.prior.classes and not manifest.classes:
                raise BundleError(f"{source}.classes is empty, but the prior of {level.name} is given a class")
        upper = level
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
        fill=fields.integer("fill", maximum=255 if fields.values["dtype"] == "uint8" else 2**31 - 1),
        ring=fields.boolean("ring"),
        padding=fields.integer("padding"),
    )
    names = [size for size in memory.shape if isinstance(size, str)]
    if names not in ([], [BATCH]) or len(memory.shape) > MOST_AXES:
        raise BundleError(
            f"{fields.where}.shape is {list(memory.shape)}, expected at most {MOST_AXES} sizes, one of them '{BATCH}'"
        )
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
    if math.prod(manifest.image) > LARGEST_IMAGE:
        raise BundleError(f"{source}.image is {list(manifest.image)}, expected at most {LARGEST_IMAGE} values")
    _check_distinct(f"{source}.levels", [level.name for level in manifest.levels])
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
                f"{source}.levels: the condition_level of {level.name} is {level.prior.condition_level!r}, expected "
                f"{repr(upper) if upper else 'none'}"
            )


def _check_files(manifest: Manifest, source: str) -> None:
    named = [manifest.encoder, manifest.decoder, manifest.golden]
    for level in manifest.levels:
        named += [graph.file for graph in level.prior.graphs.values()] if level.prior else []
    missing = sorted(set(named) - set(manifest.files))
    if missing:
        raise BundleError(f"{source}.files does not list {', '.join(missing)}")


def _check_prior(level: Level, prior: Prior, upper: Level | None, where: str) -> None:
    """The memories that the loop itself reads and writes are there, and every view lies inside its memory."""
    height, width = level.height, level.width
    expected: dict[str, tuple[str, tuple[int | str, ...]]] = {
        "row": ("int64", (height, 1)),
        "column": ("int64", (width, 1)),
        "uniform": ("float32", (width, BATCH)),
        "forced": ("int64", (width, BATCH)),
        "temperature": ("float32", (BATCH,)),
        "top_k": ("int64", (BATCH,)),
        "top_p": ("float32", (BATCH,)),
        "logits": ("float32", (width, BATCH, level.codebook_size)),
    }
    if prior.classes:
        expected["labels"] = ("int64", (BATCH,))
    if prior.condition_level is not None and upper is not None:
        expected["upper"] = ("int64", (BATCH, upper.height, upper.width))
    _check_distinct(f"{where}.memories", [memory.name for memory in prior.memories])
    known = {memory.name: memory for memory in prior.memories}
    if "codes" in known:
        expected["codes"] = ("int64", (*known["codes"].shape[:1], width + 2 * known["codes"].padding, BATCH))
    for name in ("codes", *expected):
        if name not in known:
            raise BundleError(f"{where}.memories: {name!r} is missing")
        found, (dtype, shape) = known[name], expected[name]
        if (found.dtype, found.shape) != (dtype, shape) or found.ring != (name == "codes"):
            raise BundleError(
                f"{where}.memories: {name!r} is {'a ring of ' * found.ring}{found.dtype} {list(found.shape)}, expected "
                f"{'a ring of ' * (name == 'codes')}{dtype} {list(shape)}"
            )
    for memory in prior.memories:
        columns = width + 2 * memory.padding
        if memory.ring and (memory.shape[1:2] != (columns,) or memory.shape[0] == BATCH):
            raise BundleError(
                f"{where}.memories: the ring {memory.name!r} is {list(memory.shape)}, expected [rows, {columns}, ...]"
            )
    state = sum(math.prod(size for size in memory.shape if isinstance(size, int)) for memory in prior.memories)
    if state > LARGEST_STATE:
        raise BundleError(f"{where}.memories hold {state} values for one sample, expected at most {LARGEST_STATE}")
    for role, graph in prior.graphs.items():
        for binding in (*graph.inputs, *graph.outputs):
            _check_binding(binding, known, height, width, f"{where}.graphs.{role}: binding {binding.name!r}")


def _check_binding(binding: Binding, memories: dict[str, Memory], height: int, width: int, where: str) -> None:
    if binding.memory not in memories:
        raise BundleError(f"{where} names the memory {binding.memory!r}, which is not there")
    memory = memories[binding.memory]
    if binding.view in ("above", "window") and not memory.ring:
        raise BundleError(f"{where} has the view {binding.view}, but {binding.memory!r} is no ring")
    entries = {"row": height, "entries": height, "column": width}.get(binding.view)
    of_ring = memory.ring and binding.view == "column"
    if entries is not None and not of_ring and memory.shape[:1] != (entries,):
        raise BundleError(
            f"{where} has the view {binding.view}, but {binding.memory!r} is {list(memory.shape)}, expected "
            f"[{entries}, ...]"
        )


def _check_distinct(where: str, names: list[str]) -> None:
    for index, name in enumerate(names):
        if name in names[:index]:
            raise BundleError(f"{where}: two are called {name!r}")
