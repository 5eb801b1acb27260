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
from latentloop.export.checkpoints.checkpoint import Checkpoint
from latentloop.export.configuration import PriorConfig, VqvaeConfig
from latentloop.export.forms.form import FORMS, in_form
from latentloop.export.models.build import build_prior, build_vqvae
from latentloop.export.train.data.codes import Codes
from latentloop.export.train.data.datasets import Data, Dataset, batches_of
from latentloop.export.train.data.pixels import to_signed
from latentloop.export.train.evaluation import bits_per_code

MOST_IMAGES = 64
BATCH = 8
BUDGET = 2e12  # multiply-adds that the priors may take, in both forms: half a minute on two cores
DECISIVE = {"dB": 2.0, "bits a code": 0.3}  # a form that is better by this is the right one


@dataclass(frozen=True)
class Finding:
    """One checkpoint's figure in its own form and in the other one."""

    name: str  # vqvae, or a level
    inplace: bool  # its own form
    unit: str  # dB of reconstructions, or bits a code
    own: float
    other: float
    guessing: float = math.inf  # bits a code that need no model

    @property
    def gain(self) -> float:
        """By how much the other form is better."""
        return self.other - self.own if self.unit == "dB" else self.own - self.other

    @property
    def is_other_better(self) -> bool:
        """Whether the other form is better beyond doubt, which a prior that knows nothing of the codes cannot tell."""
        return self.gain >= DECISIVE[self.unit] and not self.is_worse_than_guessing

    @property
    def is_worse_than_guessing(self) -> bool:
        """Whether neither form of a prior knows anything of the codes."""
        return not min(self.own, self.other) < self.guessing

    def __str__(self) -> str:
        what = f"{self.name} prior"
        if self.name == "vqvae":
            what = "reconstruction" if self.unit == "dB" else "the priors on the VQ-VAE's codes"
        figures = f"{self.own:.2f} {self.unit} in {FORMS[self.inplace]}, {self.other:.2f} in {FORMS[not self.inplace]}"
        guessing = f" (guessing: {self.guessing:.2f})" if self.guessing < math.inf else ""
        return f"{what}: {figures}{guessing}"


@dataclass(frozen=True)
class Report:
    """``lines`` say what was measured, ``warnings`` what is wrong with it, ``error`` why it must not be exported so."""

    lines: list[str]
    warnings: list[str]
    error: str | None = None


def check_against_data(
    vqvae: Checkpoint, priors: Mapping[str, Checkpoint], data: Data, named: Collection[str]
) -> Report:
    """Measures reconstruction and bits a code in both forms, on held-out images where they suffice.

    ``priors`` by level; ``named``: the checkpoints whose form the user named. That the other form is better beyond
    doubt is an error, and for a named one a warning.
    """
    images = _some(data, MOST_IMAGES)
    codec, codes, other_codes = _measure_codec(vqvae, images)
    lines = [f"{len(images)} images: {codec}"]
    few = images.take(np.arange(_affordable(priors, len(images))))
    is_meant = "vqvae" in named or not codec.is_other_better
    found = _measure(priors, codes if is_meant else other_codes, few, data.classes)
    if is_meant and codec.gain > -DECISIVE["dB"] and any(each.is_worse_than_guessing for each in found):
        # The priors know which codes they learnt: they tell a form that hardly changes the reconstructions.
        on_other = _measure(priors, other_codes, few, data.classes)
        bits, guessing = [_mean_of_best(each) for each in (found, on_other)], _mean([each.guessing for each in found])
        by_priors = Finding("vqvae", codec.inplace, "bits a code", bits[0], bits[1], guessing)
        if by_priors.is_other_better:
            codec = by_priors
            lines.append(f"{len(few)} images: {codec}")
            found = found if "vqvae" in named else on_other
    lines += [f"{len(few)} images: {each}" for each in found]
    measured = {each.name for each in found}
    lines += [f"{name} prior: not measured, its classes are not the data's" for name in priors if name not in measured]
    return Report(lines, *_judge(codec, found, named))


def check_reconstruction(vqvae: Checkpoint, data: Data) -> None:
    """Raises InputError where a VQ-VAE of the common layout, whose form nobody named, is beyond doubt of the other."""
    if "layout" not in vqvae.provenance:  # LatentLoop's own say their form
        return
    codec, _, _ = _measure_codec(vqvae, _some(data, MOST_IMAGES))
    _, error = _judge(codec, [], ())
    if error:
        raise InputError(error)


