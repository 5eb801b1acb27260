"""How often the codes of a bundle occur in a data set, for a VQ-VAE whose checkpoint does not say it."""

from __future__ import annotations

import numpy as np

from latentloop.export.bundle.source import CheckedSource
from latentloop.export.checkpoints.code_usage import has_usage, with_usage
from latentloop.export.data.datasets import Dataset
from latentloop.export.evaluation import code_counts
from latentloop.export.models.build import build_vqvae

PER_CODE = 100  # codes of the top level to count, for each code of the codebook


def with_measured_usage(checked: CheckedSource, images: Dataset, most: int | None = None) -> CheckedSource:
    """Returns the source with the use of its codes in ``images``, if its VQ-VAE's checkpoint does not hold it.

    ``most``: random images to encode, by default as many as ``PER_CODE`` says. Raises CheckpointError.
    """
    vqvae, config, image = checked.source.vqvae, checked.config, checked.image
    if has_usage(vqvae) or not len(images):
        return checked
    per_image = (image[0] // config.stride(0)) * (image[1] // config.stride(0))
    count = -(-PER_CODE * config.codebook_size // per_image) if most is None else most
    chosen = images.take(np.random.default_rng(0).permutation(len(images))[:count])
    counts = code_counts(build_vqvae(vqvae, "vqvae"), chosen.images)
    return checked.with_vqvae(with_usage(vqvae, counts, usage_images=len(chosen)), measured_usage=True)
