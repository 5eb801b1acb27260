"""The layout's PixelSNAIL prior of one level."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from latentloop.errors import CheckpointError
from latentloop.export.checkpoints.checkpoint import Checkpoint
from latentloop.export.configuration import HEADS, PriorConfig
from latentloop.export.layouts.layout import ReadRequest
from latentloop.export.layouts.rosinality.differences import explain_names
from latentloop.export.layouts.rosinality.vqvae import LAYOUT
from latentloop.export.models.pixelsnail import coordinates
from latentloop.export.state_dicts.checkpoint_file import CheckpointFile
from latentloop.export.state_dicts.conversion import (
    TensorMapping,
    check_shapes,
    configuration_errors,
    convert,
    layer_mappings,
)
from latentloop.export.state_dicts.finding import find_state
from latentloop.export.state_dicts.state_dict import StateDict

# Names of tensors that only this prior has.
LANDMARKS = (
    *(f"{name}.conv.conv.{weight}" for name in ("horizontal", "vertical") for weight in ("weight_v", "weight")),
    "blocks.0.resblocks.0.conv1.conv.conv.weight_v",
    "blocks.0.resblocks.0.conv1.conv.conv.weight",
)
_DROPOUT = 0.1  # the implementation's default, for files without args


def read(file: CheckpointFile, request: ReadRequest) -> Checkpoint:
    """Reads one level's prior. Raises CheckpointError.

    The tensors' shapes determine the hyper-parameters, except the number of attention heads (always 8 in the
    implementation), the dropout, which is in ``args``, and the grid of a file without its ``background``. Weight norm
    is folded in float64.
    """
    state, config = find_state(
        file,
        LANDMARKS,
        lambda state: _configure(state, request.heads or HEADS, request.grid),
        request.selection,
        layout=LAYOUT,
        model="a prior",
        level=request.selection.part or None,
    )
    return Checkpoint(config, convert(state, _mappings(config)), state.provenance())


def _configure(state: StateDict, heads: int, grid: tuple[int, int] | None) -> PriorConfig:
    """Returns the configuration. Raises CheckpointError if the state is not a complete prior of the layout."""
    config = _configuration(state, heads, grid)
    background = {"background": (1, 2, config.height, config.width)}
    check_shapes(state, _mappings(config), background, explain_names)
    _check_background(state, config)
    return config


def _configuration(state: StateDict, heads: int, grid: tuple[int, int] | None) -> PriorConfig:
    first = state.direction("horizontal.conv.conv.weight")
    channels, codes, above, kernel = state.shape(first, 4, "kernel, channels and codes")
    if kernel % 2 == 0 or above != kernel // 2:
        raise CheckpointError(
            f"{state.path}: {state.spelled(first)} has {above}x{kernel} taps, "
            f"expected (k // 2) x k with an odd k; {state.remedy}"
        )
    inner = state.shape(state.direction("blocks.0.resblocks.0.conv1.conv.conv.weight"), 4, "the residual channels")[0]
    wide, upper, condition_kernel = 0, 0, 3
    if "cond_resnet" in state.modules:
        first = state.direction("cond_resnet.blocks.0.conv.weight")
        wide, upper, condition_kernel, _ = state.shape(first, 4, "the condition's channels, codes and kernel")
    height, width = _grid(state, grid)
    dropout = state.args.get("dropout")
    if isinstance(dropout, bool) or not isinstance(dropout, (int, float)) or not 0 <= dropout < 1:
        dropout = _DROPOUT  # only training needs it
    with configuration_errors(state, "no shape determines heads and grid: check these options"):
        return PriorConfig(
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
        )


def _grid(state: StateDict, grid: tuple[int, int] | None) -> tuple[int, int]:
    if "background" not in state.entries:
        if grid is None:
            raise CheckpointError(
                f"{state.path}: no tensor background, which determines the grid; give the grid (export: --image HxW)"
            )
        return grid
    height, width = state.shape("background", 4, "the grid")[2:]
    if grid not in (None, (height, width)):
        raise CheckpointError(
            f"{state.path}: background is for a grid of {height}x{width}, but the option is {grid}; leave the grid out"
        )
    return height, width


def _check_background(state: StateDict, config: PriorConfig) -> None:
    """Raises CheckpointError if the stored coordinates are not those that this project's models compute."""
    background = state.tensors.get("background")
    if background is None:
        return
    difference = np.abs(background.values() - coordinates(config.height, config.width).double().numpy()).max()
    if not difference <= background.epsilon:
        raise CheckpointError(
            f"{state.path}: background differs by {difference:.3g} from (row - H/2) / H and (column - W/2) / W, "
            f"which it should hold; {state.remedy}"
        )


