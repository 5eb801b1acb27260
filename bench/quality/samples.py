"""``latentloop bench samples``: quality of reconstructions and samples, and novelty, against held-out images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from latentloop import Bundle, Sampler
from latentloop.bench.figures.result_files import new_result
from latentloop.bench.machine.environment import environment
from latentloop.bench.quality.dataset import load_for, select
from latentloop.bench.quality.neighbours import K
from latentloop.bench.quality.novelty import ROWS, Images, Novelty, novelty, picture, pixels
from latentloop.bench.quality.recognition import accuracy, compare_features, recognise
from latentloop.cli.progress import decode, encode, parts
from latentloop.errors import InputError, plural
from latentloop.evaluation.level_figures import LevelTotals, total_bits
from latentloop.evaluation.pixel_errors import mean_squared_errors, psnr
from latentloop.evaluation.selection import interleaved
from latentloop.export.data.datasets import Dataset
from latentloop.sampling.results import Progress, Samples

Temperature = float | Mapping[str, float]


@dataclass(frozen=True)
class Compared:
    """N images of each kind: held-out images with their codes by level and reconstructions, and samples.

    ``training`` are all training images, ``training_indices`` the N of them that are compared.
    """

    held_out: Dataset
    codes: dict[str, NDArray[np.int64]]
    reconstructions: Images
    samples: Samples
    training: Dataset
    training_indices: NDArray[np.int64]
    description: str


def measure(
    bundle: Bundle, data: Path, count: int, seed: int, temperature: Temperature, threads: int
) -> tuple[dict[str, Any], Images]:
    """Returns the figures as plain JSON types, and a picture of samples beside their nearest training images.

    ``count`` is the number of samples, of held-out and of training images; less if the data has fewer. Samples use
    consecutive seeds from ``seed`` on, and the classes in turn. Figures of a classifier are None for a bundle without
    one. Raises InputError if bundle and data do not match.
    """
    sampler = Sampler(bundle, "cpu", threads)
    manifest = bundle.manifest
    images = _gather(sampler, data, count, seed, temperature)
    novelties = {"pixels": novelty(*map(pixels, _novelty_images(images)))}
    by_classifier: dict[str, Any] = {"recognition": None, "likeness": None}
    if manifest.classifier is not None:
        by_classifier, by_features = _by_classifier(sampler, images)
        if by_features is not None:
            novelties["features"] = by_features
    result = new_result(
        "samples",
        environment(threads),
        bundle={"name": bundle.path.name, "weights_sha256": manifest.files[manifest.weights].sha256},
        data=images.description,
        images=len(images.held_out),
        seed=seed,
        temperature=temperature,
        reconstruction=_reconstruction(images, manifest.classes),
        **_likelihood(sampler, images),
        **by_classifier,
        novelty={kind: measure.to_json() for kind, measure in novelties.items()},
        neighbours=_neighbours(images.samples, manifest.classes, novelties),
    )
    return result, picture(images.samples.images, images.training.images, list(novelties.values()))


def _gather(sampler: Sampler, folder: Path, count: int, seed: int, temperature: Temperature) -> Compared:
    data = load_for(sampler.bundle.manifest, folder)
    n = min(count, len(data.held_out), len(data.training))
    if n <= K:
        raise InputError(
            f"{n} {plural(n, 'image')} of each kind to compare ({folder}: {data.description}; --samples {count}), "
            f"expected at least {K + 1}"
        )
    held_out = data.held_out.take(select(data.held_out, n))
    labels = interleaved(held_out.labels) if held_out.labels is not None and sampler.bundle.manifest.classes else None
    samples = _draw(sampler, n, labels, seed, temperature)
    codes = encode(sampler, held_out.images)
    reconstructions = decode(sampler, codes)
    training_indices = select(data.training, n, held_out.labels)
    return Compared(held_out, codes, reconstructions, samples, data.training, training_indices, data.description)


def _draw(sampler: Sampler, n: int, labels: NDArray[np.int64] | None, seed: int, temperature: Temperature) -> Samples:
    rows = sum(level.height for level in sampler.bundle.manifest.levels) * -(-n // min(n, sampler.default_batch_size))
    # disable=None: no bar unless stderr is a terminal
    with tqdm(total=rows, desc="sample", unit="row", delay=1, leave=False, disable=None) as bar:

        def after_row(progress: Progress) -> None:
            bar.update()

        return sampler.sample(n, labels=labels, seeds=seed, temperature=temperature, callback=after_row)


def _novelty_images(images: Compared) -> tuple[Images, Images, Images]:
    """Returns samples, held-out images and all training images, the arguments of ``novelty``."""
    return images.samples.images, images.held_out.images, images.training.images


def _reconstruction(images: Compared, names: tuple[str, ...]) -> dict[str, Any]:
    """Returns errors over all images, and over the images of each class that has any."""
    errors = mean_squared_errors(images.held_out.images, images.reconstructions)
    labels = images.held_out.labels
    by_class = {}
    if labels is not None:
        for index, name in enumerate(names):
            of_class = errors[labels == index]
            if len(of_class):
                by_class[name] = _error_figures(of_class)
    return {**_error_figures(errors), "classes": by_class}


def _error_figures(errors: NDArray[np.float64]) -> dict[str, float]:
    mean = errors.mean(keepdims=True)
    return {
        "mse": float(mean[0]),
        "mean_psnr": float(psnr(errors).mean()),
        "psnr_of_mean_mse": float(psnr(mean)[0]),
    }


def _likelihood(sampler: Sampler, images: Compared) -> dict[str, Any]:
    """Returns the bits of the held-out images' codes under the priors, and the use of the codebooks."""
    labels = images.held_out.labels if sampler.bundle.manifest.classes else None
    totals = LevelTotals(sampler, labels=labels is not None)
    for part in parts(len(images.held_out), "likelihood"):
        codes = {name: values[part] for name, values in images.codes.items()}
        totals.add(codes, None if labels is None else labels[part])
    levels = totals.results()
    bits = total_bits(levels)
    assert bits is not None  # all levels have priors, because samples were drawn
    total = float(bits.mean())
    return {
        "levels": [
            {
                "name": level.name,
                "positions": level.height * level.width,
                "codes": level.codebook_size,
                "codes_used": level.codes_used,
                "perplexity": level.perplexity,
                "bits_per_code": level.bits_per_code,
                "bits_per_image": level.bits_per_image,
            }
            for level in levels
        ],
        "bits_per_image": total,
        "bits_per_value": total / math.prod(sampler.bundle.manifest.image),
    }