def _judge(codec: Finding, found: list[Finding], named: Collection[str]) -> tuple[list[str], str | None]:
    """Warnings, and perhaps an error: a form that nobody named is the wrong one."""
    # A prior's form shows on the codes that it learnt: not where a form that was named gives other ones.
    trusted = [] if codec.is_other_better and "vqvae" in named else found
    wrong = [each for each in (codec, *trusted) if each.is_other_better]
    unnamed = [each for each in wrong if each.name not in named]
    error = None
    if unnamed:
        # A prior that tells little goes with one that tells much: most files come from one release.
        unsure = [each for each in found if each.name not in named and each not in unnamed and each.gain > 0]
        along = [each for each in unsure if any(other in found and other.inplace == each.inplace for other in unnamed)]
        options = _options([*unnamed, *along])
        error = (
            f"the data says that the files were trained in another form: {'; '.join(map(str, unnamed))}; pass "
            f"{options}, or name the form that you want all the same"
        )
    doubted = [each for each in wrong if each.name in named]
    warnings = [f"{each}: the form that was named is probably not the one it was trained in" for each in doubted]
    for each in found:
        if each.is_worse_than_guessing:
            warnings.append(
                f"the {each.name} prior needs {each.own:.2f} bits a code, and guessing {each.guessing:.2f} (log2 of "
                "its codes): it is probably of another VQ-VAE, or of other images than these"
            )
    return warnings, error


def _options(findings: list[Finding]) -> str:
    """What names the other forms on the command line."""
    found = [f"--{'no-' * each.inplace}vqvae-inplace" for each in findings if each.name == "vqvae"]
    for inplace in (False, True):
        levels = [each.name for each in findings if each.inplace == inplace and each.name != "vqvae"]
        found += [f"--{'no-' * inplace}priors-inplace {','.join(levels)}"] * bool(levels)
    return " ".join(found)


def _some(data: Data, most: int) -> Dataset:
    """Up to ``most`` images at random, held-out ones first."""
    rng = np.random.default_rng(0)
    held_out = data.held_out.take(rng.permutation(len(data.held_out))[:most])
    rest = data.training.take(rng.permutation(len(data.training))[: most - len(held_out)])
    labels = None
    if held_out.labels is not None and rest.labels is not None:
        labels = np.concatenate([held_out.labels, rest.labels])
    return Dataset(np.concatenate([held_out.images, rest.images]), labels)


def _measure_codec(vqvae: Checkpoint, images: Dataset) -> tuple[Finding, dict[str, Tensor], dict[str, Tensor]]:
    """The reconstructions' figures, and the codes by level in the VQ-VAE's own form and in the other."""
    config = vqvae.config
    assert isinstance(config, VqvaeConfig)
    (own, codes), (other, other_codes) = (
        _reconstruct(in_form(vqvae, form), images.images) for form in (config.inplace, not config.inplace)
    )
    return Finding("vqvae", config.inplace, "dB", own, other), codes, other_codes


@torch.no_grad()
def _reconstruct(vqvae: Checkpoint, images: NDArray[np.uint8]) -> tuple[float, dict[str, Tensor]]:
    """Peak signal-to-noise ratio of the reconstructions in dB, and the codes by level, int32 [N, h, w]."""
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


def _affordable(priors: Mapping[str, Checkpoint], count: int) -> int:
    """As many of ``count`` images as the budget allows, at least one: a position takes every weight once or less."""
    work = 0.0
    for prior in priors.values():
        assert isinstance(prior.config, PriorConfig)
        weights = sum(value.size for value in prior.weights.values())
        work += 2.0 * weights * prior.config.height * prior.config.width
    return max(1, min(count, int(BUDGET / max(work, 1.0))))


def _measure(
    priors: Mapping[str, Checkpoint], levels: Mapping[str, Tensor], images: Dataset, classes: tuple[str, ...]
) -> list[Finding]:
    """Bits a code of each prior on the first codes of ``levels``, which are those of ``images``.

    A prior with other classes than the data's is left out.
    """
    found: list[Finding] = []
    upper = None
    for name, codes in levels.items():
        codes = codes[: len(images)]
        prior = priors.get(name)
        if prior is not None:
            config = prior.config
            assert isinstance(config, PriorConfig)
            labels = _labels(prior, images, classes)
            if labels is not None or not config.classes:
                given = Codes(codes, upper if config.condition_codes else None, labels)
                own, other = (
                    bits_per_code(build_prior(in_form(prior, form), name), given, batch=1)
                    for form in (config.inplace, not config.inplace)
                )
                guessing = math.log2(config.codebook_size)
                found.append(Finding(name, config.inplace, "bits a code", own, other, guessing))
        upper = codes
    return found


def _labels(prior: Checkpoint, images: Dataset, classes: tuple[str, ...]) -> Tensor | None:
    """The images' labels [N] as the prior numbers its classes; None where it has none, or others than the data."""
    config, names = prior.config, prior.provenance.get("classes")
    assert isinstance(config, PriorConfig)
    if images.labels is None or not config.classes or len(classes) != config.classes:
        return None
    if not isinstance(names, list) or not names or names == list(classes):
        return torch.from_numpy(images.labels)
    if sorted(map(str, names)) != sorted(classes):
        return None
    return torch.from_numpy(np.array([names.index(name) for name in classes])[images.labels])


def _mean_of_best(found: list[Finding]) -> float:
    return _mean([min(each.own, each.other) for each in found])


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
