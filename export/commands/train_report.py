"""What ``latentloop train`` prints at the end: the figures of the trained network, and warnings about them."""

from __future__ import annotations

import math
from typing import Any

from latentloop.errors import plural
from latentloop.export.checkpoints.checkpoint import Checkpoint
from latentloop.export.configuration import ClassifierConfig, PriorConfig, VqvaeConfig

# Warnings: below these, or at a larger difference between the training images and the held-out images.
LEAST_USED = 0.5  # of the codes that uniform draws would use
LEAST_PERPLEXITY = 0.1  # of the codes
OVERFITTED_DB, OVERFITTED_BITS, OVERFITTED_ACCURACY = 2.0, 0.15, 0.1  # PSNR; share of the bits; accuracy


def figures(checkpoint: Checkpoint) -> list[str]:
    """Returns lines with the figures of a checkpoint that was just trained."""
    config, held_out = checkpoint.config, checkpoint.provenance["held_out"]
    n = checkpoint.provenance["held_out_images"]
    images = f"{n} held-out {plural(n, 'image')}"
    if isinstance(config, VqvaeConfig):
        before = (checkpoint.provenance.get("before") or {}).get("held_out")
        lines = [f"{images}: {_reconstruction(held_out, before)}", f"codes used: {_code_use(config, held_out)}"]
        sample = checkpoint.provenance["training_sample"]
        if sample["images"] > n:  # a few images cannot use all codes
            lines.append(f"codes used on {sample['images']} training images: {_code_use(config, sample)}")
        return lines
    if isinstance(config, PriorConfig):
        guessing = math.log2(config.codebook_size)
        return [
            f"{images}: {held_out['bits_per_code']:.2f} bits per code in the {checkpoint.provenance['level']} level"
            f" (guessing one of {config.codebook_size} codes: {guessing:.2f})"
        ]
    return [f"{images}: {held_out['accuracy']:.2%} classified right (guessing: {1 / config.classes:.2%})"]


def warnings(checkpoint: Checkpoint) -> list[str]:
    """Returns warnings about a checkpoint that was just trained: collapse, no better than guessing, overfitting."""
    config, provenance = checkpoint.config, checkpoint.provenance
    if isinstance(config, VqvaeConfig):
        found = [*_collapse(config, provenance), *_overfitted(config, provenance)]
    elif _is_guessing(config, provenance["held_out"]):
        found = [f"the {checkpoint.kind} is no better than guessing; pass more --steps, or train on more images"]
    else:
        found = _overfitted(config, provenance)
    return found


def _is_guessing(config: PriorConfig | ClassifierConfig, metrics: dict[str, Any]) -> bool:
    if isinstance(config, PriorConfig):
        return bool(metrics["bits_per_code"] >= math.log2(config.codebook_size))
    return bool(metrics["accuracy"] <= 1 / config.classes)


def _reconstruction(metrics: dict[str, Any], before: dict[str, Any] | None) -> str:
    psnr, texture = _decibels(metrics), f"{metrics['texture']:.2f}"
    if before is not None:
        psnr, texture = f"{_decibels(before)} before, now {psnr}", f"{before['texture']:.2f} before, now {texture}"
    return f"PSNR {psnr}; texture {texture} (the originals: 1)"


def _decibels(metrics: dict[str, Any]) -> str:
    return "infinite" if metrics["psnr_db"] is None else f"{metrics['psnr_db']:.1f} dB"


def _code_use(config: VqvaeConfig, metrics: dict[str, Any]) -> str:
    return ", ".join(
        f"{name} {metrics['codes_used'][name]} of {config.codebook_size} (perplexity {metrics['perplexity'][name]:.1f})"
        for name in config.level_names
    )


def _collapse(config: VqvaeConfig, provenance: dict[str, Any]) -> list[str]:
    """Returns a warning for each level with few codes in use, on the sample of training images."""
    sample, codes = provenance["training_sample"], config.codebook_size
    found = []
    for level, name in enumerate(config.level_names):
        positions = sample["images"] * (provenance["size"] // config.stride(level)) ** 2
        possible = codes * -math.expm1(-positions / codes)  # the mean number of codes in as many uniform draws
        used, perplexity = sample["codes_used"][name], sample["perplexity"][name]
        if used < LEAST_USED * possible or perplexity < LEAST_PERPLEXITY * possible:
            found.append(
                f"the codebook of the {name} level collapsed: {sample['images']} training images use {used} of {codes}"
                f" codes (perplexity {perplexity:.1f}); pass more --steps, a lower --ema-decay or a smaller"
                " --codebook-size, or train on more varied images"
            )
    return found


def _overfitted(config: VqvaeConfig | PriorConfig | ClassifierConfig, provenance: dict[str, Any]) -> list[str]:
    """Returns a warning if the network is clearly worse on the held-out images than on training images."""
    held_out, sample = provenance["held_out"], provenance["training_sample"]
    if isinstance(config, VqvaeConfig):
        if held_out["psnr_db"] is None or sample["psnr_db"] is None:
            return []
        is_worse = sample["psnr_db"] - held_out["psnr_db"] > OVERFITTED_DB
        figure, remedies = _decibels(sample), "--flip or fewer --channels"
    elif isinstance(config, PriorConfig):
        is_worse = held_out["bits_per_code"] > (1 + OVERFITTED_BITS) * sample["bits_per_code"]
        figure, remedies = f"{sample['bits_per_code']:.2f} bits per code", "--flip, a higher --dropout or fewer --steps"
    else:
        is_worse = sample["accuracy"] - held_out["accuracy"] > OVERFITTED_ACCURACY
        figure, remedies = f"{sample['accuracy']:.2%}", "--flip, --shift or fewer --steps"
    if not is_worse:
        return []
    return [f"overfitted: {figure} on training images is much better; train on more images, or pass {remedies}"]
