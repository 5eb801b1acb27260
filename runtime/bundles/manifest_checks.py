"""Checks that the parts of a manifest agree: grids, graphs, files, state buffers and views inside them."""

from __future__ import annotations

import math
from collections.abc import Container

from latentloop.bundles.loop_buffers import LOOP_NAMES, loop_buffers
from latentloop.bundles.manifest import (
    BATCH,
    DTYPES,
    GRAPHS,
    INDEX,
    PRECISIONS,
    SHARED_GRAPHS,
    UNDRAWN_SINCE,
    USAGES,
    Binding,
    Level,
    Manifest,
    Prior,
    StateBuffer,
    graph_name,
)
from latentloop.draws.settings import SETTINGS
from latentloop.errors import BundleError
from latentloop.io.codes_file import NOT_LEVELS
from latentloop.io.json_reading import unexpected

CODEC_NAMES = ("images", "decoded")  # inputs and outputs of the encoder and the decoder, beside those of levels
CHANNELS = (1, 3)  # of images: grey and RGB
LARGEST_IMAGE = 2**28  # values; a larger one is a mistake or an attack
LARGEST_STATE = 2**28  # values in the state buffers of one prior for one sample
MAX_AXES = 8


def check_manifest(manifest: Manifest, source: str, version: int) -> None:
    """Raises BundleError that names the wrong field. ``source`` is the name of the file, of that ``version``."""
    if manifest.undrawn_codeword is None and version >= UNDRAWN_SINCE:
        raise BundleError(f"{source}.undrawn_codeword is missing, expected one of {', '.join(USAGES)}")
    unknown = [setting.name for setting in SETTINGS.values() if setting.since > version]
    _check_grids(manifest, source)
    _check_graphs(manifest, source)
    _check_files(manifest, source)
    upper = None
    for index, level in enumerate(manifest.levels):
        if level.prior is not None:
            check_prior(level, upper, f"{source}.levels[{index}].prior", DTYPES, unknown)
            if level.prior.classes and not manifest.classes:
                raise BundleError(f"{source}.classes is empty, but the prior of {level.name} is conditioned on classes")
        upper = level
    _check_distinct(f"{source}.classes", list(manifest.classes))
    if "" in manifest.classes:
        raise unexpected(f"{source}.classes[{manifest.classes.index('')}]", "", "a name")


def _check_grids(manifest: Manifest, source: str) -> None:
    """Checks that the image is the bottom grid times a power of two, and each grid twice that of the level above."""
    if not manifest.levels:
        raise BundleError(f"{source}.levels is empty")
    if manifest.image[2] not in CHANNELS:
        raise unexpected(f"{source}.image", list(manifest.image), "1 channel (grey) or 3 (RGB), listed last")
    if math.prod(manifest.image) > LARGEST_IMAGE:
        raise BundleError(f"{source}.image is {list(manifest.image)}, expected at most {LARGEST_IMAGE} values")
    _check_distinct(f"{source}.levels", [level.name for level in manifest.levels])
    for index, level in enumerate(manifest.levels):
        if level.name in ("", *NOT_LEVELS, *CODEC_NAMES):
            taken = ", ".join((*NOT_LEVELS, *CODEC_NAMES))
            raise unexpected(f"{source}.levels[{index}].name", level.name, f"a name, and none of {taken}")
    height, width = manifest.image[:2]
    bottom = manifest.levels[-1]
    scale = height // bottom.height
    if scale & (scale - 1) or scale < 2:
        raise BundleError(
            f"{source}.levels: {bottom.name} has {bottom.height} rows for images of {height} x {width}, expected the "
            "height divided by a power of two"
        )
    upper_names = [None, *(level.name for level in manifest.levels[:-1])]
    for level, upper in reversed([*zip(manifest.levels, upper_names, strict=True)]):
        if (level.height * scale, level.width * scale) != (height, width):
            raise BundleError(
                f"{source}.levels: {level.name} has the grid {level.height} x {level.width}, expected "
                f"{height / scale:g} x {width / scale:g} for images of {height} x {width}"
            )
        scale *= 2
        if level.prior and level.prior.condition_level not in (None, upper):
            raise BundleError(
                f"{source}.levels: the condition_level of {level.name} is {level.prior.condition_level!r}, expected "
                f"{repr(upper) if upper else 'none'}"
            )


