"""Reading the manifest of a set: from untrusted JSON to the dataclasses of ``latentloop.engines.engine_set``."""

from __future__ import annotations

from pathlib import Path

from latentloop.bundles.json_fields import Fields
from latentloop.bundles.manifest import DTYPES
from latentloop.bundles.manifest_reading import (
    read_binding,
    read_buffer,
    read_condition_level,
    read_files,
    read_image,
    read_json,
)
from latentloop.engines.engine_set import (
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
from latentloop.io.file_names import MANIFEST

ENGINE_DTYPES = (*DTYPES, *NARROW)


def read_engines(folder: Path) -> EngineSet:
    """Returns the set in ``folder``; its plans are not read. Raises BundleError that names the wrong field."""
    path = folder / MANIFEST
    return from_json(read_json(path, f"{path} is missing"), folder)


def from_json(value: object, folder: Path) -> EngineSet:
    """Returns the set that a JSON value describes, with the same errors as ``read_engines``."""
    source = str(folder / MANIFEST)
    root = Fields.of(source, value)
    root.text("format", (FORMAT,))
    version = root.integer("version")
    if version != VERSION:
        raise BundleError(f"{source}.version is {version}, this LatentLoop reads {VERSION}")
    image = read_image(root)
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
        image=image,
        levels=tuple(_level(fields) for fields in root.objects("levels")),
        encoder=_codec(root.section("encoder")),
        decoder=_codec(root.section("decoder")),
        files=read_files(root),
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
    prior = fields.optional_section("prior")
    return EngineLevel(
        name=fields.text("name"),
        height=fields.integer("height", 1),
        width=fields.integer("width", 1),
        codebook_size=fields.integer("codebook_size", 1),
        prior=_prior(prior) if prior else None,
    )


def _prior(fields: Fields) -> EnginePrior:
    return EnginePrior(
        condition_level=read_condition_level(fields),
        classes=fields.boolean("classes"),
        columns_per_step=fields.integer("columns_per_step", 1, 2),
        memories=tuple(read_buffer(buffer, ENGINE_DTYPES) for buffer in fields.objects("memories")),
        graphs={role: _engine(engine) for role, engine in fields.section("graphs").items()},
    )


def _engine(fields: Fields) -> EngineFile:
    def bindings(name: str) -> tuple[EngineBinding, ...]:
        return tuple(
            EngineBinding(
                **vars(read_binding(binding)), dtype=binding.text("dtype", ENGINE_DTYPES), shape=binding.shape("shape")
            )
            for binding in fields.objects(name)
        )

    return EngineFile(fields.text("file"), bindings("inputs"), bindings("outputs"))
