"""The source of a bundle: its checkpoints and options, before and after the checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentloop.errors import InputError
from latentloop.export.checkpoints.checkpoint import Checkpoint
from latentloop.export.checkpoints.code_usage import has_usage
from latentloop.export.checkpoints.codes_digest import with_codes_digest
from latentloop.export.configuration import ClassifierConfig, PriorConfig, VqvaeConfig
from latentloop.export.onnx_classifiers.attached import AttachedClassifier
from latentloop.export.onnx_classifiers.model import OnnxModel
from latentloop.export.onnx_classifiers.settings import ClassifierSettings
from latentloop.export.rounding import round_weights


@dataclass(frozen=True)
class BundleSource:
    """The checkpoints and options that a bundle is made from.

    ``priors``: top first, None for a level without a prior. ``image``: (height, width) in pixels; by default that of
    the priors' grids, without a prior that of the VQ-VAE's training, if its checkpoint records it. ``weights``:
    float32, or float16 to round the weights and store them in half the bytes.
    """

    vqvae: Checkpoint
    priors: Sequence[Checkpoint | None] = ()
    image: tuple[int, int] | None = None
    classes: tuple[str, ...] = ()
    licence: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)
    golden_images: NDArray[np.uint8] | None = None  # [n, H, W, C], at the bundle's image size
    classifier: Checkpoint | OnnxModel | None = None
    weights: str = "float32"
    classifier_settings: ClassifierSettings = field(default_factory=ClassifierSettings)  # of an OnnxModel
    classifier_name: str = "the classifier"  # what messages call a classifier's checkpoint: its file, if it has one

    def checkpoints(self) -> dict[str, Checkpoint]:
        """Returns the checkpoints by name: vqvae, the names of the levels that have a prior, classifier.

        A classifier that is an ONNX model is no checkpoint.
        """
        config = self.vqvae.config
        levels = config.level_names if isinstance(config, VqvaeConfig) else ()
        named = {"vqvae": self.vqvae, **dict(zip(levels, self.priors, strict=False)), "classifier": self.classifier}
        return {name: checkpoint for name, checkpoint in named.items() if isinstance(checkpoint, Checkpoint)}


@dataclass(frozen=True)
class CheckedSource:
    """A source whose checkpoints fit each other; ``check_source`` makes it."""

    source: BundleSource
    config: VqvaeConfig
    priors: tuple[Checkpoint | None, ...]  # one per level, top first
    image: tuple[int, int]  # (height, width) in pixels
    classes: tuple[str, ...]  # names by label
    weights: str = "float32"  # the type whose values the weights are rounded to
    attached: AttachedClassifier | None = None  # the source's ONNX model, fitted to the bundle
    measured_usage: bool = False  # how often the codes occur was measured on images, not in training

    @property
    def classifier(self) -> Checkpoint | None:
        """The checkpoint of the classifier, None without one."""
        return self.source.checkpoints().get("classifier")

    @property
    def code_usage(self) -> str:
        """Where it is from how often the codes occur: one of ``latentloop.bundles.manifest.USAGES``."""
        if not has_usage(self.source.vqvae):
            return "equal"
        return "data" if self.measured_usage else "checkpoint"

    @property
    def classifier_config(self) -> ClassifierConfig | None:
        """The configuration of the classifier's checkpoint, None without one."""
        config = self.classifier.config if self.classifier else None
        assert config is None or isinstance(config, ClassifierConfig)
        return config

    def rounded(self) -> CheckedSource:
        """Returns the source with its weights rounded to ``source.weights``, and the digest of the codes recorded.

        Raises InputError if a weight is out of that type's range.
        """
        weights = self.source.weights
        vqvae = round_weights(with_codes_digest(self.source.vqvae), weights)  # the digest before rounding
        priors = tuple(prior and round_weights(prior, weights) for prior in self.priors)
        classifier = self.source.classifier
        if self.classifier is not None:  # an ONNX model is not rounded: what it is accurate with is not known
            classifier = round_weights(self.classifier, weights)
        source = replace(self.source, vqvae=vqvae, priors=priors, classifier=classifier)
        return replace(self, source=source, priors=priors, weights=weights)

    def with_vqvae(self, vqvae: Checkpoint, *, measured_usage: bool) -> CheckedSource:
        """Returns the source with the same VQ-VAE that also holds how often its codes occur."""
        return replace(self, source=replace(self.source, vqvae=vqvae), measured_usage=measured_usage)

    def with_golden_images(self, images: NDArray[np.uint8]) -> CheckedSource:
        """Returns the source with ``images`` [n, H, W, C] for the golden vectors of the codec."""
        return replace(self, source=replace(self.source, golden_images=images))


def prior_config(checkpoint: Checkpoint) -> PriorConfig:
    """Returns the configuration of a prior's checkpoint. Raises InputError for any other checkpoint."""
    if not isinstance(checkpoint.config, PriorConfig):
        raise InputError(f"expected a prior's checkpoint, but it holds a {checkpoint.kind}")
    return checkpoint.config
