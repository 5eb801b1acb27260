"""The common implementation's PixelSNAIL prior of one level."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from latentloop.errors import CheckpointError
from latentloop.export.checkpoints.checkpoint import Checkpoint
from latentloop.export.checkpoints.state_choice import StateChoice
from latentloop.export.configuration import PriorConfig
from latentloop.export.models.pixelsnail import coordinates
from latentloop.export.rosinality.misfits import PRIOR
from latentloop.export.state_dicts.conversion import Entry, check_shapes, checked, convert, convolution
from latentloop.export.state_dicts.state_dict import REMEDY, StateDict, find_state

_DROPOUT = 0.1  # the implementation's default, for files without args


def read_prior(
    path: Path, *, heads: int = 8, grid: tuple[int, int] | None = None, choice: StateChoice | None = None
) -> Checkpoint:
    """Reads one level's prior, wherever its state dict lies in the file; ``choice`` is the state wanted where there
    are several.

    Hyper-parameters come from the tensors' shapes; ``args`` gives the dropout only. ``heads``, the number of
    attention heads, shows in no shape: the implementation always has 8. ``grid`` (height, width in codes) is
    needed only where the file lacks its ``background``. A prior whose ``config.condition_codes`` is 0 is a
    top's, any other a lower level's. The weights are named as in
    ``latentloop.export.models.pixelsnail.PixelSnail``, float32, the weight norm folded in float64. Nothing in
    the file is executed. Raises CheckpointError.
    """
    state, config = find_state(path, PRIOR, lambda state: _fit(state, heads, grid), choice)
    return Checkpoint(config, convert(state, _entries(config)), state.provenance())


def _fit(state: StateDict, heads: int, grid: tuple[int, int] | None) -> PriorConfig:
    config = _configuration(state, heads, grid)
    check_shapes(state, _entries(config), {"background": (1, 2, config.height, config.width)})
    _check_background(state, config)
    return config


def _configuration(state: StateDict, heads: int, grid: tuple[int, int] | None) -> PriorConfig:
    first = state.direction("horizontal.conv.conv.weight")
    channels, codes, above, kernel = state.shape(first, 4, "kernel, channels and codes")
    if kernel % 2 == 0 or above != kernel // 2:
        raise CheckpointError(
            f"{state.path}: {state.spelled(first)} has {above}x{kernel} taps, "
            f"expected (k // 2) x k with an odd k; {REMEDY}"
        )
    inner = state.shape(state.direction("blocks.0.resblocks.0.conv1.conv.conv.weight"), 4, "the residual channels")[0]
    wide, upper, condition_kernel = 0, 0, 3
    if "cond_resnet" in state.modules:
        first = state.direction("cond_resnet.blocks.0.conv.weight")
        wide, upper, condition_kernel, _ = state.shape(first, 4, "the condition's channels, codes and kernel")
    height, width = _grid(state, grid)
    dropout = state.args.get("dropout")
    if isinstance(dropout, bool) or not isinstance(dropout, (int, float)) or not 0 <= dropout < 1:
        dropout = _DROPOUT  # only a training would need it
    return checked(
        state,
        lambda: PriorConfig(
            height,
            width,
            codebook_size=codes,
            channels=channels,
            residual_channels=inner,
            kernel=kernel,
            blocks=state.count("blocks.{}"),
            residual_blocks=state.count("blocks.0.resblocks.{}"),
            attention=any(".causal_attention." in key for key in state.tensors),
            heads=heads,
            output_blocks=state.count("out.{}.conv1"),
            condition_codes=upper,
            condition_channels=wide,
            condition_blocks=state.count("cond_resnet.blocks.{}", start=1),
            condition_kernel=condition_kernel,
            dropout=float(dropout),
        ),
        "heads and grid are the options that no shape tells",
    )


def _grid(state: StateDict, grid: tuple[int, int] | None) -> tuple[int, int]:
    if "background" not in state.entries:
        if grid is None:
            raise CheckpointError(
                f"{state.path}: no tensor background, which tells the grid; give the grid (export: --image HxW)"
            )
        return grid
    height, width = state.shape("background", 4, "the grid")[2:]
    if grid not in (None, (height, width)):
        raise CheckpointError(
            f"{state.path}: background is for a grid of {height}x{width}, given is {grid}; leave the grid out"
        )
    return height, width


def _check_background(state: StateDict, config: PriorConfig) -> None:
    """Our models compute the coordinates anew: a file with others was trained on another input."""
    found = state.tensors.get("background")
    if found is None:
        return
    apart = np.abs(found.values() - coordinates(config.height, config.width).double().numpy()).max()
    if not apart <= found.epsilon:
        raise CheckpointError(
            f"{state.path}: background differs by {apart:.3g} from (row - H/2) / H and (column - W/2) / W, "
            f"which it should hold; {REMEDY}"
        )


def _entries(config: PriorConfig) -> Iterator[Entry]:
    k, c, inner = config.kernel, config.channels, config.residual_channels
    codes, wide = config.codebook_size, config.condition_channels
    yield from _conv("rows_above", "horizontal.conv.conv", c, codes, k // 2, k)
    yield from _conv("left", "vertical.conv.conv", c, codes, (k + 1) // 2, k // 2)
    for b in range(config.blocks):
        ours = theirs = f"blocks.{b}"
        for r in range(config.residual_blocks):
            yield from _causal_block(f"{ours}.residual.{r}", f"{theirs}.resblocks.{r}", c, inner, k, wide)
        if not config.attention:
            yield from _conv(f"{ours}.mix", f"{theirs}.out.conv", c, c + 2)
            continue
        yield from _block(f"{ours}.key", f"{theirs}.key_resblock", 2 * c + 2, c)
        yield from _block(f"{ours}.query", f"{theirs}.query_resblock", c + 2, c)
        width = config.attention_channels
        for part, inputs in (("query", c + 2), ("key", 2 * c + 2), ("value", 2 * c + 2)):
            name, key = f"{ours}.attention.{part}", f"{theirs}.causal_attention.{part}"
            yield from convolution(name, key, (width, inputs), "normalised", width)
        yield from _block(f"{ours}.out", f"{theirs}.out_resblock", c, c)
        yield from _conv(f"{ours}.out.auxiliary", f"{theirs}.out_resblock.aux_conv.conv", c, width)
    if config.condition_codes:
        size, first = config.condition_kernel, "cond_resnet.blocks.0.conv"
        yield from _conv("condition.input", first, wide, config.condition_codes, size, size)
        for n in range(config.condition_blocks):
            yield from _block(f"condition.residual.{n}", f"cond_resnet.blocks.{n + 1}", wide, wide, size)
    for n in range(config.output_blocks):
        yield from _block(f"output.{n}", f"out.{n}", c, inner)
    yield from _conv("logits", f"out.{config.output_blocks + 1}.conv", codes, c)  # an ELU takes an index


def _conv(name: str, key: str, outputs: int, inputs: int, height: int = 1, width: int = 1) -> list[Entry]:
    return convolution(name, key, (outputs, inputs, height, width), "normalised", outputs)


def _block(name: str, key: str, channels: int, inner: int, kernel: int = 1) -> Iterator[Entry]:
    yield from _conv(f"{name}.conv1", f"{key}.conv1.conv", inner, channels, kernel, kernel)
    yield from _conv(f"{name}.conv2", f"{key}.conv2.conv", 2 * channels, inner, kernel, kernel)


def _causal_block(name: str, key: str, channels: int, inner: int, kernel: int, condition: int) -> Iterator[Entry]:
    for part, outputs, inputs in (("conv1", inner, channels), ("conv2", 2 * channels, inner)):
        shape = (outputs, inputs, kernel, kernel)
        yield from convolution(f"{name}.{part}", f"{key}.{part}.conv.conv", shape, "causal", outputs)
    if condition:
        shape = (2 * channels, condition, 1, 1)
        yield Entry(f"{name}.condition.weight", f"{key}.condition.conv.weight", shape, "normalised")
