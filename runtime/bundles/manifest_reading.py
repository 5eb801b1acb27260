"""Reading the manifest: JSON that may be anything, into the dataclasses of ``latentloop.bundles.manifest``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from latentloop.bundles.json_fields import Fields
from latentloop.bundles.manifest import (
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
    Prior,
    StateBuffer,
)
from latentloop.bundles.manifest_checks import check_manifest
from latentloop.errors import BundleError

MANIFEST_LIMIT = 16 * 2**20  # bytes; a manifest is some tens of kB
MOST_AXES = 8
MOST_COLUMNS = 2**20


def read_json(path: Path, absent: str) -> object:
    """What a manifest's file holds; ``absent`` says what it means that there is none. Raises BundleError."""
    if path.exists() and not path.is_file():  # a pipe would wait, a device would never end
        raise BundleError(f"{path}: not a file")
    try:
        if path.stat().st_size > MANIFEST_LIMIT:
            raise BundleError(f"{path}: larger than {MANIFEST_LIMIT} bytes, not a manifest")
        value: object = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BundleError(absent) from None
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(f"{path}: not readable as JSON: {error}") from error
    return value


def from_json(value: object, source: str) -> Manifest:
    """Checks and builds a manifest; ``source`` names the file in errors. Raises BundleError naming the field."""
    root = Fields.of(source, value)
    root.text("format", (FORMAT,))
    version = root.integer("version")
    if version != VERSION:
        raise BundleError(f"{source}.version is {version}, this LatentLoop reads {VERSION}: use a matching release")
    provenance = root.optional("provenance")
    manifest = Manifest(
        image=read_image(root),
        levels=tuple(_level(fields) for fields in root.objects("levels")),
        encoder=root.text("encoder"),
        decoder=root.text("decoder"),
        golden=root.text("golden"),
        weights=root.text("weights"),
        classes=root.texts("classes"),
        precisions=root.texts("precisions"),
        exporter=root.text("exporter"),
        opset=root.integer("opset", 1),
        files=read_files(root),
        classifier=None if root.values.get("classifier") is None else root.text("classifier"),
        licence=root.text("licence", default=""),
        provenance=provenance.values if provenance else {},
    )
    check_manifest(manifest, source)
    return manifest


def read_image(root: Fields) -> tuple[int, int, int]:
    """``image`` of a manifest: height, width, channels."""
    image = root.shape("image")
    if len(image) != 3 or not all(isinstance(size, int) for size in image):
        raise BundleError(f"{root.where}.image is {list(image)}, expected [height, width, channels]")
    return int(image[0]), int(image[1]), int(image[2])


def read_files(root: Fields) -> dict[str, FileRecord]:
    """``files`` of a manifest."""
    return {
        name: FileRecord(fields.integer("size"), fields.text("sha256"))
        for name, fields in root.section("files").items()
    }


def read_condition_level(fields: Fields) -> str | None:
    """``condition_level`` of a prior."""
    return None if fields.values.get("condition_level") is None else fields.text("condition_level")


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
    memories = tuple(read_memory(memory, DTYPES) for memory in fields.objects("memories"))
    columns = fields.integer("columns_per_step", 1, 2)
    return Prior(read_condition_level(fields), fields.boolean("classes"), columns, memories, graphs)


def read_memory(fields: Fields, dtypes: Sequence[str]) -> StateBuffer:
    """A memory of one of those types."""
    memory = StateBuffer(
        name=fields.text("name"),
        dtype=fields.text("dtype", tuple(dtypes)),
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
        return tuple(read_binding(binding) for binding in fields.objects(name))

    return GraphFile(fields.text("file"), bindings("inputs"), bindings("outputs"))


def read_binding(fields: Fields) -> Binding:
    """A binding, which the graph's own types and shapes are not part of."""
    return Binding(
        name=fields.text("name"),
        memory=fields.text("memory"),
        view=fields.text("view", VIEWS),
        back=fields.integer("back"),
        first=fields.integer("first", -MOST_COLUMNS, MOST_COLUMNS),
        count=fields.integer("count", 0, MOST_COLUMNS),
    )