def _mappings(config: PriorConfig) -> Iterator[TensorMapping]:
    """Yields the mapping of every weight, as named in ``latentloop.export.models.pixelsnail.PixelSnail``."""
    k, c, inner = config.kernel, config.channels, config.residual_channels
    codes, wide = config.codebook_size, config.condition_channels
    yield from _conv("rows_above", "horizontal.conv.conv", c, codes, k // 2, k)
    yield from _conv("left", "vertical.conv.conv", c, codes, (k + 1) // 2, k // 2)
    for b in range(config.blocks):
        block = f"blocks.{b}"
        for r in range(config.residual_blocks):
            yield from _causal_block(f"{block}.residual.{r}", f"{block}.resblocks.{r}", c, inner, k, wide)
        if not config.attention:
            yield from _conv(f"{block}.mix", f"{block}.out.conv", c, c + 2)
            continue
        yield from _block(f"{block}.key", f"{block}.key_resblock", 2 * c + 2, c)
        yield from _block(f"{block}.query", f"{block}.query_resblock", c + 2, c)
        width = config.attention_channels
        for part, inputs in (("query", c + 2), ("key", 2 * c + 2), ("value", 2 * c + 2)):
            name, key = f"{block}.attention.{part}", f"{block}.causal_attention.{part}"
            yield from layer_mappings(name, key, (width, inputs), "normalised", width)
        yield from _block(f"{block}.out", f"{block}.out_resblock", c, c)
        yield from _conv(f"{block}.out.auxiliary", f"{block}.out_resblock.aux_conv.conv", c, width)
    if config.condition_codes:
        size, first = config.condition_kernel, "cond_resnet.blocks.0.conv"
        yield from _conv("condition.input", first, wide, config.condition_codes, size, size)
        for n in range(config.condition_blocks):
            yield from _block(f"condition.residual.{n}", f"cond_resnet.blocks.{n + 1}", wide, wide, size)
    for n in range(config.output_blocks):
        yield from _block(f"output.{n}", f"out.{n}", c, inner)
    # The logits follow an ELU, which has an index of its own.
    yield from _conv("logits", f"out.{config.output_blocks + 1}.conv", codes, c)


def _conv(name: str, key: str, outputs: int, inputs: int, height: int = 1, width: int = 1) -> list[TensorMapping]:
    return layer_mappings(name, key, (outputs, inputs, height, width), "normalised", outputs)


def _block(name: str, key: str, channels: int, inner: int, kernel: int = 1) -> Iterator[TensorMapping]:
    yield from _conv(f"{name}.conv1", f"{key}.conv1.conv", inner, channels, kernel, kernel)
    yield from _conv(f"{name}.conv2", f"{key}.conv2.conv", 2 * channels, inner, kernel, kernel)


def _causal_block(
    name: str, key: str, channels: int, inner: int, kernel: int, condition: int
) -> Iterator[TensorMapping]:
    for part, outputs, inputs in (("conv1", inner, channels), ("conv2", 2 * channels, inner)):
        shape = (outputs, inputs, kernel, kernel)
        yield from layer_mappings(f"{name}.{part}", f"{key}.{part}.conv.conv", shape, "causal", outputs)
    if condition:
        shape = (2 * channels, condition, 1, 1)
        yield TensorMapping(f"{name}.condition.weight", f"{key}.condition.conv.weight", shape, "normalised")
