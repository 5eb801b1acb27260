"""``latentloop bench samples``: how good reconstructions and samples are, and how new, against held-out images."""

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
from latentloop.bench.machine.environment import environment
from latentloop.bench.quality.dataset import choose, in_turn, load_for
from latentloop.bench.quality.neighbours import K
from latentloop.bench.quality.novelty import ROWS, Images, Novelty, novelty, picture, pixels
from latentloop.bench.quality.recognition import accuracy, likeness, recognise
from latentloop.bench.quality.reconstruction import code_use, mean_squared_errors, psnr
from latentloop.bench.report.result_files import result
from latentloop.cli.progress import decode, encode, parts
from latentloop.errors import InputError
from latentloop.export.train.data.datasets import Dataset
from latentloop.sampling.results import Progress, Samples

Temperature = float | Mapping[str, float]


@dataclass(frozen=True)
class Material:
    """N images of each kind: held-out ones, their codes by level and reconstructions, and samples.

    ``training`` are all training images, ``compared`` the indices of N among them.
    """

    held_out: Dataset
    codes: dict[str, NDArray[np.int64]]
    reconstructions: Images
    samples: Samples
    training: Dataset
    compared: NDArray[np.int64]
    description: str


def measure(
    bundle: Bundle, data: Path, count: int, seed: int, temperature: Temperature, threads: int
) -> tuple[dict[str, Any], Images]:
    """The figures as plain JSON types, and a picture of samples beside their nearest training images.

    ``count`` is the number of samples, held-out and training images, each; fewer where the data has fewer. Samples
    take the seeds from ``seed`` on, and the classes in turn. What a classifier tells is null for a bundle without one.
    Raises InputError where bundle and data do not fit.
    """
    sampler = Sampler(bundle, "cpu", threads)
    manifest = bundle.manifest
    material = _gather(sampler, data, count, seed, temperature)
    near = {"pixels": novelty(*map(pixels, _three(material)))}
    told: dict[str, Any] = {"recognition": None, "likeness": None}
    if manifest.classifier is not None:
        told, near["features"] = _by_classifier(sampler, material)
    found = result(
        "samples",
        environment(threads),
        bundle={"name": bundle.path.name, "weights_sha256": manifest.files[manifest.weights].sha256},
        data=material.description,
        images=len(material.held_out),
        seed=seed,
        temperature=temperature,
        reconstruction=_reconstruction(material, manifest.classes),
        **_likelihood(sampler, material),
        **told,
        novelty={kind: of.to_json() for kind, of in near.items()},
        neighbours=_neighbours(material.samples, manifest.classes, near),
    )
    return found, picture(material.samples.images, material.training.images, list(near.values()))


def _gather(sampler: Sampler, folder: Path, count: int, seed: int, temperature: Temperature) -> Material:
    data = load_for(sampler.bundle.manifest, folder)
    n = min(count, len(data.held_out), len(data.training))
    if n <= K:
        raise InputError(
            f"{n} images of each kind to compare ({folder}: {data.description}; --samples {count}), expected "
            f"at least {K + 1}"
        )
    held_out = data.held_out.take(choose(data.held_out, n))
    labels = in_turn(held_out.labels) if held_out.labels is not None and sampler.bundle.manifest.classes else None
    samples = _draw(sampler, n, labels, seed, temperature)
    codes = encode(sampler, held_out.images)
    reconstructions = decode(sampler, codes)
    compared = choose(data.training, n, held_out.labels)
    return Material(held_out, codes, reconstructions, samples, data.training, compared, data.description)


