"""Presets have the published sizes, and errors name invalid fields of configurations."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from latentloop.errors import ConfigurationError, InputError
from latentloop.export.configuration import PriorConfig, VqvaeConfig, from_json, to_json
from latentloop.export.models.pixelsnail import PixelSnail
from latentloop.export.models.presets import PRESETS, preset
from latentloop.export.models.vqvae import Vqvae


def shapes_of(config: PriorConfig) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        model = PixelSnail(config)
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


def count(shapes: dict[str, tuple[int, ...]], pattern: str) -> int:
    return sum(re.fullmatch(pattern, name) is not None for name in shapes)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_complete(name: str) -> None:
    vqvae, priors = preset(name).vqvae, preset(name).priors
    with torch.device("meta"):
        assert Vqvae(vqvae).codebook(0).embedding.shape == (512, 64)
    strides = [vqvae.stride(level) for level in range(vqvae.levels)]
    sizes = {(prior.height * n, prior.width * n) for prior, n in zip(priors, strides, strict=True)}
    assert len(sizes) == 1  # every level covers the same image
    for level, prior in enumerate(priors):
        assert prior.codebook_size == vqvae.codebook_size
        assert prior.condition_codes == (vqvae.codebook_size if level else 0)
        shapes = shapes_of(prior)
        assert count(shapes, r"blocks\.\d+\.residual\.\d+\.conv2\.weight") == prior.layers
        assert count(shapes, r"blocks\.\d+\.attention\.query\.weight") == prior.blocks * prior.attention
        assert count(shapes, r"output\.\d+\.conv1\.weight") == prior.output_blocks


def test_rosinality_256_has_the_defaults_of_the_common_implementation() -> None:
    top, bottom = map(shapes_of, preset("rosinality-256").priors)
    for shapes in (top, bottom):
        assert shapes["rows_above.weight"] == (256, 512, 2, 5)
        assert shapes["left.weight"] == (256, 512, 3, 2)
        assert shapes["blocks.3.residual.3.conv1.weight"] == (256, 256, 5, 5)
        assert shapes["blocks.3.residual.3.conv2.weight"] == (512, 256, 5, 5)
        assert shapes["logits.weight"] == (512, 256, 1, 1)
        assert count(shapes, r"output\..*") == 0
    assert top["blocks.0.attention.value.weight"] == (128, 514)
    assert top["blocks.0.out.auxiliary.weight"] == (256, 128, 1, 1)
    assert bottom["blocks.0.mix.weight"] == (256, 258, 1, 1)
    assert bottom["condition.input.weight"] == (256, 512, 3, 3)
    assert bottom["condition.residual.2.conv2.weight"] == (512, 256, 3, 3)
    assert bottom["blocks.0.residual.0.condition.weight"] == (512, 256, 1, 1)
    assert count(bottom, r"condition\.residual\.\d+\.conv1\.weight") == 3
    vqvae = preset("rosinality-256").vqvae
    assert (vqvae.channels, vqvae.residual_channels, vqvae.residual_layers) == (128, 32, 2)
    assert [(prior.height, prior.width) for prior in preset("rosinality-256").priors] == [(32, 32), (64, 64)]


def test_paper_256_has_the_sizes_of_the_papers_table() -> None:
    top, bottom = preset("paper-256").priors
    for prior, inner in ((top, 2048), (bottom, 1024)):
        shapes = shapes_of(prior)
        assert shapes["blocks.0.residual.0.conv1.weight"] == (inner, 512, 5, 5)
        assert shapes["output.19.conv1.weight"] == (inner, 512, 1, 1)
        assert (prior.layers, prior.output_blocks, prior.classes) == (20, 20, 1000)
    assert [(prior.height, prior.width) for prior in (top, bottom)] == [(32, 32), (64, 64)]
    assert (top.attention, top.blocks, top.heads) == (True, 4, 8)
    assert (bottom.attention, bottom.condition_blocks) == (False, 20)
    vqvae = preset("paper-256").vqvae
    assert (vqvae.channels, vqvae.residual_channels, vqvae.residual_layers) == (128, 64, 2)
    assert (vqvae.ema_decay, vqvae.commitment) == (0.99, 0.25)


def test_the_error_for_an_unknown_preset_lists_the_presets() -> None:
    with pytest.raises(InputError, match=r"no preset 'paper-512'.*rosinality-256, paper-256, paper-1024"):
        preset("paper-512")


@pytest.mark.parametrize("config", [preset("paper-1024").vqvae, *preset("paper-1024").priors])
def test_configurations_are_unchanged_after_json(config: VqvaeConfig | PriorConfig) -> None:
    result: object
    if isinstance(config, VqvaeConfig):
        result = from_json(VqvaeConfig, to_json(config), "file")
    else:
        result = from_json(PriorConfig, to_json(config), "file")
    assert result == config


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"colour": 1}, "unknown field colour; known: height, width"),
        ({"height": None}, "height is None, expected int"),
        ({"kernel": "5"}, "kernel is '5', expected int"),
        ({"kernel": True}, "kernel is True, expected int"),
        ({"attention": 1}, "attention is 1, expected bool"),
        ({"dropout": [0.1]}, r"dropout is \[0.1\], expected float"),
        ({"dropout": 1.0}, r"PriorConfig.dropout is 1.0, expected in \[0, 1\)"),
        ({"kernel": 4}, "PriorConfig.kernel is 4, expected odd, 3 to 31"),
        ({"kernel": 33}, "PriorConfig.kernel is 33, expected odd, 3 to 31"),
        ({"channels": 24}, "channels is 24, expected a multiple of 16"),
        ({"blocks": 0}, "blocks is 0, expected at least 1"),
        ({"output_blocks": -1}, "output_blocks is -1, expected at least 0"),
        (
            {"condition_codes": 512},
            "condition_channels is 0, expected positive exactly if condition_codes is",
        ),
        ({"class_channels": 3}, "class_channels is 3, expected positive exactly if classes is"),
    ],
)
def test_the_error_names_the_wrong_field(change: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^prior.json: .*{expected}"):
        from_json(PriorConfig, to_json(PriorConfig(4, 4)) | change, "prior.json")


def test_the_error_names_a_missing_field() -> None:
    with pytest.raises(ConfigurationError, match=r"^prior.json: .*width"):
        from_json(PriorConfig, {"height": 4}, "prior.json")


@pytest.mark.parametrize(("name", "value"), [("levels", 0), ("channels", 7), ("ema_decay", 1.0), ("commitment", -1)])
def test_the_error_names_the_wrong_field_of_a_vqvae(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"VqvaeConfig.{name} is {value}, expected"):
        VqvaeConfig(**{name: value})


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_makes_images_of_the_size_in_its_name(name: str) -> None:
    chosen = preset(name)
    for level, prior in enumerate(chosen.priors):
        stride = chosen.vqvae.stride(level)
        assert (prior.height * stride, prior.width * stride) == (int(name.split("-")[1]),) * 2
