"""Reading the manifest: JSON that may be anything, into the dataclasses of ``latentloop.manifest``."""

from __future__ import annotations

from latentloop.errors import BundleError
from latentloop.fields import Fields
from latentloop.manifest import (
    BATCH,
    DTYPES,
    FORMAT,
    VERSION,
    VIEWS,
    Binding,
    FileRecord,
    GraphFile,
    Level,
    Manifest,
    Memory,
    Prior,
)
from latentloop.manifest_checks import check_manifest

MOST_AXES = 8
MOST_COLUMNS = 2**20


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
        weights=root.text("weights"),
        classes=root.texts("classes"),
        precisions=root.texts("precisions"),
        exporter=root.text("exporter"),
        opset=root.integer("opset", 1),
        files={
            name: FileRecord(fields.integer("size"), fields.text("sha256"))
            for name, fields in root.section("files").items()
        },
        licence=root.text("licence", default=""),
        provenance=provenance.values if provenance else {},
    )
    check_manifest(manifest, source)
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
    memories = tuple(_memory(memory) for memory in fields.objects("memories"))
    columns = fields.integer("columns_per_step", 1, 2)
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
            Binding(
                name=f.text("name"),
                memory=f.text("memory"),
                view=f.text("view", VIEWS),
                back=f.integer("back"),
                first=f.integer("first", -MOST_COLUMNS, MOST_COLUMNS),
                count=f.integer("count", 0, MOST_COLUMNS),
            )
            for f in fields.objects(name)
        )

    return GraphFile(fields.text("file"), bindings("inputs"), bindings("outputs"))