def _draw(sampler: Sampler, n: int, labels: NDArray[np.int64] | None, seed: int, temperature: Temperature) -> Samples:
    rows = sum(level.height for level in sampler.bundle.manifest.levels) * -(-n // min(n, sampler.default_batch))
    # disable=None: no bar unless stderr is a terminal
    with tqdm(total=rows, desc="sample", unit="row", delay=1, leave=False, disable=None) as bar:

        def after_row(progress: Progress) -> None:
            bar.update()

        return sampler.sample(n, labels=labels, seeds=seed, temperature=temperature, callback=after_row)


def _three(material: Material) -> tuple[Images, Images, Images]:
    """What novelty asks about: samples, held-out images, all training images."""
    return material.samples.images, material.held_out.images, material.training.images


def _reconstruction(material: Material, names: tuple[str, ...]) -> dict[str, Any]:
    """Of all images, and of each class that there are any of."""
    errors = mean_squared_errors(material.held_out.images, material.reconstructions)
    labels = material.held_out.labels
    by_class = {}
    if labels is not None:
        for index, name in enumerate(names):
            mine = errors[labels == index]
            if len(mine):
                by_class[name] = _of_errors(mine)
    return {**_of_errors(errors), "classes": by_class}


def _of_errors(errors: NDArray[np.float64]) -> dict[str, float]:
    mean = errors.mean(keepdims=True)
    return {
        "mse": float(mean[0]),
        "mean_psnr": float(psnr(errors).mean()),
        "psnr_of_mean_mse": float(psnr(mean)[0]),
    }


def _likelihood(sampler: Sampler, material: Material) -> dict[str, Any]:
    """Bits that the priors need for the held-out images' codes, and how these use the codebooks."""
    labels = material.held_out.labels if sampler.bundle.manifest.classes else None
    bits = dict.fromkeys(material.codes, 0.0)
    n = len(material.held_out)
    for part in parts(n, "likelihood"):
        chosen = {name: codes[part] for name, codes in material.codes.items()}
        logp = sampler.log_likelihood(chosen, None if labels is None else labels[part])
        for name, values in logp.items():
            bits[name] -= float(values.sum()) / math.log(2) / n
    levels = []
    for level in sampler.bundle.manifest.levels:
        used, perplexity = code_use(material.codes[level.name], level.codebook_size)
        levels.append(
            {
                "name": level.name,
                "positions": level.height * level.width,
                "codes": level.codebook_size,
                "codes_used": used,
                "perplexity": perplexity,
                "bits_per_code": bits[level.name] / (level.height * level.width),
                "bits_per_image": bits[level.name],
            }
        )
    total = sum(bits.values())
    return {
        "levels": levels,
        "bits_per_image": total,
        "bits_per_value": total / math.prod(sampler.bundle.manifest.image),
    }


def _by_classifier(sampler: Sampler, material: Material) -> tuple[dict[str, Any], Novelty]:
    """The classes that it finds, how alike its features are to those of held-out images, and how new by features."""
    names, compared = sampler.bundle.manifest.classes, material.compared
    held_out, samples, training = material.held_out, material.samples, material.training
    found = {
        "samples": (samples.labels, *recognise(sampler, samples.images, "samples")),
        "reconstructions": (held_out.labels, *recognise(sampler, material.reconstructions, "reconstructions")),
        "held_out": (held_out.labels, *recognise(sampler, held_out.images, "held-out images")),
        "training": (training.labels, *recognise(sampler, training.images, "training images")),
    }
    labels, classes, features = found["training"]
    assert labels is not None  # a bundle's classifier is of its classes, and load_for wants them of the data
    found["training"] = labels[compared], classes[compared], features[compared]
    real = found["held_out"][2]
    told = {
        "recognition": {
            kind: accuracy(labels, classes, names) for kind, (labels, classes, _) in found.items() if labels is not None
        },
        "likeness": {kind: likeness(real, of[2]) for kind, of in found.items() if kind != "held_out"},
    }
    return told, novelty(found["samples"][2], real, features)


def _neighbours(samples: Samples, names: tuple[str, ...], near: Mapping[str, Novelty]) -> list[dict[str, Any]]:
    """The rows of the picture: each sample's nearest training images, by their number in the training part."""
    found = []
    for row, seed in enumerate(samples.seeds[:ROWS].tolist()):
        of: dict[str, Any] = {"seed": seed, "class": None if samples.labels is None else names[samples.labels[row]]}
        for kind, by in near.items():
            of[kind] = {"indices": by.indices[row].tolist(), "distances": by.distances[row].tolist()}
        found.append(of)
    return found
