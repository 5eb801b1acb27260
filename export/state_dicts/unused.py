"""Entries beside a model's state dict that the model does not need."""

from __future__ import annotations

import re

from latentloop.export.state_dicts.files.contents import Item
from latentloop.export.state_dicts.files.pickled import InertObject
from latentloop.export.state_dicts.files.tensors import StoredTensor

# Networks that only a training needs, by the first part of their tensors' names.
_TRAINING_ONLY = re.compile(
    r"(loss|losses|criterion|perceptual\w*|lpips|vgg\w*|disc|discriminator\w*|net_?d|ema|ema_model|model_ema)$", re.I
)


def is_unused(name: str, item: Item) -> bool:
    """Returns whether an entry is no part of a model: a setting, a counter, a mask, or a network for the training.

    ``name``: the plain name. A tensor of a kind that cannot be read (sparse, quantised, …) is never unused.
    """
    value = item.value
    if not isinstance(value, StoredTensor):
        return not (isinstance(value, InertObject) and value.name.startswith(("torch._utils.", "torch._tensor.")))
    return (
        not value.is_float
        or name.rpartition(".")[2] == "mask"
        or _TRAINING_ONLY.match(name.partition(".")[0]) is not None
    )
