"""The layout's two-level VQ-VAE."""

from __future__ import annotations

from collections.abc import Iterator

from latentloop.errors import CheckpointError
from latentloop.export.checkpoints.checkpoint import Checkpoint
from latentloop.export.checkpoints.code_usage import with_usage
from latentloop.export.configuration import VqvaeConfig
from latentloop.export.layouts.layout import ReadRequest
from latentloop.export.layouts.rosinality.differences import explain_names, vqvae_difference
from latentloop.export.state_dicts.checkpoint_file import CheckpointFile
from latentloop.export.state_dicts.conversion import (
    TensorMapping,
    check_shapes,
    configuration_errors,
    convert,
    layer_mappings,
)
from latentloop.export.state_dicts.files.tensors import Shape
from latentloop.export.state_dicts.finding import find_state
from latentloop.export.state_dicts.state_dict import StateDict

LAYOUT = "rosinality/vq-vae-2-pytorch"
# Names of tensors that only this VQ-VAE has.
LANDMARKS = (
    "enc_b.blocks.0.weight",
    "quantize_t.embed",
    "enc_t.blocks.0.weight",
    "quantize_b.embed",
    "dec.blocks.0.weight",
    "enc_b.blocks.2.weight",
    "quantize_conv_t.weight",
)
_COUNTS = ("quantize_t.cluster_size", "quantize_b.cluster_size")  # moving averages of how often each code occurs
_RESIDUAL_CHANNELS = 32  # the implementation's default, for a model without residual blocks to determine it


def read(file: CheckpointFile, request: ReadRequest) -> Checkpoint:
    """Reads a VQ-VAE; the tensors' shapes determine all hyper-parameters. Raises CheckpointError."""
    state, config = find_state(file, LANDMARKS, _configure, request.selection, layout=LAYOUT, model="a VQ-VAE")
    checkpoint = Checkpoint(config, convert(state, _mappings(config)), state.provenance())
    counts = [state.tensors.get(name) for name in _COUNTS]
    return with_usage(checkpoint, [count.values() for count in counts if count is not None])


def _configure(state: StateDict) -> VqvaeConfig:
    """Returns the configuration. Raises CheckpointError if the state is not a complete VQ-VAE of the layout."""
    if difference := vqvae_difference({name: tensor.shape for name, tensor in state.tensors.items()}):
        raise CheckpointError(f"{state.path}: {difference}")
    config = _configuration(state)
    check_shapes(state, _mappings(config), _moving_averages(config), explain_names)
    return config


def _configuration(state: StateDict) -> VqvaeConfig:
    channels = state.shape("enc_b.blocks.2.weight", 4, "the number of channels")[0]
    layers = state.count("enc_b.blocks.{}.conv", start=5)
    width = _RESIDUAL_CHANNELS
    if layers:
        width = state.shape("enc_b.blocks.5.conv.1.weight", 4, "the residual channels")[0]
    images = state.shape("enc_b.blocks.0.weight", 4, "the image channels")[1]
    code_channels, codes = state.shape("quantize_t.embed", 2, "the size of the codebook")
    with configuration_errors(state):
        return VqvaeConfig(
            levels=2,
            image_channels=images,
            channels=channels,
            residual_channels=width,
            residual_layers=layers,
            code_channels=code_channels,
            codebook_size=codes,
        )


def _mappings(config: VqvaeConfig) -> Iterator[TensorMapping]:
    """Yields the mapping of every weight, as named in ``latentloop.export.models.vqvae.Vqvae``."""
    channels, half, width = config.channels, config.channels // 2, config.code_channels
    images, layers = config.image_channels, config.residual_layers
    # Encoders: strided convolutions with a ReLU after each, a 3x3 convolution, residual blocks.
    yield from _conv("encoders.0.down.0", "enc_t.blocks.0", half, channels, 4)
    yield from _conv("encoders.0.conv", "enc_t.blocks.2", channels, half, 3)
    yield from _residual(config, "encoders.0.residual", "enc_t.blocks", 3)
    yield from _conv("encoders.1.down.0", "enc_b.blocks.0", half, images, 4)
    yield from _conv("encoders.1.down.1", "enc_b.blocks.2", channels, half, 4)
    yield from _conv("encoders.1.conv", "enc_b.blocks.4", channels, channels, 3)
    yield from _residual(config, "encoders.1.residual", "enc_b.blocks", 5)
    yield from _conv("to_code.0", "quantize_conv_t", width, channels, 1)
    yield from _conv("to_code.1", "quantize_conv_b", width, width + channels, 1)
    for level, letter in enumerate("tb"):
        shape = (config.codebook_size, width)
        yield TensorMapping(f"codebooks.{level}.embedding", f"quantize_{letter}.embed", shape, "transposed")
    # Decoders: a 3x3 convolution, residual blocks, a ReLU, transposed convolutions with a ReLU between.
    yield from _conv("level_decoders.0.conv", "dec_t.blocks.0", channels, width, 3)
    yield from _residual(config, "level_decoders.0.residual", "dec_t.blocks", 1)
    yield from _transposed("level_decoders.0.up.0", f"dec_t.blocks.{layers + 2}", width, channels)
    yield from _transposed("upsamplers.0.0", "upsample_t", width, width)
    yield from _conv("decoder.conv", "dec.blocks.0", channels, 2 * width, 3)
    yield from _residual(config, "decoder.residual", "dec.blocks", 1)
    yield from _transposed("decoder.up.0", f"dec.blocks.{layers + 2}", half, channels)
    yield from _transposed("decoder.up.1", f"dec.blocks.{layers + 4}", images, half)


def _conv(name: str, key: str, outputs: int, inputs: int, kernel: int) -> list[TensorMapping]:
    return layer_mappings(name, key, (outputs, inputs, kernel, kernel), "plain", outputs)


def _transposed(name: str, key: str, outputs: int, inputs: int) -> list[TensorMapping]:
    return layer_mappings(name, key, (inputs, outputs, 4, 4), "plain", outputs)


def _residual(config: VqvaeConfig, name: str, key: str, first: int) -> Iterator[TensorMapping]:
    channels, inner = config.channels, config.residual_channels
    for n in range(config.residual_layers):
        yield from _conv(f"{name}.{n}.conv3", f"{key}.{first + n}.conv.1", inner, channels, 3)
        yield from _conv(f"{name}.{n}.conv1", f"{key}.{first + n}.conv.3", channels, inner, 1)


def _moving_averages(config: VqvaeConfig) -> dict[str, Shape]:
    """Returns the shapes of the codebooks' moving averages, which only training needs."""
    size, width = config.codebook_size, config.code_channels
    counts: dict[str, Shape] = dict.fromkeys(_COUNTS, (size,))
    return counts | {f"quantize_{letter}.embed_avg": (width, size) for letter in "tb"}
