"""Properties of the models: causality, the effect of a condition, the shapes of all levels, ties."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from random_models import PRIORS, random_inputs, random_prior
from torch import Tensor

from latentloop.export.configuration import PriorConfig, VqvaeConfig, level_names, to_json
from latentloop.export.models.pixelsnail import (
    CausalAttention,
    CausalConv2d,
    ConditionStack,
    PixelSnail,
    coordinates,
)
from latentloop.export.models.vqvae import Codebook, ResidualBlock, Vqvae

UNCHANGED = 1e-12  # later codes are multiplied by exact zeros; only the order of float64 sums can change


def logits_of(model: PixelSnail, inputs: dict[str, Any]) -> Tensor:
    """Logits [N, H * W, K]."""
    tensors = [
        None if inputs[name] is None else torch.from_numpy(inputs[name]) for name in ("codes", "upper", "labels")
    ]
    with torch.no_grad():
        out: Tensor = model(*tensors).flatten(2).transpose(1, 2)
    return out


def repeated(inputs: dict[str, Any], times: int) -> dict[str, Any]:
    return {name: None if value is None else np.repeat(value, times, 0) for name, value in inputs.items()}


@pytest.mark.parametrize("name", PRIORS)
def test_logits_do_not_depend_on_their_own_or_later_codes(name: str) -> None:
    config = PRIORS[name]
    model, positions = random_prior(config), config.height * config.width
    inputs = repeated(random_inputs(config, batch=1), positions)
    before = logits_of(model, inputs)
    flat = inputs["codes"].reshape(positions, positions)  # sample p gets another code at position p
    flat[np.diag_indices(positions)] = (flat.diagonal() + 1) % config.codebook_size
    change = (logits_of(model, inputs) - before).abs().amax(2)  # [changed position, logits' position]
    assert change.tril().max() <= UNCHANGED
    grid = change.view(config.height, config.width, config.height, config.width)
    for i, j in np.ndindex(config.height, config.width - 1):
        assert grid[i, j, i, j + 1].item() > 1e-6
        if config.attention:  # the next position reads the code, and all later positions attend to it
            assert change[i * config.width + j, i * config.width + j + 1 :].min() > 0
    for i, j in np.ndindex(config.height - 1, config.width):
        assert grid[i, j, i + 1, j].item() > 1e-6


@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_a_causal_convolution_reads_rows_above_and_the_taps_left_of_its_centre(kernel: int) -> None:
    torch.manual_seed(0)
    convolution, reach = CausalConv2d(2, 3, kernel), kernel // 2
    x = torch.randn(1, 2, 10, 11, requires_grad=True)
    (gradient,) = torch.autograd.grad(convolution(x)[0, :, 7, 5].square().sum(), x)
    expected = torch.zeros(10, 11, dtype=torch.bool)
    expected[7 - (kernel - 1) : 7, 5 - reach : 5 + reach + 1] = True
    expected[7, 5 - reach : 5] = True
    assert torch.equal(gradient[0].abs().amax(0) > 0, expected)


@pytest.mark.parametrize("name", PRIORS)
def test_labels_and_the_level_above_reach_every_position(name: str) -> None:
    config = PRIORS[name]
    model, inputs = random_prior(config), random_inputs(config, batch=1)
    before = logits_of(model, inputs)
    for part, size in (("upper", config.condition_codes), ("labels", config.classes)):
        if size:
            other = inputs | {part: (inputs[part] + 1) % size}
            assert (logits_of(model, other) - before).abs().amax(2).min() > 1e-6


def test_the_input_stage_has_no_bias_without_codes_to_read() -> None:
    model = random_prior(PRIORS["top-k5"])
    with torch.no_grad():
        model.rows_above.weight.zero_()
        model.left.weight.zero_()
        x = model.input_stage(torch.zeros(1, 6, 5, dtype=torch.int64))[0]
    state = model.state_dict()
    above, left = state["rows_above.bias"], state["left.bias"]
    assert torch.equal(x[:, 0, 0], torch.zeros_like(above))
    assert torch.equal(x[:, 0, 3], left)
    assert torch.equal(x[:, 3, 0], above)
    assert torch.equal(x[:, 3, 3], above + left)


def test_attention_gives_zeros_at_the_first_position_and_its_value_at_the_second() -> None:
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
    config = PriorConfig(height, width, condition_codes=5, condition_channels=3, condition_blocks=1, channels=16)
    stack = ConditionStack(config).double().eval()
    even = ConditionStack(PriorConfig(**to_json(config) | {"height": 8, "width": 8})).double().eval()
    even.load_state_dict(stack.state_dict())
    assert config.condition_grid == ((height + 1) // 2, (width + 1) // 2)
    upper = torch.randint(0, 5, (2, *config.condition_grid))
    with torch.no_grad():
        out, uncropped = stack(upper), even(upper)
    assert out.shape == (2, 3, height, width)
    assert torch.equal(out, uncropped[:, :, :height, :width])
    assert torch.equal(uncropped[:, :, ::2, ::2], uncropped[:, :, 1::2, 1::2])  # nearest: each code fills 2 x 2


def test_coordinates() -> None:
    rows, columns = coordinates(5, 2)[0]
    assert torch.allclose(rows[:, 1], torch.tensor([-0.5, -0.3, -0.1, 0.1, 0.3]))
    assert torch.equal(columns[3], torch.tensor([-0.5, 0.0]))


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_the_shapes_of_all_levels(levels: int) -> None:
    config = VqvaeConfig(
        levels=levels, image_channels=2, channels=8, residual_channels=4, code_channels=6, codebook_size=10
    )
    model = Vqvae(config).eval()
    stride = 4 * 2 ** (levels - 1)
    images = torch.rand(2, 2, 2 * stride, 3 * stride) * 2 - 1
    with torch.no_grad():
        quantised_levels = model.quantise(images)
        decoded = model.decode([level.codes for level in quantised_levels])
        again = model.decode_codewords([level.codewords for level in quantised_levels])
    assert config.stride(0) == stride
    for level, quantised in enumerate(quantised_levels):
        grid = (2 * 2**level, 3 * 2**level)
        assert grid == (images.shape[2] // config.stride(level), images.shape[3] // config.stride(level))
        assert quantised.codes.shape == (2, *grid)
        assert quantised.z.shape == quantised.codewords.shape == (2, 6, *grid)
        assert torch.equal(quantised.codewords[1, :, 0, 1], model.codebook(level).embedding[quantised.codes[1, 0, 1]])
    assert decoded.shape == images.shape
    assert torch.equal(decoded, again)


def test_the_image_depends_on_every_level() -> None:
    torch.manual_seed(0)
    config = VqvaeConfig(levels=3, channels=8, residual_channels=4, code_channels=6, codebook_size=10)
    model = Vqvae(config).double().eval()
    codes = [torch.zeros(1, 2 * 2**level, 2 * 2**level, dtype=torch.int64) for level in range(3)]
    with torch.no_grad():
        before = model.decode(codes)
        for level in range(3):
            other = [values + (n == level) for n, values in enumerate(codes)]
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


def test_nearest_is_the_lowest_index_on_ties() -> None:
    codebook = Codebook(5, 2)
    codebook.embedding.copy_(torch.tensor([[9.0, 9.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [-1.0, 0.0]]))
    z = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 2.0], [-1.0, 1.0], [0.5, 0.5]])
    codes = codebook.nearest(z.T[None, :, :, None])
    assert codes.flatten().tolist() == [1, 1, 2, 2, 1]


def test_nearest_has_the_smallest_distance() -> None:
    torch.manual_seed(0)
    codebook = Codebook(37, 6).double()
    z = torch.randn(2, 6, 3, 5).double()
    distances = (z.permute(0, 2, 3, 1)[..., None, :] - codebook.embedding).square().sum(4)
    assert torch.equal(codebook.nearest(z), distances.argmin(3))
    assert torch.equal(codebook.nearest(codebook.lookup(torch.arange(37)[None, None]))[0, 0], torch.arange(37))
