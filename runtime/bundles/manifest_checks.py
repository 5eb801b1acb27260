"""Whether a manifest's parts agree: grids, files, and views that lie inside their memories."""

from __future__ import annotations

import math

from latentloop.bundles.manifest import (
    BATCH,
    GRAPHS,
    PRECISIONS,
    SHARED_GRAPHS,
    Binding,
    Level,
    Manifest,
    Prior,
    StateBuffer,
    graph_name,
)
from latentloop.errors import BundleError

LARGEST_IMAGE = 2**28  # values; a bundle that asks for more is a mistake or an attack
LARGEST_STATE = 2**28  # values that one prior's memories hold for one sample


def check_manifest(manifest: Manifest, source: str) -> None:
    """Raises BundleError that names the field; ``source`` names the file."""
    _check_grids(manifest, source)
    _check_graphs(manifest, source)
    _check_files(manifest, source)
    upper = None
    for index, level in enumerate(manifest.levels):
        if level.prior is not None:
            _check_prior(level, level.prior, upper, f"{source}.levels[{index}].prior")
            if level.prior.classes and not manifest.classes:
                raise BundleError(f"{source}.classes is empty, but the prior of {level.name} is given a class")
        upper = level


def _check_grids(manifest: Manifest, source: str) -> None:
    """The image is a power of two times the bottom grid, and every level's grid twice that of the one above it."""
    if not manifest.levels:
        raise BundleError(f"{source}.levels is empty")
    if math.prod(manifest.image) > LARGEST_IMAGE:
        raise BundleError(f"{source}.image is {list(manifest.image)}, expected at most {LARGEST_IMAGE} values")
    _check_distinct(f"{source}.levels", [level.name for level in manifest.levels])
    height, width = manifest.image[:2]
    bottom = manifest.levels[-1]
    scale = height // bottom.height
    if scale & (scale - 1) or scale < 2:
        raise BundleError(
            f"{source}.levels: {bottom.name} has {bottom.height} rows for images of {height} x {width}, expected the "
            "height divided by a power of two"
        )
    above = {level.name: upper.name for upper, level in zip(manifest.levels, manifest.levels[1:], strict=False)}
    for level in reversed(manifest.levels):
        if (level.height * scale, level.width * scale) != (height, width):
            raise BundleError(
                f"{source}.levels: {level.name} has the grid {level.height} x {level.width}, expected "
                f"{height / scale:g} x {width / scale:g} for images of {height} x {width}"
            )
        scale *= 2
        upper = above.get(level.name)
        if level.prior and level.prior.condition_level not in (None, upper):
            raise BundleError(
                f"{source}.levels: the condition_level of {level.name} is {level.prior.condition_level!r}, expected "
                f"{repr(upper) if upper else 'none'}"
            )


def _check_graphs(manifest: Manifest, source: str) -> None:
    """Every prior has all graphs of every precision, and no others."""
    for precision in manifest.precisions:
        if precision not in PRECISIONS:
            raise BundleError(f"{source}.precisions has {precision[:60]!r}, expected some of {', '.join(PRECISIONS)}")
    if "float32" not in manifest.precisions:
        raise BundleError(f"{source}.precisions: 'float32' is missing")
    _check_distinct(f"{source}.precisions", list(manifest.precisions))
    required = [graph_name(role, precision) for precision in manifest.precisions for role in GRAPHS]
    known = (*SHARED_GRAPHS, *required)
    for index, level in enumerate(manifest.levels):
        if level.prior is None:
            continue
        graphs = level.prior.graphs
        where = f"{source}.levels[{index}].prior.graphs"
        for name in required:
            if name not in graphs:
                raise BundleError(f"{where}.{name} is missing")
        for name in graphs:
            if name not in known:
                raise BundleError(f"{where}.{name} is unknown, expected one of {', '.join(known)}")


def _check_files(manifest: Manifest, source: str) -> None:
    named = [manifest.encoder, manifest.decoder, manifest.golden, manifest.weights]
    if manifest.classifier is not None:
        named.append(manifest.classifier)
        if not manifest.classes:
            raise BundleError(f"{source}.classifier is {manifest.classifier!r}, but classes is empty")
    for level in manifest.levels:
        named += [graph.file for graph in level.prior.graphs.values()] if level.prior else []
    missing = sorted(set(named) - set(manifest.files))
    if missing:
        raise BundleError(f"{source}.files does not list {', '.join(missing)}")