def _by_classifier(sampler: Sampler, images: Compared) -> tuple[dict[str, Any], Novelty | None]:
    """Returns accuracy and feature statistics of each kind of image, and the samples' novelty by features.

    Both are None for a classifier without features.
    """
    names, indices = sampler.bundle.manifest.classes, images.training_indices
    held_out, samples, training = images.held_out, images.samples, images.training
    recognised = {
        "samples": (samples.labels, *recognise(sampler, samples.images, "samples")),
        "reconstructions": (held_out.labels, *recognise(sampler, images.reconstructions, "reconstructions")),
        "held_out": (held_out.labels, *recognise(sampler, held_out.images, "held-out images")),
        "training": (training.labels, *recognise(sampler, training.images, "training images")),
    }
    labels, classes, features = recognised["training"]
    assert labels is not None  # a bundle with a classifier has classes, so load_for requires classes of the data
    recognised["training"] = labels[indices], classes[indices], features[indices]
    real = recognised["held_out"][2]
    recognition = {
        kind: accuracy(labels, classes, names)
        for kind, (labels, classes, _) in recognised.items()
        if labels is not None
    }
    if not real.shape[1]:
        return {"recognition": recognition, "likeness": None}, None
    likeness = {
        kind: compare_features(real, others) for kind, (_, _, others) in recognised.items() if kind != "held_out"
    }
    return {"recognition": recognition, "likeness": likeness}, novelty(recognised["samples"][2], real, features)


def _neighbours(samples: Samples, names: tuple[str, ...], novelties: Mapping[str, Novelty]) -> list[dict[str, Any]]:
    """Returns the picture's rows: each sample's nearest training images by their index in the training part."""
    rows = []
    for index, seed in enumerate(samples.seeds[:ROWS].tolist()):
        label = None if samples.labels is None else names[samples.labels[index]]
        row: dict[str, Any] = {"seed": seed, "class": label}
        for kind, measure in novelties.items():
            row[kind] = {
                "indices": measure.indices[index].tolist(),
                "distances": measure.distances[index].tolist(),
            }
        rows.append(row)
    return rows
