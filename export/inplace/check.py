"""Measurements on images: how well checkpoints model them, and with which variant of their residual blocks.

The wrong variant, and a prior of another VQ-VAE, have the right names and shapes; only data shows the error.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latentloop.errors import InputError
from latentloop.export.checkpoints.checkpoint import Checkpoint
from latentloop.export.checkpoints.lazy_arrays import arrays_of
from latentloop.export.configuration import PriorConfig, VqvaeConfig
from latentloop.export.data.codes import Codes
from latentloop.export.data.datasets import Data, Dataset, batches_of
from latentloop.export.data.pixels import to_signed
from latentloop.export.evaluation import bits_per_code
from latentloop.export.inplace.variant import VARIANTS, own_and_other
from latentloop.export.models.build import build_prior, build_vqvae

MAX_IMAGES = 64
BATCH = 8
BUDGET = 2e12  # multiply-adds of the priors in both variants: half a minute on two cores
DECISIVE = {"dB": 2.0, "bits per code": 0.3}  # a variant that is better by this much is the right one


@dataclass(frozen=True)
class Measurement:
    """One checkpoint's figure of merit in its own variant and in the other one."""

    name: str  # vqvae, or a level
    inplace: bool  # its own variant
    unit: str  # "dB" of the reconstructions' PSNR, or "bits per code"
    own: float
    other: float
    uniform: float = math.inf  # bits per code of the uniform distribution

    @property
    def gain(self) -> float:
        """By how much the other variant is better."""
        return self.other - self.own if self.unit == "dB" else self.own - self.other

    @property
    def is_other_better(self) -> bool:
        """Whether the other variant is clearly better; False for a prior that is worse than guessing in both."""
        return self.gain >= DECISIVE[self.unit] and not self.is_worse_than_guessing

    @property
    def is_worse_than_guessing(self) -> bool:
        """Whether a prior needs at least as many bits as the uniform distribution in both variants."""
        return not min(self.own, self.other) < self.uniform

    def __str__(self) -> str:
        subject = f"{self.name} prior"
        if self.name == "vqvae":
            subject = "reconstruction" if self.unit == "dB" else "the priors on the VQ-VAE's codes"
        own, other = VARIANTS[self.inplace], VARIANTS[not self.inplace]
        guessing = f" (guessing: {self.uniform:.2f})" if self.uniform < math.inf else ""
        return f"{subject}: {self.own:.2f} {self.unit} in {own}, {self.other:.2f} in {other}{guessing}"


MeasuredImages = tuple[int, Measurement]  # the number of images, and what was measured on them


@dataclass(frozen=True)
class Report:
    """Measurements as ``lines``, ``warnings`` about them, and an ``error`` if the checkpoints must not be exported.

    ``measured`` are the VQ-VAE's reconstructions, and the priors on the codes of their VQ-VAE.
    """

    lines: list[str]
    warnings: list[str]
    error: str | None = None
    measured: tuple[MeasuredImages, ...] = ()


def check_against_data(
    vqvae: Checkpoint, priors: Mapping[str, Checkpoint], data: Data, named: Collection[str]
) -> Report:
    """Measures reconstructions and bits per code in both variants, on held-out images if there are enough.

    ``priors``: by level. ``named``: the checkpoints whose variant the user named. If the other variant is clearly
    better, the report has an error, or a warning for a named checkpoint.
    """
    images = _random_images(data, MAX_IMAGES)
    codec, codes, other_codes = _measure_codec(vqvae, images)
    lines, reconstruction = [f"{len(images)} images: {codec}"], codec
    few = images.take(np.arange(affordable(priors, len(images))))
    keeps_variant = "vqvae" in named or not codec.is_other_better
    measured = _measure_priors(priors, codes if keeps_variant else other_codes, few, data.classes)
    if keeps_variant and codec.gain > -DECISIVE["dB"] and any(each.is_worse_than_guessing for each in measured):
        # The priors know the codes that they were trained on, also if the variants' reconstructions hardly differ.
        on_other = _measure_priors(priors, other_codes, few, data.classes)
        own_bits, other_bits = (fmean(min(each.own, each.other) for each in m) for m in (measured, on_other))
        uniform = fmean(each.uniform for each in measured)
        by_priors = Measurement("vqvae", codec.inplace, "bits per code", own_bits, other_bits, uniform)
        if by_priors.is_other_better:
            codec = by_priors
            lines.append(f"{len(few)} images: {codec}")
            measured = measured if "vqvae" in named else on_other
    lines += [f"{len(few)} images: {each}" for each in measured]
    names = {each.name for each in measured}
    lines += [f"{name} prior: not measured, its classes are not the data's" for name in priors if name not in names]
    figures = ((len(images), reconstruction), *((len(few), each) for each in measured))
    return Report(lines, *_judge(codec, measured, named), figures)


def check_reconstruction(vqvae: Checkpoint, data: Data) -> None:
    """Raises InputError if a VQ-VAE from another implementation clearly has the other variant.

    To be called if the user did not name the variant.
    """
    if "layout" not in vqvae.provenance:  # LatentLoop's own checkpoints record their variant
        return
    codec, _, _ = _measure_codec(vqvae, _random_images(data, MAX_IMAGES))
    _, error = _judge(codec, [], ())
    if error:
        raise InputError(error)


