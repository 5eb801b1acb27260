"""Reading a set's manifest: JSON that may be anything, into the dataclasses of ``latentloop.engine_manifest``."""

from __future__ import annotations

import json
from pathlib import Path

from latentloop.engine_manifest import (
    FILE_NAME,
    FLAVOURS,
    FORMAT,
    NARROW,
    PRECISIONS,
    VERSION,
    CodecEngine,
    EngineBinding,
    EngineFile,
    EngineLevel,
    EnginePrior,
    EngineSet,
    Profile,
    Tensor,
)
from latentloop.errors import BundleError
from latentloop.fields import Fields
from latentloop.manifest import DTYPES, VIEWS, FileRecord, Memory

ENGINE_DTYPES = (*DTYPES, *NARROW)
MANIFEST_LIMIT = 16 * 2**20  # bytes


def read_engines(folder: Path) -> EngineSet:
    """The set that lies in ``folder``. Raises BundleError that names the field at fault; plans are not looked at."""
    path = folder / FILE_NAME
    try:
        if path.exists() and not path.is_file():  # a pipe would wait
            raise BundleError(f"{path}: not a file")
        if path.stat().st_size > MANIFEST_LIMIT:
            raise BundleError(f"{path}: larger than {MANIFEST_LIMIT} bytes, not a manifest")
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BundleError(f"{path} is missing") from None
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(f"{path}: not readable as JSON: {error}") from error
    return from_json(value, folder)


def from_json(value: object, folder: Path) -> EngineSet:
    """As ``read_engines``, of what the file holds."""
    source = str(folder / FILE_NAME)
    root = Fields.of(source, value)
    root.text("format", (FORMAT,))
    version = root.integer("version")
    if version != VERSION:
        raise BundleError(f"{source}.version is {version}, this LatentLoop reads {VERSION}")
    image = root.shape("image")
    if len(image) != 3 or not all(isinstance(size, int) for size in image):
        raise BundleError(f"{source}.image is {list(image)}, expected [height, width, channels]")
    profiles = tuple(_profile(fields) for fields in root.objects("profiles"))
    if not profiles:
        raise BundleError(f"{source}.profiles is empty")
    hashes = root.section("sources")
    return EngineSet(
        folder=folder,
        flavour=root.text("flavour", FLAVOURS),
        library=root.text("library"),
        architecture=root.text("architecture"),
        precision=root.text("precision", PRECISIONS),
        profiles=profiles,
        sources={name: hashes.text(name) for name in hashes.values},
        image=(int(image[0]), int(image[1]), int(image[2])),
        levels=tuple(_level(fields) for fields in root.objects("levels")),
        encoder=_codec(root.section("encoder")),
        decoder=_codec(root.section("decoder")),
        files={
            name: FileRecord(fields.integer("size"), fields.text("sha256"))
            for name, fields in root.section("files").items()
        },
    )


def _profile(fields: Fields) -> Profile:
    minimum = fields.integer("minimum", 1)
    optimum = fields.integer("optimum", minimum)
    return Profile(minimum, optimum, fields.integer("maximum", optimum))


def _codec(fields: Fields) -> CodecEngine:
    def tensors(name: str) -> tuple[Tensor, ...]:
        return tuple(Tensor(f.text("name"), f.text("dtype", DTYPES), f.shape("shape")) for f in fields.objects(name))

    return CodecEngine(fields.text("file"), tensors("inputs"), tensors("outputs"))


def _level(fields: Fields) -> EngineLevel:
    prior = fields.optional("prior")
    return EngineLevel(
        name=fields.text("name"),
        height=fields.integer("height", 1),
        width=fields.integer("width", 1),
        codebook_size=fields.integer("codebook_size", 1),
        prior=_prior(prior) if prior else None,
    )


def _prior(fields: Fields) -> EnginePrior:
    condition_level = fields.values.get("condition_level")
    return EnginePrior(
        condition_level=None if condition_level is None else fields.text("condition_level"),
        classes=fields.boolean("classes"),
        columns_per_step=fields.integer("columns_per_step", 1, 2),
        memories=tuple(_memory(memory) for memory in fields.objects("memories")),
        graphs={role: _engine(engine) for role, engine in fields.section("graphs").items()},
    )


def _memory(fields: Fields) -> Memory:
    return Memory(
        name=fields.text("name"),
        dtype=fields.text("dtype", ENGINE_DTYPES),
        shape=fields.shape("shape"),
        fill=fields.integer("fill"),
        ring=fields.boolean("ring"),
        padding=fields.integer("padding"),
    )


def _engine(fields: Fields) -> EngineFile:
    def bindings(name: str) -> tuple[EngineBinding, ...]:
        return tuple(
            EngineBinding(
                name=f.text("name"),
                memory=f.text("memory"),
                view=f.text("view", VIEWS),
                back=f.integer("back"),
                first=f.integer("first", -(2**20), 2**20),
                count=f.integer("count", 0, 2**20),
                dtype=f.text("dtype", ENGINE_DTYPES),
                shape=f.shape("shape"),
            )
            for f in fields.objects(name)
        )

    return EngineFile(fields.text("file"), bindings("inputs"), bindings("outputs"))
