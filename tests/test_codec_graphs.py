"""The encoder and decoder graphs, compared with the PyTorch model in float64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cpu_sessions import cpu_session
from random_models import plain_weights, random_vqvae

from latentloop.export.bundle.files import write_graphs
from latentloop.export.configuration import VqvaeConfig
from latentloop.export.graphs.builder import GraphBuilder, WeightStore
from latentloop.export.graphs.codec import decoder_graph, encoder_graph

SMALL: dict[str, Any] = {"channels": 12, "residual_channels": 6, "code_channels": 5, "codebook_size": 16}
CONFIGS = {
    "one-level": VqvaeConfig(levels=1, **SMALL),
    "two-levels": VqvaeConfig(levels=2, image_channels=1, **SMALL),
    "in-place": VqvaeConfig(levels=2, inplace=True, **SMALL),
    "three-levels-stride-8": VqvaeConfig(levels=3, bottom_stride=8, residual_layers=1, **SMALL),
    "stride-2-no-residual": VqvaeConfig(levels=2, bottom_stride=2, residual_layers=0, **SMALL),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_equals_the_model(name: str, tmp_path: Path) -> None:
    config = CONFIGS[name]
    model = random_vqvae(config)
    image = (config.stride(0) * 2, config.stride(0) * 3)
    store = WeightStore()
    graphs: dict[str, GraphBuilder] = {
        "encoder.onnx": encoder_graph(config, plain_weights(model), store, image),
        "decoder.onnx": decoder_graph(config, plain_weights(model), store, image),
    }
    write_graphs(tmp_path, graphs, store)
    images = np.random.default_rng(0).integers(0, 256, (3, *image, config.image_channels), dtype=np.uint8)
    codes = cpu_session(tmp_path / "encoder.onnx", threads=2).run({"images": images})
    model.double()
    with torch.no_grad():
        expected = model.quantise(torch.from_numpy(images).double().permute(0, 3, 1, 2) / 127.5 - 1)
        decoded = model.decode([torch.from_numpy(codes[level]) for level in config.level_names])
    for level, quantised in zip(config.level_names, expected, strict=True):
        assert len(np.unique(codes[level])) > 1
        np.testing.assert_array_equal(codes[level], quantised.codes.numpy(), err_msg=level)
    outputs = cpu_session(tmp_path / "decoder.onnx", threads=2).run(codes)
    pixels = decoded.permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(outputs["decoded"], pixels, atol=1e-5 * np.abs(pixels).max())
    rounded = np.clip(np.rint((outputs["decoded"] + np.float32(1)) * np.float32(127.5)), 0, 255)
    np.testing.assert_array_equal(outputs["images"], rounded.astype(np.uint8))


def test_ties_have_the_lowest_index(tmp_path: Path) -> None:
    config = CONFIGS["two-levels"]
    weights = plain_weights(random_vqvae(config, seed=1))
    for level in range(2):
        weights[f"codebooks.{level}.embedding"][8:] = weights[f"codebooks.{level}.embedding"][:8]
    store = WeightStore()
    write_graphs(tmp_path, {"encoder.onnx": encoder_graph(config, weights, store, (32, 32))}, store)
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 1), dtype=np.uint8)
    codes = cpu_session(tmp_path / "encoder.onnx", threads=2).run({"images": images})
    assert max(values.max() for values in codes.values()) < 8
