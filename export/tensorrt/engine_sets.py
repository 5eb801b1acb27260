"""The engine sets of a bundle: built if they are missing or out of date, and written completely or not at all."""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from latentloop.bundles.bundle import Bundle
from latentloop.bundles.codec import CodecGraph
from latentloop.bundles.manifest import FileRecord, Level
from latentloop.engines.engine_set import EngineSet, Profile, folder_name, source_digests, to_json
from latentloop.engines.engine_set_checks import check_contents
from latentloop.engines.engine_set_reading import from_json
from latentloop.engines.finding import find_engines
from latentloop.errors import OutputError
from latentloop.export.tensorrt.builder import TensorRtBuilder
from latentloop.export.tensorrt.inlined_graph import InlinedGraph
from latentloop.export.tensorrt.rewriting import rewrite_codec, rewrite_prior
from latentloop.io.file_names import ENGINES, MANIFEST
from latentloop.io.files import check_free, new_directory, scratch_directory, write_file
from latentloop.io.json_reading import parse_json


@dataclass(frozen=True)
class Outcome:
    """The result for one set.

    ``why``: the reason for a rebuild, else empty. ``size``: of its plans, in bytes. ``seconds``: the time of the build.
    """

    folder: Path
    architecture: str
    precision: str
    state: str  # "built", "rebuilt" or "up to date"
    why: str
    size: int
    seconds: float


@dataclass(frozen=True)
class EngineSource:
    """A rewritten graph on disk, and the engine to build from it."""

    graph: Path
    engine: CodecGraph


@dataclass(frozen=True)
class RewrittenBundle:
    """A bundle's graphs on disk, rewritten for one precision, and their part of an engine set's manifest."""

    levels: tuple[Level, ...]
    encoder: CodecGraph
    decoder: CodecGraph
    sources: tuple[EngineSource, ...]


def build_sets(
    bundle: Bundle,
    builder: TensorRtBuilder,
    architectures: Sequence[str],
    precisions: Sequence[str],
    *,
    max_batch: int,
    force: bool = False,
) -> Iterator[Outcome]:
    """Builds the sets one after the other, and yields each one's outcome.

    A set that exists and is up to date is not built again unless ``force`` is set. Raises BundleError for a graph that
    cannot be built and for a manifest that could not be read again, OutputError if a set cannot be written. No
    incomplete set is left behind after an error.
    """
    library = {"flavour": builder.name, "library": builder.version}
    for precision in precisions:
        missing = []
        for architecture in architectures:
            key = {"architecture": architecture, "precision": precision, **library}
            folder = bundle.path / ENGINES / folder_name(**key)
            why = _reason_to_build(bundle, key, max_batch)
            if why or force:
                missing.append((folder, key, why or "requested"))
            else:
                yield Outcome(folder, architecture, precision, "up to date", "", _size(folder), 0.0)
        if not missing:
            continue
        for folder, *_ in missing:
            check_free(folder, force=True, directory=True)
        with rewritten_bundle(bundle, precision) as rewritten:
            for folder, key, why in missing:
                state, reason = ("rebuilt", why) if folder.is_dir() else ("built", "")
                started = time.perf_counter()
                _build_set(bundle, builder, rewritten, folder, key, max_batch)
                seconds = time.perf_counter() - started
                yield Outcome(folder, key["architecture"], precision, state, reason, _size(folder), seconds)


@contextmanager
def rewritten_bundle(bundle: Bundle, precision: str) -> Iterator[RewrittenBundle]:
    """Rewrites the bundle's graphs for a precision to a temporary folder, which exists inside the context.

    Raises BundleError, OutputError.
    """
    manifest = bundle.manifest
    weights = np.memmap(bundle.path / manifest.weights, np.uint8, "r")
    levels, sources = [], []
    with _scratch() as folder:

        def write(plan: str, graph: InlinedGraph) -> CodecGraph:
            plan_folder = folder / plan
            plan_folder.mkdir()
            engine = CodecGraph(plan, tuple(graph.inputs.values()), tuple(graph.outputs.values()))
            sources.append(EngineSource(graph.write(plan_folder), engine))
            return engine

        encoder, decoder = (
            write(f"{Path(file).stem}.plan", rewrite_codec(bundle.path / file, weights, precision))
            for file in (manifest.encoder, manifest.decoder)
        )
        for level in manifest.levels:
            prior = None
            if level.prior is not None:
                prior, graphs = rewrite_prior(bundle.path, level.name, level.prior, weights, precision)
                for role, graph in graphs.items():
                    write(prior.graphs[role].file, graph)
            levels.append(replace(level, prior=prior))
        yield RewrittenBundle(tuple(levels), encoder, decoder, tuple(sources))


def batch_profiles(max_batch: int) -> tuple[Profile, ...]:
    """Returns a profile for one image at a time, and one for up to ``max_batch``, optimised for ``max_batch``."""
    one = Profile(1, 1, 1)
    return (one,) if max_batch == 1 else (one, Profile(1, max_batch, max_batch))


def _reason_to_build(bundle: Bundle, key: dict[str, str], max_batch: int) -> str:
    """Returns the reason why a set is not up to date; empty if it is."""
    engines = find_engines(bundle, **key)
    if isinstance(engines, str):
        return engines
    largest = max(profile.maximum for profile in engines.profiles)
    return "" if largest >= max_batch else f"{engines.folder} is for batches up to {largest}, not up to {max_batch}"


def _build_set(
    bundle: Bundle,
    builder: TensorRtBuilder,
    rewritten: RewrittenBundle,
    target: Path,
    key: dict[str, str],
    max_batch: int,
) -> None:
    profiles = batch_profiles(max_batch)
    architecture, precision = key["architecture"], key["precision"]
    timings = bundle.path / ENGINES / f"{architecture}_{builder.name}-{builder.version}.timings"
    files = {}
    with new_directory(target, force=True) as folder:
        label = f"{architecture} {precision}"
        for source in tqdm(rewritten.sources, desc=label, unit="engine", delay=1, leave=False, disable=None):
            cached = timings.read_bytes() if builder.times_kernels and timings.is_file() else None
            engine = source.engine
            plan = builder.build(source.graph, engine.inputs, engine.outputs, profiles, architecture, cached)
            if plan.timings is not None and plan.timings != cached:
                write_file(timings, partial(Path.write_bytes, data=plan.timings), force=True)
            files[engine.file] = _write_plan(folder / engine.file, plan.data)
        engines = EngineSet(
            folder=target,
            **key,
            profiles=profiles,
            sources=source_digests(bundle.manifest, precision),
            image=bundle.manifest.image,
            levels=rewritten.levels,
            encoder=rewritten.encoder,
            decoder=rewritten.decoder,
            files=files,
        )
        text = json.dumps(to_json(engines), indent=1) + "\n"
        check_contents(from_json(parse_json(text, str(target / MANIFEST)), target), bundle.manifest)
        (folder / MANIFEST).write_text(text, encoding="utf-8")


def _write_plan(path: Path, data: Any) -> FileRecord:
    """``data`` is a plan as TensorRT returns it: any object with the buffer protocol."""
    view = memoryview(data)
    path.write_bytes(view)
    return FileRecord(view.nbytes, hashlib.sha256(view).hexdigest())


@contextmanager
def _scratch() -> Iterator[Path]:
    try:
        with scratch_directory() as folder:
            yield folder
    except OSError as error:
        raise OutputError(
            f"cannot write rewritten graphs to {tempfile.gettempdir()}: {error.strerror or error}; "
            "set TMPDIR to a folder with room"
        ) from error


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*.plan"))
