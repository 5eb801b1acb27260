"""What rounded weights cost: bits per code, and the distance between the probabilities, on the same codes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from latentloop import Bundle, Sampler
from latentloop.bench.machine.environment import environment
from latentloop.bench.quality.dataset import choose, load_for
from latentloop.bench.report.markdown import markdown_table
from latentloop.bench.report.result_files import result
from latentloop.bundles.manifest import Level
from latentloop.draws.level_inputs import LevelInputs
from latentloop.export.train.data.datasets import batches_of
from latentloop.sampling.likelihood import log_softmax
from latentloop.sampling.sampler import LARGEST_BATCH
from latentloop.sampling.validation import check_labels

Floats = NDArray[np.float64]
PRECISIONS = ("float32", "int8")
FLAT = 0.5  # a standard deviation of logits
FLAT_NOTE = f"logits vary by less than {FLAT}, so all codes are about as probable: this says little of trained weights"


@dataclass(frozen=True)
class Material:
    """Codes by level [N, h, w] that the priors are asked about, their labels [N], and where they are from."""

    codes: dict[str, NDArray[np.int64]]
    labels: NDArray[np.int64] | None
    source: str


def measure(bundle: Bundle, data: Path | None, count: int, rows: int | None, threads: int) -> dict[str, Any]:
    """Both precisions on ``count`` held-out images of the data set, or on as many samples of the bundle's own.

    ``rows`` limits it to the first rows of each level. Raises InputError where bundle and data do not fit.
    """
    samplers = [Sampler(bundle, threads=threads, precision=precision) for precision in PRECISIONS]
    material = _own_samples(samplers[0], count) if data is None else _held_out(samplers[0], data, count)
    levels = bundle.manifest.levels
    found = [_level(samplers, index, material, min(rows or v.height, v.height)) for index, v in enumerate(levels)]
    return result(
        "quality",
        environment(threads),
        bundle={"name": bundle.path.name, "weights_sha256": bundle.manifest.files[bundle.manifest.weights].sha256},
        codes=material.source,
        images=len(material.codes[levels[0].name]),
        rows=rows,
        levels=found,
    )


def table(found: dict[str, Any]) -> str:
    """The levels as Markdown, and what to make of them."""
    rows = []
    for level in found["levels"]:
        bits, error = level["bits_per_code"], level["standard_error"]
        change = f"{level['relative_change']:+.3%}" + (f" ± {error:.3%}" if error is not None else "")
        rows.append(
            [level["name"], *(f"{bits[name]:.4f}" for name in PRECISIONS), change, f"{level['kl_nats']:.2g} nats"]
        )
    limit = f", the first {found['rows']} rows of each level" if found["rows"] else ""
    header = ["bits per code", *PRECISIONS, "change", "mean KL(float32, int8)"]
    notes = [f"{level['name']}: {level['note']}." for level in found["levels"] if level["note"]]
    return "\n\n".join([f"{found['images']} images, {found['codes']}{limit}:", markdown_table(header, rows), *notes])


def _held_out(sampler: Sampler, data: Path, count: int) -> Material:
    """The codes of held-out images: those that no training saw, where it split the data by default."""
    manifest = sampler.bundle.manifest
    part = load_for(manifest, data).held_out
    part = part.take(choose(part, count))
    labels = part.labels if manifest.classes else None
    return Material(
        sampler.encode(part.images),
        check_labels(labels, len(part), manifest),
        f"encoded from held-out images of {data.name}",
    )


def _own_samples(sampler: Sampler, count: int) -> Material:
    """Codes that the model draws itself, in float32: what they say of the weights needs no data."""
    samples = sampler.sample(count, seeds=1)
    return Material(samples.codes, samples.labels, "drawn by the model itself in float32")


def _level(samplers: list[Sampler], index: int, material: Material, rows: int) -> dict[str, Any]:
    """One level's figures as plain JSON types."""
    level = samplers[0].bundle.manifest.levels[index]
    count = len(material.codes[level.name])
    nats = np.zeros((len(PRECISIONS), count))  # of each image's codes
    divergence, square, values = 0.0, 0.0, 0
    # disable=None: no bar unless stderr is a terminal
    for part in tqdm(batches_of(count, LARGEST_BATCH), desc=level.name, unit="batch", leave=False, disable=None):
        level_inputs = _controls(level, index, material, samplers[0], part)
        for exact, other in zip(*(sampler.rows(level, level_inputs, rows) for sampler in samplers), strict=True):
            p, q = (log_softmax(row.logits.astype(np.float64)) for row in (exact, other))  # [W, B, K]
            for number, logp in enumerate((p, q)):
                nats[number, part] -= np.take_along_axis(logp, exact.codes[..., None], 2)[..., 0].sum(0)
            divergence += float((np.exp(p) * (p - q)).sum())
            centred = exact.logits - exact.logits.mean(2, keepdims=True)
            square, values = square + float(np.square(centred, dtype=np.float64).sum()), values + centred.size
    positions = rows * level.width
    bits = nats / math.log(2) / positions
    mean = bits.mean(1)
    changes = bits[1] - bits[0]
    spread = math.sqrt(square / values)
    return {
        "name": level.name,
        "positions": count * positions,
        "bits_per_code": dict(zip(PRECISIONS, map(float, mean), strict=True)),
        "relative_change": float(mean[1] / mean[0] - 1),
        "standard_error": float(changes.std(ddof=1) / math.sqrt(count) / mean[0]) if count > 1 else None,
        "kl_nats": divergence / (count * positions),
        "logits_std": spread,
        "note": FLAT_NOTE if spread < FLAT else "",
    }


def _controls(level: Level, index: int, material: Material, sampler: Sampler, part: slice) -> LevelInputs:
    """Every code forced."""
    upper = sampler.bundle.manifest.levels[index - 1].name if index else None
    return LevelInputs.forcing(
        material.codes[level.name][part],
        material.codes[upper][part] if upper else None,
        None if material.labels is None else material.labels[part],
    )
