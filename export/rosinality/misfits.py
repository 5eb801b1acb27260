"""What a file holds that holds no model of the layout, or another one: said in words, with a remedy that helps."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from latentloop.errors import CheckpointError
from latentloop.export.state_dicts.contents import Contents, Item, describe
from latentloop.export.state_dicts.pickled import InertObject
from latentloop.export.state_dicts.tensors import StoredTensor

SHOWN = 4  # names in one sentence


@dataclass(frozen=True)
class Kind:
    """A kind of model: what to call it, and ``landmarks``, names that only its state dict has."""

    name: str
    landmarks: tuple[str, ...]


VQVAE = Kind(
    "the VQ-VAE",
    (
        "enc_b.blocks.0.weight",
        "quantize_t.embed",
        "enc_t.blocks.0.weight",
        "quantize_b.embed",
        "dec.blocks.0.weight",
        "enc_b.blocks.2.weight",
        "quantize_conv_t.weight",
    ),
)
PRIOR = Kind(
    "a prior",
    (
        *(f"{name}.conv.conv.{weight}" for name in ("horizontal", "vertical") for weight in ("weight_v", "weight")),
        "blocks.0.resblocks.0.conv1.conv.conv.weight_v",
        "blocks.0.resblocks.0.conv1.conv.conv.weight",
    ),
)
_OTHER = {VQVAE.name: PRIOR, PRIOR.name: VQVAE}

# Networks that only a training needs, by the first part of their tensors' names.
TRAINING_ONLY = re.compile(
    r"(loss|losses|criterion|perceptual\w*|lpips|vgg\w*|disc|discriminator\w*|net_?d|ema|ema_model|model_ema)$", re.I
)
_CLASSES = re.compile(r"(class|label|cls|cond(?!_resnet|ition\.conv)|y_emb|embed_?y)", re.I)
_DISCRIMINATOR = re.compile(r"(^|[._])(net_?d|disc\w*|d_model)([._]|$)", re.I)
_OWN = ("encoders.0.conv.weight", "codebooks.0.embedding", "rows_above.weight", "logits.weight")


def nothing_found(path: Path, kind: Kind, contents: Contents) -> CheckpointError:
    """The error for a file without any name that only such a model has."""
    if contents.modules:
        return whole_module(path, contents)
    names = [".".join(item.plain()[0]) for item in contents.items]
    other = _OTHER[kind.name]
    if any(_ends(name, other.landmarks) for name in names):
        return CheckpointError(
            f"{path} holds {other.name.replace('the', 'a')}, expected {kind.name}; are the files exchanged?"
        )
    tensors = [item for item in contents.items if isinstance(item.value, StoredTensor)]
    return CheckpointError(f"{path} holds no state dict of {kind.name}: {_what(tensors, names, contents, kind)}")


def _what(tensors: list[Item], names: list[str], contents: Contents, kind: Kind) -> str:
    if any(_ends(name, _OWN) for name in names):
        return (
            "its names are those of LatentLoop's own checkpoints, which are read by their metadata; give the file that "
            "LatentLoop wrote"
        )
    if any("param_groups" in item.parts for item in contents.items) and all(
        not {"state", "optimizer", "param_groups"}.isdisjoint(item.parts) for item in tensors
    ):
        return "it is an optimiser's state alone; give the file that holds the model's weights"
    if tensors and all(_DISCRIMINATOR.search(item.spelled) for item in tensors):
        return "it holds a discriminator, which only trains; give the file that holds the model's weights"
    if tensors:
        return (
            f"it is another architecture: its names are {_some(item.spelled for item in tensors)}, those of "
            f"{kind.name} {_some(kind.landmarks)}"
        )
    if not contents.items:
        return f"it is {describe(contents.root)} alone; give the file that holds the model's weights"
    held = [f"{item.spelled} ({describe(item.value)})" for item in contents.items]
    return f"it holds no tensors, but {_some(held)}; give the file that holds the model's weights"


def whole_module(path: Path, contents: Contents) -> CheckpointError:
    """The error for a file that holds a pickled module: a reference to its code, which would have to be run."""
    reached, name = next(iter(contents.modules.items()))
    return CheckpointError(
        f"{path} holds a whole module ({name[:80]}), which only its own code can open, and that is not run; where that "
        f'code is, save its tensors alone: torch.save(torch.load("{path.name}", map_location="cpu", '
        f'weights_only=False){reached}.state_dict(), "{path.stem}-weights.pt")'
    )


def foreign_names(unknown: list[str], missing: list[str]) -> str:
    """What the names say that a model of the layout does not have; an empty string where they say nothing."""
    classes = [name for name in unknown if _CLASSES.search(name)]
    if classes:
        return (
            f"it has class conditioning of another fork ({_some(classes)}), which the common layout does not have; "
            "only a model without it, or one that LatentLoop trained, can be exported"
        )
    if unknown and len(missing) > len(unknown):
        return f"it is another architecture, in part: these names are {_some(unknown)}"
    if unknown and not missing:
        return f"it is a fork's model, with more in it than the common layout has ({_some(unknown)})"
    return ""


def vqvae_misfit(shapes: dict[str, tuple[int, ...]]) -> str:
    """How a VQ-VAE differs from the common one in its levels, strides or codebooks; an empty string if in none."""
    levels = sorted({match[1] for name in shapes if (match := re.match(r"(?:enc|quantize)_(?!conv_)([^.]+)\.", name))})
    if others := [level for level in levels if level not in ("t", "b")]:
        return (
            f"it is a fork's VQ-VAE of other levels than t and b ({', '.join(others)}): the common layout has two; "
            "LatentLoop's own trainer makes up to eight (latentloop train vqvae --levels)"
        )
    for level, expected in (("b", 4), ("t", 2)):
        strides = [
            name for name, shape in shapes.items()
            if re.fullmatch(rf"enc_{level}\.blocks\.\d+\.weight", name) and shape[2:] == (4, 4)
        ]  # fmt: skip
        ended = any(name.startswith(f"enc_{level}.") and shape[2:] == (3, 3) for name, shape in shapes.items())
        if ended and strides and 1 << len(strides) != expected:
            return (
                f"its encoder enc_{level} has {len(strides)} strided convolutions, that is stride {1 << len(strides)}; "
                f"the common layout has stride {expected} there, and no other is read"
            )
    top, bottom = shapes.get("quantize_t.embed", ()), shapes.get("quantize_b.embed", ())
    if len(top) == len(bottom) == 2 and top != bottom:
        return (
            f"its levels have codebooks of different sizes, {top[1]} codes of width {top[0]} on top and {bottom[1]} of "
            f"width {bottom[0]} at the bottom: LatentLoop has one size for all levels, so that it cannot be exported"
        )
    return ""


def harmless(name: str, item: Item) -> bool:
    """Whether an entry that the layout does not have can be left out: counters, masks, what only a training needs."""
    value = item.value
    if not isinstance(value, StoredTensor):  # settings and figures; but not tensors of a kind that is not read
        return not (isinstance(value, InertObject) and value.name.startswith(("torch._utils.", "torch._tensor.")))
    return (
        not value.is_float
        or name.rpartition(".")[2] == "mask"
        or TRAINING_ONLY.match(name.partition(".")[0]) is not None
    )


def _ends(name: str, tails: Iterable[str]) -> bool:
    return any(name == tail or name.endswith(f".{tail}") for tail in tails)


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    more = [f"and {len(listed) - SHOWN} more"] if len(listed) > SHOWN else []
    return ", ".join([name[:80] for name in listed[:SHOWN]] + more)
