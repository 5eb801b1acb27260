"""The VQ-VAE's encoder and decoder as ONNX graphs, layer by layer like ``latentloop.export.models.vqvae``."""

from __future__ import annotations

from latentloop.export.checkpoints.code_usage import mean_codeword
from latentloop.export.checkpoints.lazy_arrays import Weights
from latentloop.export.configuration import VqvaeConfig
from latentloop.export.graphs.builder import FLOAT, INT64, UINT8, Dim, GraphBuilder, WeightStore
from latentloop.export.graphs.layers import NetworkGraph
from latentloop.export.graphs.nearest import nearest_codebook


def encoder_graph(config: VqvaeConfig, weights: Weights, store: WeightStore, image: tuple[int, int]) -> GraphBuilder:
    """Builds the encoder.

    Input: ``images`` [B, H, W, channels] uint8. Outputs: codes [B, h, w] int64 of every level, under the level's name.
    """
    g = _CodecGraph("encoder", store, config, weights, image)
    x = g.images(*image, config.image_channels)
    features = []
    bottom = config.bottom_stride.bit_length() - 1
    for level in reversed(range(config.levels)):
        x = g.encoder(f"encoders.{level}", x, downs=bottom if level == config.levels - 1 else 1)
        features.append(x)
    codewords = ""
    for level, feature in enumerate(reversed(features)):
        if level:
            decoded = g.decoder(f"level_decoders.{level - 1}", codewords, ups=1)
            feature = g.op("Concat", decoded, feature, axis=1)
        z = g.conv(f"to_code.{level}", feature)
        codes = g.nearest(level, z)
        if level < config.levels - 1:  # before ``output`` renames the codes
            codewords = g.lookup(level, codes)
        g.output(config.level_names[level], codes, INT64, g.codes_shape(level))
    return g


def decoder_graph(config: VqvaeConfig, weights: Weights, store: WeightStore, image: tuple[int, int]) -> GraphBuilder:
    """Builds the decoder.

    Inputs: codes [B, h, w] int64 of every level, under the level's name; -1, or K, for one that is not drawn, which has
    the mean codeword. Outputs: ``images`` [B, H, W, channels] uint8, and ``decoded`` [B, H, W, channels] float32, the
    values before rounding, nominally in [-1, 1].
    """
    g = _CodecGraph("decoder", store, config, weights, image)
    upsampled = []
    for level, name in enumerate(config.level_names):
        x = g.lookup_partial(level, g.input(name, INT64, g.codes_shape(level)))
        for n in range(config.levels - 1 - level):
            x = g.conv_transpose(f"upsamplers.{level}.{n}", x)
        upsampled.append(x)
    x = upsampled[0] if len(upsampled) == 1 else g.op("Concat", *upsampled, axis=1)
    x = g.decoder("decoder", x, ups=config.bottom_stride.bit_length() - 1)
    decoded = g.op("Transpose", x, perm=[0, 2, 3, 1], name="decoded")
    pixels = g.op("Mul", g.op("Add", decoded, g.constant(1.0)), g.constant(127.5))
    clipped = g.op("Clip", g.op("Round", pixels), g.constant(0.0), g.constant(255.0))
    shape: list[Dim] = ["batch", *image, config.image_channels]
    g.output("images", g.op("Cast", clipped, to=UINT8), UINT8, shape)
    g.output("decoded", decoded, FLOAT, shape)
    return g


class _CodecGraph(NetworkGraph):
    """The layers of both graphs."""

    def __init__(
        self, name: str, store: WeightStore, config: VqvaeConfig, weights: Weights, image: tuple[int, int]
    ) -> None:
        super().__init__(name, store, "vqvae", weights)
        self.config, self.image = config, image

    def codes_shape(self, level: int) -> list[Dim]:
        """Returns the shape [B, h, w] of a level's codes."""
        return ["batch", *(size // self.config.stride(level) for size in self.image)]

    def encoder(self, name: str, x: str, downs: int) -> str:
        for n in range(downs):
            x = self.op("Relu", self.conv(f"{name}.down.{n}", x, stride=2))
        return self.op("Relu", self.residual(name, self.conv(f"{name}.conv", x)))

    def decoder(self, name: str, x: str, ups: int) -> str:
        x = self.op("Relu", self.residual(name, self.conv(f"{name}.conv", x)))
        for n in range(ups):
            x = self.conv_transpose(f"{name}.up.{n}", self.op("Relu", x) if n else x)
        return x

    def residual(self, name: str, x: str) -> str:
        for n in range(self.config.residual_layers):
            active = self.op("Relu", x)
            inner = self.conv(f"{name}.residual.{n}.conv3", active)
            skip = active if self.config.inplace else x
            x = self.op("Add", skip, self.conv(f"{name}.residual.{n}.conv1", self.op("Relu", inner)))
        return x

    def conv_transpose(self, name: str, x: str) -> str:
        return self.op("ConvTranspose", x, *self.parameters(name), strides=[2, 2], pads=[1] * 4)

    def nearest(self, level: int, z: str) -> str:
        """Returns the indices [B, h, w] of the codewords nearest to z [B, D, h, w]."""
        codebook = self.own_weight(f"codebooks.{level}.embedding")
        return nearest_codebook(self, z, codebook, rank=4, channels_first=True)

    def lookup(self, level: int, codes: str) -> str:
        """Returns the codewords [B, D, h, w] of codes [B, h, w]."""
        codebook = self.own_weight(f"codebooks.{level}.embedding")
        return self.op("Transpose", self.op("Gather", codebook, codes, axis=0), perm=[0, 3, 1, 2])

    def lookup_partial(self, level: int, codes: str) -> str:
        """Like ``lookup``, for codes of which some are not drawn, -1 or K: they have the mean codeword."""
        size = self.config.codebook_size
        codebook = self.own_weight(f"codebooks.{level}.embedding")
        mean = self.constant(mean_codeword(self.values, level)[None])
        table = self.op("Concat", codebook, mean, axis=0)  # [K + 1, D]; a runtime folds it
        # An engine does not read a negative index as ONNX does.
        is_drawn = self.op("GreaterOrEqual", codes, self.constant(0))
        rows = self.op("Where", is_drawn, codes, self.constant(size))
        return self.op("Transpose", self.op("Gather", table, rows, axis=0), perm=[0, 3, 1, 2])
