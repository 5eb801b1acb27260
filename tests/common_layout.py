"""A reference forward of the common PyTorch layout, independent of the package: loops over taps and positions.

Activations are [H, W, C] float64, one sample at a time; ``state`` is a file's state dict as NumPy float64. ``inplace``
is the older variant: a block's first activation overwrites the block's input.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
State = dict[str, Array]
HEADS = 8


def prior_logits(
    state: State, codes: NDArray[np.integer], upper: NDArray[np.integer] | None = None, *, inplace: bool = False
) -> Array:
    """Logits [H, W, K] of codes [H, W], given the previous codes and the level above [H', W']."""
    height, width = codes.shape
    background = state["background"][0].transpose(1, 2, 0)
    one_hot = np.eye(state["horizontal.conv.conv.weight_v"].shape[1])[codes]
    condition = None
    if upper is not None:
        x = np.eye(state["cond_resnet.blocks.0.conv.weight_v"].shape[1])[upper]
        x = centred(state, "cond_resnet.blocks.0.conv", x)
        for n in indices(state, "cond_resnet.blocks.{}.conv1."):
            x = gated(state, f"cond_resnet.blocks.{n}", x, inplace=inplace)
        condition = x.repeat(2, axis=0).repeat(2, axis=1)[:height, :width]
    x = input_stage(state, one_hot)
    for b in indices(state, "blocks.{}."):
        block, start = f"blocks.{b}", x
        for r in indices(state, block + ".resblocks.{}."):
            x = causal_gated(state, f"{block}.resblocks.{r}", x, condition, inplace=inplace)
        if f"{block}.out.conv.weight_v" in state:
            x = centred(state, f"{block}.out.conv", np.concatenate([x, background], 2))
            continue
        key = gated(state, f"{block}.key_resblock", np.concatenate([start, x, background], 2), inplace=inplace)
        query = gated(state, f"{block}.query_resblock", np.concatenate([x, background], 2), inplace=inplace)
        attended = attention(state, f"{block}.causal_attention", query, key)
        x = gated(state, f"{block}.out_resblock", x, attended, inplace=inplace)
    blocks = list(indices(state, "out.{}.conv1."))
    for n in blocks:
        x = gated(state, f"out.{n}", x, inplace=inplace)
    return centred(state, f"out.{len(blocks) + 1}.conv", elu(x))


def input_stage(state: State, x: Array) -> Array:
    """The rows above, and the columns to the left in this row and the rows above; each with its bias."""
    above, left = weight(state, "horizontal.conv.conv"), weight(state, "vertical.conv.conv")
    kernel = above.shape[3]
    reach = kernel // 2
    out = np.zeros((*x.shape[:2], above.shape[0]))
    for a, b in product(range(reach), range(kernel)):
        out += shifted(x, a - reach, b - reach) @ above[:, :, a, b].T
    tall = left.shape[2]
    for a, b in product(range(tall), range(reach)):
        out += shifted(x, a - (tall - 1), b - reach) @ left[:, :, a, b].T
    out[1:] += state["horizontal.conv.conv.bias"]
    out[:, 1:] += state["vertical.conv.conv.bias"]
    return out


def causal_gated(state: State, key: str, x: Array, condition: Array | None, *, inplace: bool) -> Array:
    """A gated residual block of two causal convolutions."""
    inner = causal(state, f"{key}.conv1.conv.conv", elu(x, inplace=inplace))
    out = causal(state, f"{key}.conv2.conv.conv", elu(inner))
    if condition is not None:
        out += condition @ weight(state, f"{key}.condition.conv")[:, :, 0, 0].T
    return x + glu(out)


def gated(state: State, key: str, x: Array, auxiliary: Array | None = None, *, inplace: bool) -> Array:
    """A gated residual block of two centred convolutions."""
    inner = centred(state, f"{key}.conv1.conv", elu(x, inplace=inplace))
    if auxiliary is not None:
        inner += centred(state, f"{key}.aux_conv.conv", elu(auxiliary))
    return x + glu(centred(state, f"{key}.conv2.conv", elu(inner)))


def attention(state: State, name: str, query: Array, key: Array) -> Array:
    """Attention of every position to the positions before it; zeros at the first."""
    height, width, _ = query.shape
    q, k, v = (
        (x.reshape(height * width, -1) @ weight(state, f"{name}.{part}").T + state[f"{name}.{part}.bias"])
        for part, x in (("query", query), ("key", key), ("value", key))
    )
    size = q.shape[1] // HEADS
    out = np.zeros_like(q)
    for position, head in product(range(1, height * width), range(HEADS)):
        channels = slice(head * size, (head + 1) * size)
        scores = k[:position, channels] @ q[position, channels] / np.sqrt(size)
        odds = np.exp(scores - scores.max())
        out[position, channels] = odds @ v[:position, channels] / odds.sum()
    return out.reshape(height, width, -1)


def causal(state: State, key: str, x: Array) -> Array:
    """A convolution over k - 1 full rows above, and the k // 2 taps left of the centre in this row."""
    w = weight(state, key, masked=True)
    kernel = w.shape[2]
    out = np.tile(state[f"{key}.bias"], (*x.shape[:2], 1))
    for a, b in product(range(kernel), range(kernel)):
        if a < kernel - 1 or b < kernel // 2:
            out += shifted(x, a - (kernel - 1), b - kernel // 2) @ w[:, :, a, b].T
    return out


def centred(state: State, key: str, x: Array) -> Array:
    """A convolution with or without weight norm, zero-padded to the same size."""
    w = weight(state, key)
    reach = w.shape[2] // 2
    out = np.tile(state[f"{key}.bias"], (*x.shape[:2], 1))
    for a, b in product(range(w.shape[2]), range(w.shape[3])):
        out += shifted(x, a - reach, b - reach) @ w[:, :, a, b].T
    return out


def weight(state: State, key: str, *, masked: bool = False) -> Array:
    """The weight that the file's model uses: g * v / |v|, with v masked first."""
    if f"{key}.weight" in state:
        return state[f"{key}.weight"]
    v = state[f"{key}.weight_v"].copy()
    if masked:
        v[:, :, -1, v.shape[3] // 2 :] = 0
    rows = [g.item() * row / np.linalg.norm(row.ravel()) for g, row in zip(state[f"{key}.weight_g"], v, strict=True)]
    return np.stack(rows)


def rounded(state: State) -> State:
    """The same model with weight norm computed and rounded to float32, as a checkpoint stores it."""
    out = {key: value for key, value in state.items() if not key.endswith(("_g", "_v"))}
    for key in (name.removesuffix(".weight_g") for name in state if name.endswith("_g")):
        folded = weight(state, key, masked="resblocks" in key and ".condition." not in key)
        norm = np.sqrt(
            np.square(folded.astype(np.float32).astype(float)).sum(tuple(range(1, folded.ndim)), keepdims=True)
        )
        out |= {f"{key}.weight_v": folded.astype(np.float32).astype(float), f"{key}.weight_g": norm}
    return out


def vqvae_encode(state: State, image: Array, *, inplace: bool = False) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Top and bottom codes of an image [H, W, C] in [-1, 1]."""
    lower = encoder(state, "enc_b.blocks", 2, image, inplace=inplace)
    upper = encoder(state, "enc_t.blocks", 1, lower, inplace=inplace)
    top = nearest(state["quantize_t.embed"].T, centred(state, "quantize_conv_t", upper))
    decoded = decoder(state, "dec_t.blocks", 1, state["quantize_t.embed"].T[top], inplace=inplace)
    z = centred(state, "quantize_conv_b", np.concatenate([decoded, lower], 2))
    return top, nearest(state["quantize_b.embed"].T, z)


def vqvae_decode(
    state: State, top: NDArray[np.integer], bottom: NDArray[np.integer], *, inplace: bool = False
) -> Array:
    """The image [H, W, C] of top and bottom codes."""
    upsampled = transposed(state, "upsample_t", state["quantize_t.embed"].T[top])
    joined = np.concatenate([upsampled, state["quantize_b.embed"].T[bottom]], 2)
    return decoder(state, "dec.blocks", 2, joined, inplace=inplace)


def encoder(state: State, key: str, halvings: int, x: Array, *, inplace: bool) -> Array:
    """Strided 4x4 convolutions with a ReLU after each, a 3x3 convolution, residual blocks, a ReLU."""
    for n in range(halvings):
        w = state[f"{key}.{2 * n}.weight"]
        padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
        out = np.tile(state[f"{key}.{2 * n}.bias"], (x.shape[0] // 2, x.shape[1] // 2, 1))
        for a, b in product(range(4), range(4)):
            out += padded[a : a + x.shape[0] : 2, b : b + x.shape[1] : 2] @ w[:, :, a, b].T
        x = np.maximum(out, 0)
    x = centred(state, f"{key}.{2 * halvings}", x)
    return residual_blocks(state, key, 2 * halvings + 1, x, inplace=inplace)


def decoder(state: State, key: str, doublings: int, x: Array, *, inplace: bool) -> Array:
    """A 3x3 convolution, residual blocks, a ReLU, transposed convolutions with a ReLU between."""
    x = residual_blocks(state, key, 1, centred(state, f"{key}.0", x), inplace=inplace)
    last = 2 + len(list(indices(state, key + ".{}.conv.", 1)))
    for n in range(doublings):
        x = transposed(state, f"{key}.{last + 2 * n}", np.maximum(x, 0) if n else x)
    return x


def residual_blocks(state: State, key: str, first: int, x: Array, *, inplace: bool) -> Array:
    for n in indices(state, key + ".{}.conv.", first):
        active = np.maximum(x, 0, out=x if inplace else None)
        inner = np.maximum(centred(state, f"{key}.{n}.conv.1", active), 0)
        x = x + centred(state, f"{key}.{n}.conv.3", inner)
    return np.maximum(x, 0)


def transposed(state: State, key: str, x: Array) -> Array:
    """Kernel 4, stride 2, padding 1: input (i, j) adds to outputs (2i - 1 + a, 2j - 1 + b)."""
    w = state[f"{key}.weight"]
    height, width, _ = x.shape
    out = np.zeros((2 * height + 2, 2 * width + 2, w.shape[1]))
    for i, j, a, b in product(range(height), range(width), range(4), range(4)):
        out[2 * i + a, 2 * j + b] += x[i, j] @ w[:, :, a, b]
    return out[1:-1, 1:-1] + state[f"{key}.bias"]


def nearest(codebook: Array, z: Array) -> NDArray[np.intp]:
    codes: NDArray[np.intp] = np.square(z[:, :, None] - codebook).sum(3).argmin(2)
    return codes


def shifted(x: Array, down: int, right: int) -> Array:
    """Returns x[i + down, j + right] at (i, j), and zeros outside of x."""
    out = np.zeros_like(x)
    for i, j in np.ndindex(x.shape[:2]):
        if 0 <= i + down < x.shape[0] and 0 <= j + right < x.shape[1]:
            out[i, j] = x[i + down, j + right]
    return out


def elu(x: Array, *, inplace: bool = False) -> Array:
    return np.add(np.maximum(x, 0), np.expm1(np.minimum(x, 0)), out=x if inplace else None)


def glu(x: Array) -> Array:
    value, gate = np.split(x, 2, axis=2)
    out: Array = value / (1 + np.exp(-gate))
    return out


def indices(state: State, pattern: str, first: int | None = None) -> Iterator[int]:
    """Yields the numbers for which a key starts with ``pattern``, in ascending order."""
    numbers = (n for n in range(100) if any(key.startswith(pattern.format(n)) for key in state))
    return (n for n in numbers if first is None or n >= first)
