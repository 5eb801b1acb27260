"""Whether a set of engines describes the bundle beside it: the same levels, memories and bindings.

Engines differ from the bundle's graphs in two ways only: memories of float32 may hold 16 bits, and inputs and outputs
may be left out.
"""

from __future__ import annotations

from dataclasses import replace

from latentloop.engines.engine_set import NARROW, EngineBinding, EngineFile, EngineLevel, EnginePrior, EngineSet, bound, codec_of, graph_precision
from latentloop.io.file_names import MANIFEST
from latentloop.errors import BundleError
from latentloop.bundles.manifest import Binding, GraphFile, Level, Manifest, StateBuffer, Prior


def check_contents(engines: EngineSet, manifest: Manifest) -> None:
    """Raises BundleError that names the field; ``manifest`` is the bundle's."""
    source = str(engines.folder / MANIFEST)
    if engines.image != manifest.image:
        raise BundleError(f"{source}.image is {list(engines.image)}, expected {list(manifest.image)}")
    for role, codec, described in zip(
        ("encoder", "decoder"), (engines.encoder, engines.decoder), codec_of(manifest), strict=True
    ):
        if (set(codec.inputs), set(codec.outputs)) != (set(described.inputs), set(described.outputs)):
            raise BundleError(f"{source}.{role}: inputs and outputs are not the bundle's")
    if len(engines.levels) != len(manifest.levels):
        raise BundleError(f"{source}.levels has {len(engines.levels)} levels, expected {len(manifest.levels)}")
    for index, (level, expected) in enumerate(zip(engines.levels, manifest.levels, strict=True)):
        where = f"{source}.levels[{index}]"
        if _facts(level) != _facts(expected):
            raise BundleError(f"{where} is {_facts(level)}, expected {_facts(expected)}")
        if level.prior is not None and expected.prior is not None:
            _check_prior(level.prior, expected.prior.at(graph_precision(engines.precision)), f"{where}.prior")
    for plan in engines.plans():
        if plan not in engines.files:
            raise BundleError(f"{source}.files does not list {plan}")


def _check_prior(prior: EnginePrior, expected: Prior, where: str) -> None:
    expected_memories = {memory.name: memory for memory in expected.memories}
    for memory in prior.memories:
        known = expected_memories.get(memory.name)
        if known is None or memory not in _possible(known):
            raise BundleError(f"{where}.memories: {memory} is not the bundle's {known}")
    if prior.graphs.keys() != expected.graphs.keys():
        raise BundleError(f"{where}.graphs has {sorted(prior.graphs)}, expected {sorted(expected.graphs)}")
    memories = {memory.name: memory for memory in prior.memories}
    for role, engine in prior.graphs.items():
        _check_engine(engine, expected.graphs[role], memories, f"{where}.graphs.{role}")


def _check_engine(engine: EngineFile, expected: GraphFile, memories: dict[str, StateBuffer], where: str) -> None:
    sides: tuple[tuple[str, tuple[EngineBinding, ...], tuple[Binding, ...]], ...] = (
        ("inputs", engine.inputs, expected.inputs),
        ("outputs", engine.outputs, expected.outputs),
    )
    for kind, bindings, of_bundle in sides:
        known = {binding.name: binding for binding in of_bundle}
        for binding in bindings:
            if binding.name not in known or binding.memory not in memories:
                raise BundleError(f"{where}.{kind}: {binding.name!r} of {binding.memory!r} is not the bundle's")
            right = bound(known[binding.name], memories[binding.memory])
            if binding != right:
                raise BundleError(f"{where}.{kind}: {binding}, expected {right}")


def _facts(level: Level | EngineLevel) -> tuple[object, ...]:
    prior = level.prior
    of_prior = None if prior is None else (prior.condition_level, prior.classes, prior.columns_per_step)
    return level.name, level.height, level.width, level.codebook_size, of_prior


def _possible(memory: StateBuffer) -> tuple[StateBuffer, ...]:
    """What it may be at some precision."""
    narrow = (replace(memory, dtype=dtype) for dtype in NARROW) if memory.dtype == "float32" else ()
    return (memory, *narrow)