def _judge(codec: Measurement, priors: list[Measurement], named: Collection[str]) -> tuple[list[str], str | None]:
    """Returns warnings, and an error if the data contradicts a variant that the user did not name."""
    # A named variant of the VQ-VAE that is wrong gives other codes, on which the priors' variants cannot be measured.
    reliable = [] if codec.is_other_better and "vqvae" in named else priors
    wrong = [each for each in (codec, *reliable) if each.is_other_better]
    unnamed = [each for each in wrong if each.name not in named]
    error = None
    if unnamed:
        # A prior with a small difference follows one with a clear difference: most files come from one release.
        unsure = [each for each in priors if each.name not in named and each not in unnamed and each.gain > 0]
        along = [each for each in unsure if any(other in priors and other.inplace == each.inplace for other in unnamed)]
        options = _options([*unnamed, *along])
        error = (
            f"the data shows that the files were trained in the other variant: {'; '.join(map(str, unnamed))}; pass "
            f"{options}, or name the current variant to export it anyway"
        )
    doubtful = [each for each in wrong if each.name in named]
    warnings = [f"{each}: it was probably not trained in the variant that was named" for each in doubtful]
    for each in priors:
        if each.is_worse_than_guessing:
            warnings.append(
                f"the {each.name} prior needs {each.own:.2f} bits per code, and guessing {each.uniform:.2f} (log2 of "
                "its codes): it is probably of another VQ-VAE, or of other images than these"
            )
    return warnings, error


def _options(measurements: list[Measurement]) -> str:
    """Returns the command-line options for the other variants."""
    options = [f"--{'no-' * each.inplace}vqvae-inplace" for each in measurements if each.name == "vqvae"]
    for inplace in (False, True):
        levels = [each.name for each in measurements if each.inplace == inplace and each.name != "vqvae"]
        options += [f"--{'no-' * inplace}priors-inplace {','.join(levels)}"] * bool(levels)
    return " ".join(options)


def _random_images(data: Data, most: int) -> Dataset:
    """Returns up to ``most`` random images, held-out ones first."""
    rng = np.random.default_rng(0)
    held_out = data.held_out.take(rng.permutation(len(data.held_out))[:most])
    rest = data.training.take(rng.permutation(len(data.training))[: most - len(held_out)])
    labels = None
    if held_out.labels is not None and rest.labels is not None:
        labels = np.concatenate([held_out.labels, rest.labels])
    return Dataset(np.concatenate([held_out.images, rest.images]), labels)


def _measure_codec(vqvae: Checkpoint, images: Dataset) -> tuple[Measurement, dict[str, Tensor], dict[str, Tensor]]:
    """Returns the PSNR, and the codes by level in the VQ-VAE's own variant and in the other one."""
    config = vqvae.config
    assert isinstance(config, VqvaeConfig)
    (own, codes), (other, other_codes) = (_reconstruct(each, images.images) for each in own_and_other(vqvae))
    return Measurement("vqvae", config.inplace, "dB", own, other), codes, other_codes


@torch.no_grad()
def _reconstruct(vqvae: Checkpoint, images: NDArray[np.uint8]) -> tuple[float, dict[str, Tensor]]:
    """Returns the reconstructions' peak signal-to-noise ratio in dB, and the codes by level, int32 [N, h, w]."""
    model = build_vqvae(vqvae, "vqvae")
    error, codes = 0.0, []
    for part in batches_of(len(images), BATCH):
        x = to_signed(torch.from_numpy(images[part]))
        levels = model.quantise(x)
        decoded = model.decode_codewords([level.codewords for level in levels]).clamp(-1, 1)
        error += float((decoded - x).square().sum(dtype=torch.float64)) / 4  # on the scale 0 to 1
        codes.append([level.codes.to(torch.int32) for level in levels])
    decibels = -10 * math.log10(error / images.size) if error else math.inf
    joined = (torch.cat(level) for level in zip(*codes, strict=True))
    return decibels, dict(zip(model.config.level_names, joined, strict=True))


def affordable(priors: Mapping[str, Checkpoint], count: int) -> int:
    """Returns how many of ``count`` images the budget allows these priors, at least one.

    A position needs every weight at most once.
    """
    work = 0.0
    for prior in priors.values():
        assert isinstance(prior.config, PriorConfig)
        weights = sum(array.size for array in arrays_of(prior.weights).values())
        work += 2.0 * weights * prior.config.height * prior.config.width
    return max(1, min(count, int(BUDGET / max(work, 1.0))))


def _measure_priors(
    priors: Mapping[str, Checkpoint], levels: Mapping[str, Tensor], images: Dataset, classes: tuple[str, ...]
) -> list[Measurement]:
    """Returns the bits per code of each prior in both variants.

    ``levels``: codes by level, of which the first are those of ``images``. Skips a prior with other classes than the
    data's.
    """
    measured: list[Measurement] = []
    upper = None
    for name, codes in levels.items():
        codes = codes[: len(images)]
        prior = priors.get(name)
        if prior is not None:
            config = prior.config
            assert isinstance(config, PriorConfig)
            labels = _labels(prior, images, classes)
            if labels is not None or not config.classes:
                inputs = Codes(codes, upper if config.condition_codes else None, labels)
                # One model after the other: a prior can need much of the memory.
                own, other = (bits_per_code(build_prior(each, name), inputs, batch=1) for each in own_and_other(prior))
                uniform = math.log2(config.codebook_size)
                measured.append(Measurement(name, config.inplace, "bits per code", own, other, uniform))
        upper = codes
    return measured


def _labels(prior: Checkpoint, images: Dataset, classes: tuple[str, ...]) -> Tensor | None:
    """Returns the images' labels [N] in the prior's numbering; None if it has no classes, or other ones."""
    config, names = prior.config, prior.provenance.get("classes")
    assert isinstance(config, PriorConfig)
    if images.labels is None or not config.classes or len(classes) != config.classes:
        return None
    if not isinstance(names, list) or not names or names == list(classes):
        return torch.from_numpy(images.labels)
    if sorted(map(str, names)) != sorted(classes):
        return None
    return torch.from_numpy(np.array([names.index(name) for name in classes])[images.labels])
