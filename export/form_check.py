"""What images say of checkpoints: how well they know them, and in which form of their residual blocks.

A wrong form, or a prior of another VQ-VAE, fits in every name and shape; only data tells.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latentloop.errors import InputError
from latentloop.export.checkpoint import Checkpoint
from latentloop.export.configuration import PriorConfig, VqvaeConfig
from latentloop.export.forms import FORMS, in_form
from latentloop.export.models.build import build_prior, build_vqvae
from latentloop.export.train.codes import Codes
from latentloop.export.train.data import Data, Dataset, batches_of
from latentloop.export.train.pixels import to_signed
from latentloop.export.train.prior import bits_per_code

MOST_IMAGES = 64
BATCH = 8
BUDGET = 2e12  # multiply-adds that the priors may take, in both forms: half a minute on two cores
DECISIVE = {"dB": 2.0, "bits a code": 0.3}  # a form that is better by this is the right one


@dataclass(frozen=True)
class Finding:
    """One checkpoint's figure in its own form and in the other one."""

    name: str  # vqvae, or a level
    inplace: bool  # its own form
    unit: str  # dB of its reconstructions, or bits a code
    own: float
    other: float

    @property
    def is_other_better(self) -> bool:
        """Whether the other form is better beyond doubt."""
        gain = self.other - self.own if self.unit == "dB" else self.own - self.other
        return gain >= DECISIVE[self.unit]

    @property
    def option(self) -> str:
        """What names the other form on the command line."""
        no = "no-" if self.inplace else ""
        return f"--{no}vqvae-inplace" if self.name == "vqvae" else f"--{no}priors-inplace {self.name}"

    def __str__(self) -> str:
        figures = f"{self.own:.2f} {self.unit} in {FORMS[self.inplace]}, {self.other:.2f} in {FORMS[not self.inplace]}"
        return f"{'reconstruction' if self.name == 'vqvae' else f'{self.name} prior'}: {figures}"


@dataclass(frozen=True)
class Report:
    """``lines`` say what was measured, ``warnings`` what is wrong with it."""

    lines: list[str]
    warnings: list[str]


def check_against_data(
    vqvae: Checkpoint, priors: Mapping[str, Checkpoint], data: Data, named: Collection[str]
) -> Report:
    """Measures reconstruction and bits a code in both forms, on held-out images where they suffice.

    ``priors`` by level, top first; ``named``: the checkpoints whose form the user named. Where the other form is better
    beyond doubt, raises InputError; for a named one that is a warning.
    """
    config = vqvae.config
    assert isinstance(config, VqvaeConfig)
    images = _some(data, MOST_IMAGES)
    forms = (config.inplace, not config.inplace)
    measured = {form: _reconstruct(in_form(vqvae, form), images.images) for form in forms}
    found = [Finding("vqvae", config.inplace, "dB", *(measured[form][0] for form in forms))]
    lines, warnings = [f"{len(images)} images: {found[0]}"], []
    # What the priors learnt is what the VQ-VAE was meant to be.
    is_meant = "vqvae" in named or not found[0].is_other_better
    levels = dict(zip(config.level_names, measured[config.inplace == is_meant][1], strict=True))
    count = _affordable(priors, len(images))
    upper = None
    for name, codes in levels.items():
        if name in priors:
            each = _measure(name, priors[name], codes[:count], upper, _labels(priors[name], images, data.classes))
            if each is None:
                lines.append(f"{name} prior: not measured, the data has other classes than it was trained with")
            else:
                found.append(each)
                lines.append(f"{count} images: {each}")
                warnings += _worse_than_guessing(each, priors[name])
        upper = codes[:count]
    wrong = [each for each in found if each.is_other_better]
    unnamed = [each for each in wrong if each.name not in named]
    if unnamed:
        raise InputError(
            f"the data says that the files were trained in another form: {'; '.join(map(str, unnamed))}; pass "
            f"{' '.join(each.option for each in unnamed)}, or name the form that you want all the same"
        )
    warnings += [f"{each}: the form that was named is probably not the one it was trained in" for each in wrong]
    return Report(lines, warnings)


