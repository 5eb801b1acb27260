"""The two forms of a residual block that share one set of names and shapes.

Until January 2021 (VQ-VAE) and July 2020 (priors) the first activation of every residual block of the common PyTorch
implementation worked in place: block(x) = a(x) + f(a(x)), since then x + f(a(x)). Nothing in a file tells which one its
weights were trained in.
"""

from __future__ import annotations

from dataclasses import replace

from latentloop.export.checkpoint import Checkpoint
from latentloop.export.codes_digest import codes_digest
from latentloop.export.configuration import ClassifierConfig, VqvaeConfig

FORMS = {False: "today's forward", True: "the older forward (in place)"}


def in_form(checkpoint: Checkpoint, inplace: bool | None) -> Checkpoint:
    """The same weights, computed with in that form; None: in the one that the checkpoint says, else today's.

    A VQ-VAE that was read from the common layout is given the digest of its codes, which what is trained on them
    carries too.
    """
    config, provenance = checkpoint.config, dict(checkpoint.provenance)
    assert not isinstance(config, ClassifierConfig)
    if inplace is not None and inplace != config.inplace:
        config = replace(config, inplace=inplace)
        if isinstance(config, VqvaeConfig):
            provenance.pop("codes_sha256", None)  # the other form's
    if isinstance(config, VqvaeConfig) and "layout" in provenance:
        provenance.setdefault("codes_sha256", codes_digest(config, checkpoint.weights))
    return replace(checkpoint, config=config, provenance=provenance)
