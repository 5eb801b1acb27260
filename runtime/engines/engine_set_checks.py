"""Checks that a set of engines fits its bundle: the same levels, state buffers and bindings.

Engines may differ from the bundle's graphs in two respects only, both not where the loop itself writes or reads:
float32 state buffers may have a 16-bit type, and inputs and outputs may be left out.
"""

from __future__ import annotations

from dataclasses import replace

from latentloop.bundles.codec import codec_of
from latentloop.bundles.loop_buffers import LOOP_NAMES
from latentloop.bundles.manifest import DTYPES, GraphFile, Level, Manifest, Prior, StateBuffer
from latentloop.bundles.manifest_checks import check_prior
from latentloop.draws.settings import SETTINGS
from latentloop.engines.engine_set import NARROW, EngineSet, engine_binding, graph_precision
from latentloop.errors import BundleError
from latentloop.io.file_names import MANIFEST


def check_contents(engines: EngineSet, manifest: Manifest) -> None:
    """Raises BundleError that names the wrong field. ``manifest`` is the bundle's."""
    source = str(engines.folder / MANIFEST)
    if engines.image != manifest.image:
        raise BundleError(f"{source}.image is {list(engines.image)}, expected {list(manifest.image)}")
    encoder, decoder = codec_of(manifest)
    for role, codec, graph in (("encoder", engines.encoder, encoder), ("decoder", engines.decoder, decoder)):
        if (set(codec.inputs), set(codec.outputs)) != (set(graph.inputs), set(graph.outputs)):
            raise BundleError(f"{source}.{role}: inputs and outputs are not the bundle's")
    if len(engines.levels) != len(manifest.levels):
        raise BundleError(f"{source}.levels has {len(engines.levels)} levels, expected {len(manifest.levels)}")
    upper = None
    for index, (level, expected) in enumerate(zip(engines.levels, manifest.levels, strict=True)):
        where = f"{source}.levels[{index}]"
        if _summary(level) != _summary(expected):
            raise BundleError(f"{where} is {_summary(level)}, expected {_summary(expected)}")
        if level.prior is not None and expected.prior is not None:
            names = [buffer.name for buffer in expected.prior.memories]
            absent = [name for name in SETTINGS if name not in names]
            check_prior(level, upper, f"{where}.prior", (*DTYPES, *NARROW), absent)
            _check_prior(level.prior, expected.prior.at(graph_precision(engines.precision)), f"{where}.prior")
        upper = level
    for plan in engines.plans():
        if plan not in engines.files:
            raise BundleError(f"{source}.files does not list {plan}")


def _check_prior(prior: Prior, expected: Prior, where: str) -> None:
    of_bundle = {buffer.name: buffer for buffer in expected.memories}
    for buffer in prior.memories:
        original = of_bundle.get(buffer.name)
        if original is None or buffer not in _variants(original):
            raise BundleError(f"{where}.memories: {buffer} is not the bundle's {original}")
    if prior.graphs.keys() != expected.graphs.keys():
        raise BundleError(f"{where}.graphs has {sorted(prior.graphs)}, expected {sorted(expected.graphs)}")
    buffers = {buffer.name: buffer for buffer in prior.memories}
    for role, engine in prior.graphs.items():
        _check_engine(engine, expected.graphs[role], buffers, f"{where}.graphs.{role}")


def _check_engine(engine: GraphFile, expected: GraphFile, buffers: dict[str, StateBuffer], where: str) -> None:
    sides = (("inputs", engine.inputs, expected.inputs), ("outputs", engine.outputs, expected.outputs))
    for kind, bindings, expected_bindings in sides:
        of_bundle = {binding.name: binding for binding in expected_bindings}
        for binding in bindings:
            original = of_bundle.get(binding.name)
            if original is None or original.memory != binding.memory:
                raise BundleError(f"{where}.{kind}: {binding.name!r} of {binding.memory!r} is not the bundle's")
            correct = engine_binding(original, buffers[binding.memory])
            if binding != correct:
                raise BundleError(f"{where}.{kind}: {binding}, expected {correct}")
        bound = [binding.name for binding in bindings]
        for name, binding in of_bundle.items():
            if binding.memory in LOOP_NAMES and name not in bound:
                raise BundleError(f"{where}.{kind}: {name!r} is missing, which the loop writes or reads")


def _summary(level: Level) -> tuple[object, ...]:
    """Returns what a level of engines must have in common with the bundle's, for comparison and for messages."""
    prior = level.prior
    of_prior = None if prior is None else (prior.condition_level, prior.classes, prior.columns_per_step)
    return level.name, level.height, level.width, level.codebook_size, of_prior


def _variants(buffer: StateBuffer) -> tuple[StateBuffer, ...]:
    """Returns the buffer with each type that it may have in a set of engines."""
    dtypes = (buffer.dtype, *NARROW) if buffer.dtype == "float32" else (buffer.dtype,)
    return tuple(replace(buffer, dtype=dtype) for dtype in dtypes)