def _check_prior(level: Level, prior: Prior, upper: Level | None, where: str) -> None:
    """The memories that the loop itself reads and writes are there, and every view lies inside its memory."""
    height, width = level.height, level.width
    if width % prior.columns_per_step:
        raise BundleError(
            f"{where}.columns_per_step is {prior.columns_per_step}, which does not divide {width} columns"
        )
    expected: dict[str, tuple[str, tuple[int | str, ...]]] = {
        "row": ("int64", (height, 1)),
        "column": ("int64", (width, 1)),
        "uniform": ("float32", (width, BATCH)),
        "forced": ("int64", (width, BATCH)),
        "temperature": ("float32", (BATCH,)),
        "top_k": ("int64", (BATCH,)),
        "top_p": ("float32", (BATCH,)),
        "logits": ("float32", (width, BATCH, level.codebook_size)),
    }
    if prior.classes:
        expected["labels"] = ("int64", (BATCH,))
    if prior.condition_level is not None and upper is not None:
        expected["upper"] = ("int64", (upper.height, upper.width, BATCH))
    _check_distinct(f"{where}.memories", [memory.name for memory in prior.memories])
    known = {memory.name: memory for memory in prior.memories}
    if "codes" in known:
        expected["codes"] = ("int64", (*known["codes"].shape[:1], width + 2 * known["codes"].padding, BATCH))
    for name in ("codes", *expected):
        if name not in known:
            raise BundleError(f"{where}.memories: {name!r} is missing")
        found, (dtype, shape) = known[name], expected[name]
        if (found.dtype, found.shape) != (dtype, shape) or found.ring != (name == "codes"):
            raise BundleError(
                f"{where}.memories: {name!r} is {'a ring of ' * found.ring}{found.dtype} {list(found.shape)}, expected "
                f"{'a ring of ' * (name == 'codes')}{dtype} {list(shape)}"
            )
    for memory in prior.memories:
        columns = width + 2 * memory.padding
        if memory.ring and (memory.shape[1:2] != (columns,) or memory.shape[0] == BATCH):
            raise BundleError(
                f"{where}.memories: the ring {memory.name!r} is {list(memory.shape)}, expected [rows, {columns}, ...]"
            )
    state = sum(math.prod(size for size in memory.shape if isinstance(size, int)) for memory in prior.memories)
    if state > LARGEST_STATE:
        raise BundleError(f"{where}.memories hold {state} values for one sample, expected at most {LARGEST_STATE}")
    for memory in prior.memories:
        if memory.ring and int(known["codes"].shape[0]) % int(memory.shape[0]):  # a row's place is its phase
            raise BundleError(
                f"{where}.memories: the ring {memory.name!r} has {memory.shape[0]} rows, expected a divisor of the "
                f"{known['codes'].shape[0]} of 'codes'"
            )
    for role, graph in prior.graphs.items():
        for binding in (*graph.inputs, *graph.outputs):
            place = f"{where}.graphs.{role}: binding {binding.name!r}"
            _check_binding(binding, known, height, width, prior.columns_per_step, place)


def _check_binding(
    binding: Binding, memories: dict[str, StateBuffer], height: int, width: int, columns_per_step: int, where: str
) -> None:
    if binding.memory not in memories:
        raise BundleError(f"{where} names the memory {binding.memory!r}, which is not there")
    memory = memories[binding.memory]
    if binding.view == "span" and not memory.ring:
        raise BundleError(f"{where} has the view span, but {binding.memory!r} is no ring")
    entries = {"row": height, "entries": height, "columns": width}.get(binding.view)
    of_ring = memory.ring and binding.view == "columns"
    if entries is not None and not of_ring and memory.shape[:1] != (entries,):
        raise BundleError(
            f"{where} has the view {binding.view}, but {binding.memory!r} is {list(memory.shape)}, expected "
            f"[{entries}, ...]"
        )
    if binding.view not in ("span", "columns"):
        if (binding.back, binding.first, binding.count) != (0, 0, 0):
            raise BundleError(
                f"{where} has the view {binding.view}, for which back, first and count must be 0; they are "
                f"{binding.back}, {binding.first} and {binding.count}"
            )
        return
    last_step = width - columns_per_step if binding.view == "columns" else 0
    padding = memory.padding if memory.ring else 0
    end = last_step + binding.first + binding.count
    if binding.count < 1 or binding.first < -padding or end > width + padding:
        raise BundleError(
            f"{where}: first is {binding.first} and count {binding.count}, not a part of {binding.memory!r} with its "
            f"{width} columns and a padding of {padding}"
        )


def _check_distinct(where: str, names: list[str]) -> None:
    for index, name in enumerate(names):
        if name in names[:index]:
            raise BundleError(f"{where}: two are called {name!r}")