def _check_graphs(manifest: Manifest, source: str) -> None:
    """Checks that every prior has all graphs of every precision, and no others."""
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
    """Checks that ``files`` lists every file that the manifest names, and that no file has two roles."""
    required = [manifest.encoder, manifest.decoder, manifest.golden, manifest.weights]
    if manifest.classifier is not None:
        required.append(manifest.classifier)
        if not manifest.classes:
            raise BundleError(f"{source}.classifier is {manifest.classifier!r}, but classes is empty")
    graphs = {graph.file for level in manifest.levels if level.prior for graph in level.prior.graphs.values()}
    required += sorted(graphs)
    for index, file in enumerate(required):
        if file in required[:index]:
            raise BundleError(
                f"{source}: {file!r} has two roles, expected different files for the encoder, the decoder, the golden "
                "vectors, the weights, the classifier and the priors; export the bundle again"
            )
    missing = sorted(set(required) - set(manifest.files))
    if missing:
        raise BundleError(f"{source}.files does not list {', '.join(missing)}")


def check_prior(level: Level, upper: Level | None, where: str, dtypes: tuple[str, ...], absent: Container[str]) -> None:
    """Checks the prior, at ``where``, of a level in a bundle or in a set of engines. Raises BundleError.

    ``dtypes`` are those of its state buffers; settings in ``absent`` need none. ``upper`` is the level above.
    """
    prior = level.prior
    assert prior is not None
    if level.width % prior.columns_per_step:
        raise BundleError(
            f"{where}.columns_per_step is {prior.columns_per_step}, which does not divide {level.width} columns"
        )
    _check_buffers(prior, dtypes, where)
    _check_distinct(f"{where}.memories", [buffer.name for buffer in prior.memories])
    buffers = {buffer.name: buffer for buffer in prior.memories}
    _check_loop_buffers(level, prior, upper, buffers, f"{where}.memories", absent)
    values = sum(math.prod(size for size in buffer.shape if isinstance(size, int)) for buffer in prior.memories)
    if values > LARGEST_STATE:
        raise BundleError(f"{where}.memories hold {values} values for one sample, expected at most {LARGEST_STATE}")
    _check_rings(level.width, buffers, f"{where}.memories")
    for role, graph in prior.graphs.items():
        for binding in (*graph.inputs, *graph.outputs):
            _check_binding(binding, buffers, level, prior, f"{where}.graphs.{role}: binding {binding.name!r}")


def _check_buffers(prior: Prior, dtypes: tuple[str, ...], where: str) -> None:
    """Checks each state buffer of a prior, at ``where``, by itself. Raises BundleError."""
    for index, buffer in enumerate(prior.memories):
        name = f"{where}.memories[{index}]"
        if buffer.dtype not in dtypes:
            raise unexpected(f"{name}.dtype", buffer.dtype, f"one of {', '.join(dtypes)}")
        if buffer.fill == INDEX:
            if buffer.dtype != "int64" or buffer.ring or buffer.shape[:1] in ((), (BATCH,)):
                raise unexpected(f"{name}.fill", buffer.fill, "an integer, except for int64 with a fixed first axis")
        elif buffer.dtype == "uint8" and buffer.fill not in range(256):
            raise unexpected(f"{name}.fill", buffer.fill, "an integer from 0 to 255")
        dynamic_sizes = [size for size in buffer.shape if isinstance(size, str)]
        if dynamic_sizes not in ([], [BATCH]) or len(buffer.shape) > MAX_AXES:
            raise BundleError(
                f"{name}.shape is {list(buffer.shape)}, expected at most {MAX_AXES} sizes, of which at most one is "
                f"'{BATCH}' and the others are integers"
            )


