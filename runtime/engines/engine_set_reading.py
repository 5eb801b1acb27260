"""Reading a set's manifest: JSON that may be anything, into the dataclasses of ``latentloop.engines.engine_set``."""

from __future__ import annotations

from pathlib import Path

from latentloop.engines.engine_set import FLAVOURS, FORMAT, NARROW, PRECISIONS, VERSION, CodecEngine, EngineBinding, EngineFile, EngineLevel, EnginePrior, EngineSet, Profile, Tensor
from latentloop.io.file_names import MANIFEST
from latentloop.errors import BundleError
from latentloop.bundles.json_fields import Fields
from latentloop.bundles.manifest import DTYPES
from latentloop.bundles.manifest_reading import (
    read_binding,
    read_condition_level,
    read_files,
    read_image,
    read_json,
    read_memory,
)

ENGINE_DTYPES = (*DTYPES, *NARROW)


def read_engines(folder: Path) -> EngineSet:
    """The set that lies in ``folder``. Raises BundleError that names the field at fault; plans are not looked at."""
    path = folder / MANIFEST
    return from_json(read_json(path, f"{path} is missing"), folder)


def from_json(value: object, folder: Path) -> EngineSet:
    """As ``read_engines``, of what the file holds."""
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
    prior = fields.optional("prior")
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
        memories=tuple(read_memory(memory, ENGINE_DTYPES) for memory in fields.objects("memories")),
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
