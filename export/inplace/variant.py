"""The two variants of a residual block that share one set of names and shapes.

Until January 2021 (VQ-VAE) and July 2020 (priors) the first activation of every residual block of the common PyTorch
implementation worked in place: block(x) = a(x) + f(a(x)), since then x + f(a(x)). Nothing in a file says which variant
its weights were trained with.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from latentloop.cli.messages import note
from latentloop.export.checkpoints.checkpoint import Checkpoint
from latentloop.export.checkpoints.codes_digest import with_codes_digest
from latentloop.export.configuration import ClassifierConfig, VqvaeConfig

VARIANTS = {False: "the current forward", True: "the older forward (in place)"}  # by ``inplace``, for messages


def with_inplace_option(path: Path, checkpoint: Checkpoint, inplace: bool | None) -> Checkpoint:
    """Returns ``with_inplace`` of the checkpoint in ``path``.

    Warns on stderr if LatentLoop trained it with the other variant.
    """
    result = with_inplace(checkpoint, inplace)
    if result.config != checkpoint.config and "layout" not in checkpoint.provenance:
        trained, requested = (VARIANTS[getattr(each.config, "inplace", False)] for each in (checkpoint, result))
        note(f"warning: {path} says that it was trained in {trained}; as requested it is computed in {requested}")
    return result


def own_and_other(checkpoint: Checkpoint) -> Iterator[Checkpoint]:
    """Yields ``with_inplace`` of the checkpoint in its own variant, then in the other one."""
    assert not isinstance(checkpoint.config, ClassifierConfig)
    inplace = checkpoint.config.inplace
    return (with_inplace(checkpoint, variant) for variant in (inplace, not inplace))


def with_inplace(checkpoint: Checkpoint, inplace: bool | None) -> Checkpoint:
    """Returns the checkpoint with ``inplace`` in its configuration; None leaves the configuration unchanged.

    A VQ-VAE from another implementation also gets the digest of its codes, as one that LatentLoop trained has.
    """
    config, provenance = checkpoint.config, dict(checkpoint.provenance)
    assert not isinstance(config, ClassifierConfig)
    if inplace is not None and inplace != config.inplace:
        config = replace(config, inplace=inplace)
        if isinstance(config, VqvaeConfig):
            provenance.pop("codes_sha256", None)  # that of the other variant
    result = replace(checkpoint, config=config, provenance=provenance)
    return with_codes_digest(result) if isinstance(config, VqvaeConfig) and "layout" in provenance else result