def _check_loop_buffers(
    level: Level,
    prior: Prior,
    upper: Level | None,
    buffers: dict[str, StateBuffer],
    where: str,
    absent: Container[str],
) -> None:
    """Checks the buffers that the loop itself reads and writes."""
    grid = None if prior.condition_level is None or upper is None else (upper.height, upper.width)
    of_loop = loop_buffers(level.height, level.width, level.codebook_size, upper=grid, labels=prior.classes)
    expected = {buffer.name: buffer for buffer in of_loop}
    if codes := buffers.get("codes"):
        shape = (*codes.shape[:1], level.width + 2 * codes.padding, BATCH)
        expected["codes"] = StateBuffer("codes", "int64", shape, level.codebook_size, ring=True, padding=codes.padding)
    for name, why in (("upper", "condition_level is null"), ("labels", "classes is false")):
        if name in buffers and name not in expected:
            raise BundleError(f"{where} has {name!r}, but {why}")
    for name in ("codes", *expected):
        if name not in buffers:
            if name in absent:  # `SampleRequest` refuses to use it
                continue
            raise BundleError(f"{where}: {name!r} is missing")
        if buffers[name] != expected[name]:
            raise BundleError(f"{where}: {name!r} is {_text(buffers[name])}, expected {_text(expected[name])}")


def _text(buffer: StateBuffer) -> str:
    padding = f", padded by {buffer.padding}" if buffer.padding else ""
    return f"{'a ring of ' * buffer.ring}{buffer.dtype} {list(buffer.shape)} filled with {buffer.fill!r}{padding}"


def _check_rings(width: int, buffers: dict[str, StateBuffer], where: str) -> None:
    rings = [buffer for buffer in buffers.values() if buffer.ring]
    for ring in rings:
        columns = width + 2 * ring.padding
        if ring.shape[1:2] != (columns,) or ring.shape[0] == BATCH:
            raise BundleError(f"{where}: the ring {ring.name!r} is {list(ring.shape)}, expected [rows, {columns}, ...]")
    rows = int(buffers["codes"].shape[0])
    for ring in rings:
        if rows % int(ring.shape[0]):  # a loop binds all rings by the index of the row modulo the rows of 'codes'
            raise BundleError(
                f"{where}: the ring {ring.name!r} has {ring.shape[0]} rows, expected a divisor of the {rows} of 'codes'"
            )


def _check_binding(binding: Binding, buffers: dict[str, StateBuffer], level: Level, prior: Prior, where: str) -> None:
    """Checks that the buffer exists and that the view is inside it at every row and column. Inputs and outputs of the
    name of a buffer that the loop writes or reads must be bound to that buffer.
    """
    buffer = buffers.get(binding.memory)
    if buffer is None:
        raise BundleError(f"{where} names the memory {binding.memory!r}, which does not exist")
    if binding.name in LOOP_NAMES and binding.memory != binding.name:
        raise BundleError(f"{where} names the memory {binding.memory!r}, expected {binding.name!r}")
    if binding.view == "span" and not buffer.ring:
        raise BundleError(f"{where} has the view span, but {buffer.name!r} is not a ring")
    size = {"row": level.height, "entries": level.height, "columns": level.width}.get(binding.view)
    is_of_ring = buffer.ring and binding.view == "columns"
    if size is not None and not is_of_ring and buffer.shape[:1] != (size,):
        raise BundleError(
            f"{where} has the view {binding.view}, but {buffer.name!r} is {list(buffer.shape)}, expected [{size}, ...]"
        )
    if binding.view not in ("span", "columns"):
        if (binding.back, binding.first, binding.count) != (0, 0, 0):
            raise BundleError(
                f"{where} has the view {binding.view}, for which back, first and count must be 0; they are "
                f"{binding.back}, {binding.first} and {binding.count}"
            )
        return
    last_step = level.width - prior.columns_per_step if binding.view == "columns" else 0
    padding = buffer.padding if buffer.ring else 0
    end = last_step + binding.first + binding.count
    if binding.count < 1 or binding.first < -padding or end > level.width + padding:
        raise BundleError(
            f"{where}: first is {binding.first} and count {binding.count}, which is not inside {buffer.name!r} with "
            f"{level.width} columns and a padding of {padding}"
        )


def _check_distinct(where: str, names: list[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise BundleError(f"{where}: the name {name!r} occurs twice")
        seen.add(name)
