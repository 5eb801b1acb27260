"""Known differences of forks from the layout, for error messages."""

from __future__ import annotations

import re

from latentloop.export.state_dicts.files.contents import listed_names
from latentloop.export.state_dicts.files.tensors import Shape

_CLASSES = re.compile(r"(class|label|cls|cond(?!_resnet|ition\.conv)|y_emb|embed_?y)", re.I)


def explain_names(unknown: list[str], missing: list[str]) -> str:
    """Returns an explanation of the names of unknown and missing tensors; empty if there is none."""
    classes = [name for name in unknown if _CLASSES.search(name)]
    if classes:
        return (
            f"it has class conditioning of another fork ({listed_names(classes)}), which the common layout does not "
            "have; only a model without it, or one that LatentLoop trained, can be exported"
        )
    if unknown and len(missing) > len(unknown):
        return f"its architecture differs in part: its tensors include {listed_names(unknown)}"
    if unknown and not missing:
        return f"it is a fork's model, with more in it than the common layout has ({listed_names(unknown)})"
    return ""


def vqvae_difference(shapes: dict[str, Shape]) -> str:
    """Returns how a VQ-VAE differs from the layout in its levels, strides or codebooks; an empty string if it does not.

    ``shapes``: of all its tensors, by plain name.
    """
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
        is_complete = any(name.startswith(f"enc_{level}.") and shape[2:] == (3, 3) for name, shape in shapes.items())
        if is_complete and strides and 1 << len(strides) != expected:
            return (
                f"its encoder enc_{level} has {len(strides)} strided convolutions, that is stride {1 << len(strides)}; "
                f"the common layout has stride {expected} there, and no other is read"
            )
    top, bottom = shapes.get("quantize_t.embed", ()), shapes.get("quantize_b.embed", ())
    if len(top) == len(bottom) == 2 and top != bottom:
        return (
            f"its levels have codebooks of different sizes, {top[1]} codes of width {top[0]} on top and {bottom[1]} of "
            f"width {bottom[0]} at the bottom: LatentLoop has one size for all levels, so it cannot be exported"
        )
    return ""
