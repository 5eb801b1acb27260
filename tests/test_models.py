"""The models' own properties: causality, the shapes of a hierarchy, ties, presets, and configurations."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from random_models import PRIORS, random_inputs, random_prior
from torch import Tensor

from latentloop.errors import ConfigurationError, InputError
from latentloop.export.configuration import PriorConfig, VqvaeConfig, from_json, level_names, to_json
from latentloop.export.models.pixelsnail import CausalAttention, ConditionStack, PixelSnail, coordinates
from latentloop.export.models.presets import PRESETS, preset
from latentloop.export.models.vqvae import Codebook, ResidualBlock, Vqvae

# Later codes meet weights that are exactly zero; what remains is the order of float64 sums.
UNCHANGED = 1e-12


def logits_of(model: PixelSnail, inputs: dict[str, Any]) -> Tensor:
    """Logits [N, H * W, K]."""
    given = [
        None if inputs[name] is None else torch.from_numpy(inputs[name])
        for name in ("codes", "upper", "labels")
    ]
    with torch.no_grad():
        out: Tensor = model(*given).flatten(2).transpose(1, 2)
    return out


def repeated(inputs: dict[str, Any], times: int) -> dict[str, Any]:
    return {name: None if value is None else np.repeat(value, times, 0) for name, value in inputs.items()}


@pytest.mark.parametrize("name", PRIORS)
def test_no_logit_sees_its_own_or_a_later_code(name: str) -> None:
    config = PRIORS[name]
    model, positions = random_prior(config), config.height * config.width
    inputs = repeated(random_inputs(config, batch=1), positions)
    before = logits_of(model, inputs)
    flat = inputs["codes"].reshape(positions, positions)  # sample p gets another code at position p
    flat[np.diag_indices(positions)] = (flat.diagonal() + 1) % config.codebook_size
    change = (logits_of(model, inputs) - before).abs().amax(2)  # [changed position, logits' position]
    assert change.tril().max() <= UNCHANGED
    assert (
        change.diagonal(1).min() > 1e-6
    )  # the next position sees the change, at the start of a row too, or ...
    if config.attention:
        assert change[np.triu_indices(positions, 1)].min() > 0  # ... every later one does


@pytest.mark.parametrize("name", PRIORS)
def test_labels_and_the_level_above_reach_every_position(name: str) -> None:
    config = PRIORS[name]
    model, inputs = random_prior(config), random_inputs(config, batch=1)
    before = logits_of(model, inputs)
    for part, size in (("upper", config.condition_codes), ("labels", config.classes)):
        if size:
            other = inputs | {part: (inputs[part] + 1) % size}
            assert (logits_of(model, other) - before).abs().amax(2).min() > 1e-6


def test_the_input_stage_has_no_bias_where_it_sees_nothing() -> None:
    model = random_prior(PRIORS["top-k5"])
    with torch.no_grad():
        model.rows_above.weight.zero_()
        model.left.weight.zero_()
        x = model.input_stage(torch.zeros(1, 6, 5, dtype=torch.int64))[0]
    above, left = model.rows_above.bias.detach(), model.left.bias.detach()
    assert torch.equal(x[:, 0, 0], torch.zeros_like(above))
    assert torch.equal(x[:, 0, 3], left)
    assert torch.equal(x[:, 3, 0], above)
    assert torch.equal(x[:, 3, 3], above + left)


def test_attention_gives_zeros_at_first_and_the_first_value_next() -> None:
    torch.manual_seed(0)
    attention = CausalAttention(5, 6, 8, heads=2, dropout=0.0).double().eval()
    query, key = torch.randn(2, 5, 3, 4).double(), torch.randn(2, 6, 3, 4).double()
    with torch.no_grad():
        out = attention(query, key)
        value = attention.value(key[:, :, 0, 0])
    assert torch.equal(out[:, :, 0, 0], torch.zeros(2, 8).double())
    torch.testing.assert_close(out[:, :, 0, 1], value, rtol=1e-12, atol=0)
    assert torch.isfinite(out).all()


@pytest.mark.parametrize(("height", "width"), [(5, 7), (6, 7), (7, 4), (1, 1)])
def test_the_condition_of_an_odd_grid_is_cropped(height: int, width: int) -> None:
    config = PriorConfig(
        height, width, condition_codes=5, condition_channels=3, condition_blocks=1, channels=16
    )
    stack = ConditionStack(config).double().eval()
    even = ConditionStack(PriorConfig(**to_json(config) | {"height": 8, "width": 8})).double().eval()
    even.load_state_dict(stack.state_dict())
    assert config.condition_grid == ((height + 1) // 2, (width + 1) // 2)
    upper = torch.randint(0, 5, (2, *config.condition_grid))
    with torch.no_grad():
        out, whole = stack(upper), even(upper)
    assert out.shape == (2, 3, height, width)
    assert torch.equal(out, whole[:, :, :height, :width])
    assert torch.equal(whole[:, :, ::2, ::2], whole[:, :, 1::2, 1::2])  # nearest: each code fills 2 x 2


def test_coordinates() -> None:
    rows, columns = coordinates(5, 2)[0]
    assert torch.allclose(rows[:, 1], torch.tensor([-0.5, -0.3, -0.1, 0.1, 0.3]))
    assert torch.equal(columns[3], torch.tensor([-0.5, 0.0]))


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_a_hierarchy_of_levels_keeps_its_shapes(levels: int) -> None:
    config = VqvaeConfig(levels, 2, channels=8, residual_channels=4, code_channels=6, codebook_size=10)
    model = Vqvae(config).eval()
    stride = 4 * 2 ** (levels - 1)
    images = torch.rand(2, 2, 2 * stride, 3 * stride) * 2 - 1
    with torch.no_grad():
        found = model.quantise(images)
        decoded = model.decode([level.codes for level in found])
        again = model.decode_codewords([level.codewords for level in found])
    assert config.stride(0) == stride
    for level, quantised in enumerate(found):
        grid = (2 * 2**level, 3 * 2**level)
        assert grid == (images.shape[2] // config.stride(level), images.shape[3] // config.stride(level))
        assert quantised.codes.shape == (2, *grid)
        assert quantised.z.shape == quantised.codewords.shape == (2, 6, *grid)
        assert torch.equal(
            quantised.codewords[1, :, 0, 1], model.codebook(level).embedding[quantised.codes[1, 0, 1]]
        )
    assert decoded.shape == images.shape
    assert torch.equal(decoded, again)


def test_every_level_shapes_the_image() -> None:
    torch.manual_seed(0)
    config = VqvaeConfig(3, channels=8, residual_channels=4, code_channels=6, codebook_size=10)
    model = Vqvae(config).double().eval()
    codes = [torch.zeros(1, 2 * 2**level, 2 * 2**level, dtype=torch.int64) for level in range(3)]
    with torch.no_grad():
        before = model.decode(codes)
        for level in range(3):
            other = [given + (n == level) for n, given in enumerate(codes)]
            assert (model.decode(other) - before).abs().max() > 1e-6


def test_level_names() -> None:
    assert level_names(1) == ("top",)
    assert level_names(2) == ("top", "bottom")
    assert level_names(3) == ("top", "middle", "bottom")
    assert len(set(level_names(5))) == 5


def test_the_residual_skip_adds_the_input_before_its_relu() -> None:
    block = ResidualBlock(4, 3)
    for parameter in block.parameters():
        torch.nn.init.zeros_(parameter)
    x = torch.randn(2, 4, 5, 5)
    assert torch.equal(block(x), x)


def test_nearest_takes_the_lowest_index_on_ties() -> None:
    codebook = Codebook(5, 2)
    codebook.embedding.copy_(torch.tensor([[9.0, 9.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [-1.0, 0.0]]))
    z = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 2.0], [-1.0, 1.0], [0.5, 0.5]])
    found = codebook.nearest(z.T[None, :, :, None])
    assert found.flatten().tolist() == [1, 1, 2, 2, 1]


def test_nearest_is_the_nearest() -> None:
    torch.manual_seed(0)
    codebook = Codebook(37, 6).double()
    z = torch.randn(2, 6, 3, 5).double()
    distances = (z.permute(0, 2, 3, 1)[..., None, :] - codebook.embedding).square().sum(4)
    assert torch.equal(codebook.nearest(z), distances.argmin(3))
    assert torch.equal(
        codebook.nearest(codebook.lookup(torch.arange(37)[None, None]))[0, 0], torch.arange(37)
    )


def shapes_of(config: PriorConfig) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        model = PixelSnail(config)
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


def count(shapes: dict[str, tuple[int, ...]], pattern: str) -> int:
    return sum(re.fullmatch(pattern, name) is not None for name in shapes)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_whole_hierarchies(name: str) -> None:
    vqvae, priors = preset(name).vqvae, preset(name).priors
    with torch.device("meta"):
        assert Vqvae(vqvae).codebook(0).embedding.shape == (512, 64)
    size = int(name.rpartition("-")[2])
    assert len(priors) == vqvae.levels
    for level, prior in enumerate(priors):
        assert (prior.height, prior.width) == (size // vqvae.stride(level),) * 2
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


def test_paper_256_has_the_sizes_of_the_papers_table() -> None:
    top, bottom = preset("paper-256").priors
    for prior, inner in ((top, 2048), (bottom, 1024)):
        shapes = shapes_of(prior)
        assert shapes["blocks.0.residual.0.conv1.weight"] == (inner, 512, 5, 5)
        assert shapes["output.19.conv1.weight"] == (inner, 512, 1, 1)
        assert (prior.layers, prior.output_blocks, prior.classes) == (20, 20, 1000)
    assert (top.attention, top.blocks, top.heads) == (True, 4, 8)
    assert (bottom.attention, bottom.condition_blocks) == (False, 20)
    vqvae = preset("paper-256").vqvae
    assert (vqvae.channels, vqvae.residual_channels, vqvae.residual_layers) == (128, 64, 2)
    assert (vqvae.ema_decay, vqvae.commitment) == (0.99, 0.25)


def test_an_unknown_preset_names_the_ones_there_are() -> None:
    with pytest.raises(InputError, match="no preset 'paper-512'.*rosinality-256, paper-256, paper-1024"):
        preset("paper-512")


@pytest.mark.parametrize("config", [preset("paper-1024").vqvae, *preset("paper-1024").priors])
def test_configurations_survive_json(config: VqvaeConfig | PriorConfig) -> None:
    found: object
    if isinstance(config, VqvaeConfig):
        found = from_json(VqvaeConfig, to_json(config), "file")
    else:
        found = from_json(PriorConfig, to_json(config), "file")
    assert found == config


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
        ({"kernel": 4}, "PriorConfig.kernel is 4, expected odd, at least 3"),
        ({"channels": 24}, "channels is 24, expected a multiple of 16"),
        ({"blocks": 0}, "blocks is 0, expected at least 1"),
        ({"output_blocks": -1}, "output_blocks is -1, expected at least 0"),
        (
            {"condition_codes": 512},
            "condition_channels is 0, expected positive exactly where condition_codes is",
        ),
        ({"class_channels": 3}, "class_channels is 3, expected positive exactly where classes is"),
    ],
)
def test_wrong_configurations_are_named(change: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^prior.json: .*{expected}"):
        from_json(PriorConfig, to_json(PriorConfig(4, 4)) | change, "prior.json")


def test_a_missing_field_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"^prior.json: .*width"):
        from_json(PriorConfig, {"height": 4}, "prior.json")


@pytest.mark.parametrize(
    ("name", "value"), [("levels", 0), ("channels", 7), ("ema_decay", 1.0), ("commitment", -1)]
)
def test_wrong_vqvae_configurations_are_named(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"VqvaeConfig.{name} is {value}, expected"):
        VqvaeConfig(**{name: value})
