"""The two forms of a residual block that share one set of names and shapes.

Until January 2021 (VQ-VAE) and July 2020 (priors) the first activation of every residual block of the common PyTorch
implementation worked in place: block(x) = a(x) + f(a(x)), since then x + f(a(x)). Nothing in a file tells which one its
weights were trained in.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from latentloop.export.checkpoints.checkpoint import Checkpoint
from latentloop.export.checkpoints.codes_digest import codes_digest
from latentloop.export.configuration import ClassifierConfig, VqvaeConfig

FORMS = {False: "today's forward", True: "the older forward (in place)"}


def read_form(path: Path, checkpoint: Checkpoint, inplace: bool | None) -> Checkpoint:
    """``in_form`` for what was read from a file; says so on stderr where LatentLoop trained it in the other form."""
    found = in_form(checkpoint, inplace)
    if found.config != checkpoint.config and "layout" not in checkpoint.provenance:
        own, named = (getattr(each.config, "inplace", False) for each in (checkpoint, found))
        text = f"{path} says that it was trained in {FORMS[own]}; as asked it is computed in {FORMS[named]}"
        print(f"latentloop: warning: {text}", file=sys.stderr)
    return found


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
