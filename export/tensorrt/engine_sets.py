"""Sets of engines of a bundle: built where they are missing or stale, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from latentloop.bundles.bundle import Bundle
from latentloop.bundles.manifest import FileRecord
from latentloop.engines.engine_set import (
    CodecEngine,
    EngineLevel,
    EngineSet,
    Profile,
    Tensor,
    folder_name,
    sources,
    to_json,
)
from latentloop.engines.finding import find_engines
from latentloop.errors import OutputError
from latentloop.export.tensorrt.builder import TensorRtBuilder
from latentloop.export.tensorrt.inlined_graph import Graph
from latentloop.export.tensorrt.prior_graphs import codec_graph, prior_graphs
from latentloop.io.file_names import ENGINES, MANIFEST
from latentloop.io.files import check_free, new_directory, scratch_directory, write_file


@dataclass(frozen=True)
class Outcome:
    """What became of one set. ``why`` is empty unless it was rebuilt; ``size`` is that of its plans, in bytes."""

    folder: Path
    architecture: str
    precision: str
    state: str  # "built", "rebuilt" or "up to date"
    why: str
    size: int
    seconds: float


@dataclass(frozen=True)
class Source:
    """A rewritten graph on disk, and the engine that it is to become."""

    plan: str
    graph: Path
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


@dataclass(frozen=True)
class Prepared:
    """A bundle's graphs at one precision."""

    levels: tuple[EngineLevel, ...]
    encoder: CodecEngine
    decoder: CodecEngine
    sources: tuple[Source, ...]


def build_sets(
    bundle: Bundle,
    flavour: TensorRtBuilder,
    architectures: Sequence[str],
    precisions: Sequence[str],
    *,
    max_batch: int,
    force: bool = False,
) -> Iterator[Outcome]:
    """Every set in turn, built unless it is there and fits; with ``force`` in any case.

    Raises BundleError for a graph that cannot be built, OutputError where a set cannot be written; nothing half-built
    is left then.
    """
    for precision in precisions:
        missing = []
        for architecture in architectures:
            folder, state, why = _state(bundle, flavour, architecture, precision, max_batch)
            if state == "up to date" and not force:
                yield Outcome(folder, architecture, precision, state, "", _size(folder), 0.0)
            else:
                missing.append((folder, architecture, "rebuilt" if folder.is_dir() else "built", why or "asked for"))
        if not missing:
            continue
        for folder, *_ in missing:
            check_free(folder, force=True, directory=True)
        with prepared(bundle, precision) as graphs:
            for folder, architecture, state, why in missing:
                started = time.perf_counter()
                _build_set(bundle, flavour, graphs, folder, architecture, precision, max_batch)
                seconds = time.perf_counter() - started
                reason = why if state == "rebuilt" else ""
                yield Outcome(folder, architecture, precision, state, reason, _size(folder), seconds)


@contextmanager
def prepared(bundle: Bundle, precision: str) -> Iterator[Prepared]:
    """Rewrites the bundle's graphs for a precision into a temporary folder."""
    manifest = bundle.manifest
    weights = np.memmap(bundle.path / manifest.weights, np.uint8, "r")
    levels, written = [], []
    with _scratch() as folder:

        def write(plan: str, graph: Graph) -> Source:
            inside = folder / plan
            inside.mkdir()
            made = Source(plan, graph.write(inside), tuple(graph.inputs.values()), tuple(graph.outputs.values()))
            written.append(made)
            return made

        codec = [
            write(f"{Path(file).stem}.plan", codec_graph(bundle.path / file, weights, precision))
            for file in (manifest.encoder, manifest.decoder)
        ]
        for level in manifest.levels:
            prior = None
            if level.prior is not None:
                prior, graphs = prior_graphs(bundle.path, level.name, level.prior, weights, precision)
                for role, graph in graphs.items():
                    write(prior.graphs[role].file, graph)
            levels.append(EngineLevel(level.name, level.height, level.width, level.codebook_size, prior))
        encoder, decoder = (CodecEngine(source.plan, source.inputs, source.outputs) for source in codec)
        yield Prepared(tuple(levels), encoder, decoder, tuple(written))


def batch_profiles(max_batch: int) -> tuple[Profile, ...]:
    """One image at a time, and up to ``max_batch``, with the best kernels at the most."""
    one = Profile(1, 1, 1)
    return (one,) if max_batch == 1 else (one, Profile(1, max_batch, max_batch))


def _state(
    bundle: Bundle, flavour: TensorRtBuilder, architecture: str, precision: str, max_batch: int
) -> tuple[Path, str, str]:
    """A set's folder, "up to date" or "missing", and why."""
    key = {"flavour": flavour.name, "library": flavour.version, "architecture": architecture, "precision": precision}
    folder = bundle.path / ENGINES / folder_name(**key)
    found = find_engines(bundle, **key)
    if isinstance(found, str):
        return folder, "missing", found
    largest = max(profile.maximum for profile in found.profiles)
    if largest < max_batch:
        return folder, "missing", f"{folder} is for batches up to {largest}, not up to {max_batch}"
    return folder, "up to date", ""


def _build_set(
    bundle: Bundle,
    flavour: TensorRtBuilder,
    graphs: Prepared,
    target: Path,
    architecture: str,
    precision: str,
    max_batch: int,
) -> None:
    profiles = batch_profiles(max_batch)
    timings = bundle.path / ENGINES / f"{architecture}_{flavour.name}-{flavour.version}.timings"
    files = {}
    with new_directory(target, force=True) as folder:
        label = f"{architecture} {precision}"
        for source in tqdm(graphs.sources, desc=label, unit="engine", delay=1, leave=False, disable=None):
            known = timings.read_bytes() if flavour.times and timings.is_file() else None
            plan = flavour.build(source.graph, source.inputs, source.outputs, profiles, architecture, known)
            if plan.timings is not None and plan.timings != known:
                write_file(timings, partial(Path.write_bytes, data=plan.timings), force=True)
            files[source.plan] = _write_plan(folder / source.plan, plan.data)
        engines = EngineSet(
            folder=target,
            flavour=flavour.name,
            library=flavour.version,
            architecture=architecture,
            precision=precision,
            profiles=profiles,
            sources=sources(bundle.manifest, precision),
            image=bundle.manifest.image,
            levels=graphs.levels,
            encoder=graphs.encoder,
            decoder=graphs.decoder,
            files=files,
        )
        (folder / MANIFEST).write_text(json.dumps(to_json(engines), indent=1) + "\n", encoding="utf-8")


def _write_plan(path: Path, data: object) -> FileRecord:
    view = memoryview(data)  # type: ignore[arg-type]
    path.write_bytes(view)
    return FileRecord(view.nbytes, hashlib.sha256(view).hexdigest())


@contextmanager
def _scratch() -> Iterator[Path]:
    try:
        with scratch_directory() as folder:
            yield folder
    except OSError as error:
        where = tempfile.gettempdir()
        reason = error.strerror or error
        raise OutputError(
            f"cannot write rewritten graphs to {where}: {reason}; set TMPDIR to a folder with room"
        ) from error


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*.plan"))
