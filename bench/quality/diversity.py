"""``latentloop bench samples --judge``: diversity against fidelity, over settings of the draw and rejection sampling.

VQ-VAE-2, section 3.3: rejecting samples that a classifier does not recognise increases their fidelity and decreases
their diversity. Here a second classifier, the judge, which never chose a sample, measures both.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentloop import Bundle, Sampler
from latentloop.bench.figures.result_files import new_result
from latentloop.bench.figures.text import markdown_table
from latentloop.bench.machine.environment import environment
from latentloop.bench.quality.dataset import load_for, select
from latentloop.bench.quality.judge import Judge
from latentloop.bench.quality.neighbours import K
from latentloop.bench.quality.recognition import accuracy, compare_features
from latentloop.cli.progress import Bar
from latentloop.errors import InputError
from latentloop.evaluation.selection import interleaved
from latentloop.export.data.datasets import Dataset
from latentloop.sampling.classifier import classifier_file
from latentloop.sampling.rejection import Pool, candidates
from latentloop.sampling.results import Samples, joined
from latentloop.sampling.sample_request import SampleRequest
from latentloop.sampling.sampler import runs_of

KEEP = "keep"
Sweeps = Mapping[str, tuple[float, ...]]  # values by "keep", or the name of a setting of the draw


def measure(
    bundle: Bundle, data: Path, sweeps: Sweeps, judge: Path, count: int, seed: int, threads: int
) -> dict[str, Any]:
    """Returns the figures of every value of every setting as plain JSON types.

    Each value is for all levels, the other settings at their defaults. ``count`` samples with consecutive seeds from
    ``seed`` on, less if the data has fewer held-out images, and the classes in turn. Raises InputError if bundle, data
    and judge do not match.
    """
    sampler = Sampler(bundle, "cpu", threads)
    if KEEP in sweeps:
        classifier_file(bundle)
    held_out, description = _held_out(bundle, data, count)
    judged = Judge.open(judge, sampler, held_out.images, threads)
    assert held_out.labels is not None  # the bundle has classes, so load_for requires classes of the data
    labels = interleaved(held_out.labels)
    real = judged(held_out.images)
    curves = []
    for setting, values in sweeps.items():
        points = []
        for value, samples, drawn, seconds in _drawn(sampler, setting, values, labels, seed):
            predicted, features = judged(samples.images)
            correct = accuracy(labels, predicted, bundle.manifest.classes)["accuracy"]
            points.append({"value": value, "drawn": drawn, "seconds": seconds, "accuracy": correct})
            points[-1].update(compare_features(real[1], features))
        curves.append({"setting": setting, "points": points})
    return new_result(
        "diversity",
        environment(threads),
        bundle={"name": bundle.path.name, "weights_sha256": bundle.manifest.files[bundle.manifest.weights].sha256},
        judge=judged.description,
        data=description,
        images=len(held_out),
        seed=seed,
        held_out={"accuracy": accuracy(held_out.labels, real[0], bundle.manifest.classes)["accuracy"]},
        curves=curves,
    )


def _held_out(bundle: Bundle, folder: Path, count: int) -> tuple[Dataset, str]:
    """Returns the images to compare with, and a description of the data set."""
    if not bundle.manifest.classes:
        raise InputError(f"{bundle.path} has no classes, so a judge cannot say whether a sample shows its own")
    data = load_for(bundle.manifest, folder)
    n = min(count, len(data.held_out))
    if n <= K:
        raise InputError(f"{folder}: {n} held-out images to compare (--samples {count}), expected at least {K + 1}")
    return data.held_out.take(select(data.held_out, n)), data.description


def _drawn(
    sampler: Sampler, setting: str, values: tuple[float, ...], labels: NDArray[np.int64], seed: int
) -> list[tuple[float, Samples, int, float]]:
    """Returns for every value the samples, how many were drawn for them, and the seconds of the draw."""
    if setting == KEEP:
        return _best(sampler, values, labels, seed)
    results, n = [], len(labels)
    with Bar("image", setting.replace("_", "-")) as bar:
        for value in values:
            started, batches = time.perf_counter(), []
            settings: dict[str, Any] = {setting: value}
            for batch in sampler.stream(n, labels=labels, seeds=seed, **settings):
                batches.append(batch)
                bar.update(len(batch.images), n * len(values))
            results.append((value, joined(batches), n, time.perf_counter() - started))
    return results


def _best(
    sampler: Sampler, fractions: tuple[float, ...], labels: NDArray[np.int64], seed: int
) -> list[tuple[float, Samples, int, float]]:
    """Returns for every fraction the samples that ``sample_best`` keeps. Candidates are drawn once if those of a larger
    fraction are the first ones of the smallest fraction's, which they are unless the classes' numbers differ.
    """
    manifest, runs = sampler.bundle.manifest, runs_of(sampler)
    request = SampleRequest.validated(manifest, len(labels), labels=labels, seeds=seed, settings={})
    chosen = {fraction: candidates(labels, Fraction(str(fraction))) for fraction in fractions}
    groups: list[list[float]] = []  # fractions that share candidates, the smallest first
    for fraction in sorted(fractions):
        wanted = labels[chosen[fraction]]
        for group in groups:
            if np.array_equal(wanted, labels[chosen[group[0]]][: len(wanted)]):
                group.append(fraction)
                break
        else:
            groups.append([fraction])
    results = {}
    for group in groups:
        pools = {fraction: Pool(sampler, labels) for fraction in group}
        indices, done, started = chosen[group[0]], 0, time.perf_counter()
        seeds = np.uint64(seed) + np.arange(len(indices), dtype=np.uint64)
        with Bar("image", f"candidates to keep {group[0]:g}") as bar:
            for batch in runs.stream(request.repeated(indices, seeds)):
                for fraction, pool in pools.items():
                    if (more := min(len(batch.images), len(chosen[fraction]) - done)) > 0:
                        pool.add(batch.take(slice(more)))
                done += len(batch.images)
                bar.update(len(batch.images), len(indices))
        seconds = time.perf_counter() - started
        for fraction, pool in pools.items():
            results[fraction] = fraction, pool.best()[0], len(chosen[fraction]), seconds * len(chosen[fraction]) / done
    return [results[fraction] for fraction in fractions]


def table(result: dict[str, Any]) -> str:
    """Returns the figures as Markdown."""
    judge, n = result["judge"], result["images"]
    rows = [
        [
            curve["setting"].replace("_", "-"),
            f"{point['value']:g}",
            f"{point['accuracy']:.1%}",
            f"{point['precision']:.3f}",
            f"{point['recall']:.3f}",
            f"{point['frechet_distance']:.3g}",
            str(point["drawn"]),
        ]
        for curve in result["curves"]
        for point in curve["points"]
    ]
    header = ["setting", "value", "accuracy", "precision", "recall", "Fréchet distance", "drawn"]
    head = (
        f"{result['bundle']['name']}: {n} samples for each value, seeds from {result['seed']} on, and as many held-out "
        f"images, judged by {judge['file']} ({result['held_out']['accuracy']:.1%} of the held-out images right), which "
        "chose none of them."
    )
    legend = (
        "*accuracy*: the share of samples whose class the judge finds. In its features: *precision*, the share of "
        "samples in the neighbourhood of held-out images; *recall*, the share of held-out images in the neighbourhood "
        "of samples; and the Fréchet distance. *drawn*: of which the samples are chosen."
    )
    return f"{head}\n\n{markdown_table(header, rows)}\n\n{legend}"
