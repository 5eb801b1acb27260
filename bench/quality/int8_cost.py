"""``latentloop bench quality``: bits per code with int8 and with float32 weights, on the same codes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from latentloop import Bundle, Sampler
from latentloop.bench.figures.result_files import new_result
from latentloop.bench.figures.text import markdown_table
from latentloop.bench.machine.environment import environment
from latentloop.bench.quality.dataset import load_for, select
from latentloop.bench.workload.level_runs import forcing
from latentloop.export.data.datasets import batches_of
from latentloop.sampling.likelihood import log_softmax
from latentloop.sampling.sampler import runs_of
from latentloop.sampling.validation import check_labels

Floats = NDArray[np.float64]
PRECISIONS = ("float32", "int8")
FLAT = 0.5  # a standard deviation of logits
FLAT_NOTE = (
    f"logits vary by less than {FLAT}, so all codes are about equally probable: this says little about trained weights"
)


@dataclass(frozen=True)
class LabelledCodes:
    """Codes by level [N, h, w] whose likelihood is measured, their labels [N], and their source for the report."""

    by_level: dict[str, NDArray[np.int64]]
    labels: NDArray[np.int64] | None
    source: str


def measure(bundle: Bundle, data: Path | None, count: int, rows: int | None, threads: int) -> dict[str, Any]:
    """Compares both precisions on ``count`` held-out images of the data set, or on samples that the bundle draws.

    ``rows`` limits the comparison to the first rows of each level. Raises InputError if bundle and data do not match.
    """
    samplers = [Sampler(bundle, threads=threads, precision=precision) for precision in PRECISIONS]
    codes = _own_samples(samplers[0], count) if data is None else _held_out(samplers[0], data, count)
    levels = bundle.manifest.levels
    figures = [_level(samplers, index, codes, min(rows or v.height, v.height)) for index, v in enumerate(levels)]
    return new_result(
        "quality",
        environment(threads),
        bundle={"name": bundle.path.name, "weights_sha256": bundle.manifest.files[bundle.manifest.weights].sha256},
        codes=codes.source,
        images=len(codes.by_level[levels[0].name]),
        rows=rows,
        levels=figures,
    )


def table(result: dict[str, Any]) -> str:
    """Returns the levels as Markdown, with notes."""
    rows = []
    for level in result["levels"]:
        bits, error = level["bits_per_code"], level["standard_error"]
        change = f"{level['relative_change']:+.3%}" + (f" ± {error:.3%}" if error is not None else "")
        rows.append(
            [level["name"], *(f"{bits[name]:.4f}" for name in PRECISIONS), change, f"{level['kl_nats']:.2g} nats"]
        )
    limit = f", the first {result['rows']} rows of each level" if result["rows"] else ""
    header = ["level", *(f"{name}, bits per code" for name in PRECISIONS), "change", "mean KL(float32, int8)"]
    legend = (
        "*KL*: the Kullback-Leibler divergence between the two distributions of a code, the mean over all codes; "
        "after ±: the standard error of the mean over images."
    )
    notes = [f"{level['name']}: {level['note']}." for level in result["levels"] if level["note"]]
    return "\n\n".join(
        [f"{result['images']} images, {result['codes']}{limit}:", markdown_table(header, rows), legend, *notes]
    )


def _held_out(sampler: Sampler, data: Path, count: int) -> LabelledCodes:
    """Encodes held-out images: images that training with the default split has not seen."""
    manifest = sampler.bundle.manifest
    part = load_for(manifest, data).held_out
    part = part.take(select(part, count))
    labels = part.labels if manifest.classes else None
    return LabelledCodes(
        sampler.encode(part.images),
        check_labels(labels, len(part), manifest),
        f"encoded from held-out images of {data.name}",
    )


def _own_samples(sampler: Sampler, count: int) -> LabelledCodes:
    """Draws codes in float32, so that no data is needed."""
    samples = sampler.sample(count, seeds=1)
    return LabelledCodes(samples.codes, samples.labels, "drawn by the model itself in float32")


def _level(samplers: list[Sampler], index: int, codes: LabelledCodes, rows: int) -> dict[str, Any]:
    """Returns one level's figures as plain JSON types."""
    level = samplers[0].bundle.manifest.levels[index]
    count = len(codes.by_level[level.name])
    nats = np.zeros((len(PRECISIONS), count))  # of each image's codes
    divergence, squares, values = 0.0, 0.0, 0
    # disable=None: no bar unless stderr is a terminal
    for part in tqdm(
        batches_of(count, samplers[0].default_batch_size), desc=level.name, unit="batch", leave=False, disable=None
    ):
        inputs = forcing(codes.by_level, index, codes.labels, part)
        for exact, rounded in zip(*(runs_of(sampler).rows(level, inputs, rows) for sampler in samplers), strict=True):
            p, q = (log_softmax(row.logits.astype(np.float64)) for row in (exact, rounded))  # [W, B, K]
            for number, logp in enumerate((p, q)):
                nats[number, part] -= np.take_along_axis(logp, exact.codes[..., None], 2)[..., 0].sum(0)
            divergence += float((np.exp(p) * (p - q)).sum())
            centred = exact.logits - exact.logits.mean(2, keepdims=True)
            squares, values = squares + float(np.square(centred, dtype=np.float64).sum()), values + centred.size
    positions = rows * level.width
    bits = nats / math.log(2) / positions
    mean = bits.mean(1)
    changes = bits[1] - bits[0]
    deviation = math.sqrt(squares / values)
    return {
        "name": level.name,
        "positions": count * positions,
        "bits_per_code": dict(zip(PRECISIONS, map(float, mean), strict=True)),
        "relative_change": float(mean[1] / mean[0] - 1),
        "standard_error": float(changes.std(ddof=1) / math.sqrt(count) / mean[0]) if count > 1 else None,
        "kl_nats": divergence / (count * positions),
        "logits_std": deviation,
        "note": FLAT_NOTE if deviation < FLAT else "",
    }
