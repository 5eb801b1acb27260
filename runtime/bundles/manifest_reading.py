"""Reading the manifest: from untrusted JSON to the dataclasses of ``latentloop.bundles.manifest``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from latentloop.bundles.json_fields import Fields
from latentloop.bundles.manifest import (
    BATCH,
    DTYPES,
    FORMAT,
    OLDEST,
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

MANIFEST_LIMIT = 16 * 2**20  # bytes; manifests have some tens of kB
MAX_AXES = 8
MAX_COLUMNS = 2**20


def read_json(path: Path, missing_message: str) -> object:
    """Returns the JSON value in a file. Raises BundleError, for a missing file with the text ``missing_message``."""
    if path.exists() and not path.is_file():  # reading a pipe would block, reading a device might never end
        raise BundleError(f"{path}: not a file")
    try:
        if path.stat().st_size > MANIFEST_LIMIT:
            raise BundleError(f"{path}: larger than {MANIFEST_LIMIT} bytes, not a manifest")
        value: object = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BundleError(missing_message) from None
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(f"{path}: not readable as JSON: {error}") from error
    return value


def from_json(value: object, source: str) -> Manifest:
    """Returns the checked manifest. Raises BundleError that names the file (``source``) and the field."""
    root = Fields.of(source, value)
    root.text("format", (FORMAT,))
    version = root.integer("version")
    if not OLDEST <= version <= VERSION:
        raise BundleError(
            f"{source}.version is {version}, this LatentLoop reads {OLDEST} to {VERSION}: use a matching release, or "
            "export the bundle again"
        )
    provenance = root.optional_section("provenance")
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
    """Returns the field ``image`` of a manifest: height, width, channels."""
    image = root.shape("image")
    if len(image) != 3 or not all(isinstance(size, int) for size in image):
        raise BundleError(f"{root.where}.image is {list(image)}, expected [height, width, channels]")
    return int(image[0]), int(image[1]), int(image[2])


def read_files(root: Fields) -> dict[str, FileRecord]:
    """Returns the field ``files`` of a manifest: the size and SHA-256 of each file, by name."""
    return {
        name: FileRecord(fields.integer("size"), fields.text("sha256"))
        for name, fields in root.section("files").items()
    }


def read_condition_level(fields: Fields) -> str | None:
    """Returns the field ``condition_level`` of a prior, or None if it is missing or null."""
    return None if fields.values.get("condition_level") is None else fields.text("condition_level")


def _level(fields: Fields) -> Level:
    prior = fields.optional_section("prior")
    return Level(
        name=fields.text("name"),
        height=fields.integer("height", 1),
        width=fields.integer("width", 1),
        codebook_size=fields.integer("codebook_size", 1),
        prior=_prior(prior) if prior else None,
    )


def _prior(fields: Fields) -> Prior:
    graphs = {name: _graph(graph) for name, graph in fields.section("graphs").items()}
    buffers = tuple(read_buffer(buffer, DTYPES) for buffer in fields.objects("memories"))
    columns = fields.integer("columns_per_step", 1, 2)
    return Prior(read_condition_level(fields), fields.boolean("classes"), columns, buffers, graphs)


def read_buffer(fields: Fields, dtypes: Sequence[str]) -> StateBuffer:
    """Returns a state buffer whose type is one of ``dtypes``."""
    buffer = StateBuffer(
        name=fields.text("name"),
        dtype=fields.text("dtype", tuple(dtypes)),
        shape=fields.shape("shape"),
        fill=fields.integer("fill", maximum=255 if fields.values["dtype"] == "uint8" else 2**31 - 1),
        ring=fields.boolean("ring"),
        padding=fields.integer("padding"),
    )
    dynamic_sizes = [size for size in buffer.shape if isinstance(size, str)]
    if dynamic_sizes not in ([], [BATCH]) or len(buffer.shape) > MAX_AXES:
        raise BundleError(
            f"{fields.where}.shape is {list(buffer.shape)}, expected at most {MAX_AXES} sizes, of which at most one "
            f"is '{BATCH}' and the others are integers"
        )
    return buffer


def _graph(fields: Fields) -> GraphFile:
    def bindings(name: str) -> tuple[Binding, ...]:
        return tuple(read_binding(binding) for binding in fields.objects(name))

    return GraphFile(fields.text("file"), bindings("inputs"), bindings("outputs"))


def read_binding(fields: Fields) -> Binding:
    """Returns a binding, without the type and shape that only bindings of engines have."""
    return Binding(
        name=fields.text("name"),
        memory=fields.text("memory"),
        view=fields.text("view", VIEWS),
        back=fields.integer("back"),
        first=fields.integer("first", -MAX_COLUMNS, MAX_COLUMNS),
        count=fields.integer("count", 0, MAX_COLUMNS),
    )