def _some(data: Data, most: int) -> Dataset:
    """Up to ``most`` images at random, held-out ones first."""
    rng = np.random.default_rng(0)
    held_out = data.held_out.take(rng.permutation(len(data.held_out))[:most])
    rest = data.training.take(rng.permutation(len(data.training))[: most - len(held_out)])
    labels = None
    if held_out.labels is not None and rest.labels is not None:
        labels = np.concatenate([held_out.labels, rest.labels])
    return Dataset(np.concatenate([held_out.images, rest.images]), labels)


@torch.no_grad()
def _reconstruct(vqvae: Checkpoint, images: NDArray[np.uint8]) -> tuple[float, list[Tensor]]:
    """Peak signal-to-noise ratio of the reconstructions in dB, and the codes by level, int16 [N, h, w]."""
    model = build_vqvae(vqvae, "vqvae")
    error, codes = 0.0, []
    for part in batches_of(len(images), BATCH):
        x = to_signed(torch.from_numpy(images[part]))
        levels = model.quantise(x)
        decoded = model.decode_codewords([level.codewords for level in levels]).clamp(-1, 1)
        error += float((decoded - x).square().sum(dtype=torch.float64)) / 4  # on the scale 0 to 1
        codes.append([level.codes.to(torch.int32) for level in levels])
    decibels = -10 * math.log10(error / images.size) if error else math.inf
    return decibels, [torch.cat(level) for level in zip(*codes, strict=True)]


def _affordable(priors: Mapping[str, Checkpoint], count: int) -> int:
    """As many of ``count`` images as the budget allows, at least one: a position takes every weight once or less."""
    work = 0.0
    for prior in priors.values():
        assert isinstance(prior.config, PriorConfig)
        weights = sum(value.size for value in prior.weights.values())
        work += 2.0 * weights * prior.config.height * prior.config.width
    return max(1, min(count, int(BUDGET / max(work, 1.0))))


def _measure(
    name: str, prior: Checkpoint, codes: Tensor, upper: Tensor | None, labels: NDArray[np.int64] | None
) -> Finding | None:
    """Bits a code of the codes [N, h, w] below ``upper``; None for a prior whose labels are not known."""
    config = prior.config
    assert isinstance(config, PriorConfig)
    if config.classes and labels is None:
        return None
    given = Codes(
        codes,
        upper if config.condition_codes else None,
        torch.from_numpy(labels[: len(codes)]) if labels is not None else None,
    )
    bits = [
        bits_per_code(build_prior(in_form(prior, form), name), given, batch=1)
        for form in (config.inplace, not config.inplace)
    ]
    return Finding(name, config.inplace, "bits a code", *bits)


def _labels(prior: Checkpoint, images: Dataset, classes: tuple[str, ...]) -> NDArray[np.int64] | None:
    """The images' labels [N] as the prior numbers its classes, or None where it has none, or others than the data."""
    config, names = prior.config, prior.provenance.get("classes")
    assert isinstance(config, PriorConfig)
    if images.labels is None or not config.classes or len(classes) != config.classes:
        return None
    if not names or list(names) == list(classes):
        return images.labels
    if sorted(map(str, names)) != sorted(classes):
        return None
    return np.array([list(names).index(name) for name in classes])[images.labels]


def _worse_than_guessing(finding: Finding, prior: Checkpoint) -> list[str]:
    assert isinstance(prior.config, PriorConfig)
    guessing = math.log2(prior.config.codebook_size)
    if finding.own < guessing or finding.is_other_better:
        return []
    return [
        f"the {finding.name} prior needs {finding.own:.2f} bits a code, and guessing {guessing:.2f} (log2 of "
        f"{prior.config.codebook_size} codes): it is probably of another VQ-VAE, or of other images than these"
    ]
