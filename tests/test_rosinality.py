"""Reading the common PyTorch layout, compared with an independent forward and with golden values of real files."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from common_layout import prior_logits, rounded, vqvae_decode, vqvae_encode
from common_layout_files import (
    PRIORS,
    State,
    as_float64,
    parametrized,
    random_codes,
    random_prior,
    random_vqvae,
    save,
    with_prefix,
)
from torch import Tensor, nn

from latentloop.errors import CheckpointError
from latentloop.export.checkpoints.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from latentloop.export.configuration import PriorConfig, VqvaeConfig
from latentloop.export.inplace.variant import with_inplace
from latentloop.export.layouts.reading import read_prior, read_vqvae
from latentloop.export.models.pixelsnail import PixelSnail
from latentloop.export.models.vqvae import Vqvae

TRAINED = Path(__file__).parents[2] / "shared" / "checkpoints"
trained = pytest.mark.skipif(not TRAINED.is_dir(), reason=f"the trained files are not at {TRAINED}")

# For two float64 implementations of one formula, with sums of a few thousand terms in some tens of layers.
EXACT = 1e-11


def prior_of(checkpoint: Checkpoint) -> PixelSnail:
    assert isinstance(checkpoint.config, PriorConfig)
    model = PixelSnail(checkpoint.config)
    load(model, checkpoint)
    return model


def vqvae_of(checkpoint: Checkpoint) -> Vqvae:
    assert isinstance(checkpoint.config, VqvaeConfig)
    model = Vqvae(checkpoint.config)
    load(model, checkpoint)
    return model


def load(model: nn.Module, checkpoint: Checkpoint) -> None:
    assert all(value.dtype == np.float32 for value in checkpoint.weights.values())
    model.load_state_dict({name: torch.from_numpy(value) for name, value in checkpoint.weights.items()})
    model.double().eval()


def own_logits(checkpoint: Checkpoint, codes: np.ndarray, upper: np.ndarray | None) -> np.ndarray:
    upper_codes = None if upper is None else torch.from_numpy(upper).long()
    with torch.no_grad():
        logits: Tensor = prior_of(checkpoint)(torch.from_numpy(codes).long(), upper_codes)
    return logits.permute(0, 2, 3, 1).numpy()


def reference_logits(
    state: State, codes: np.ndarray, upper: np.ndarray | None, *, as_stored: bool, inplace: bool = False
) -> np.ndarray:
    weights = rounded(as_float64(state)) if as_stored else as_float64(state)
    rows = range(len(codes))
    above = [None if upper is None else upper[n] for n in rows]
    return np.stack([prior_logits(weights, codes[n], above[n], inplace=inplace) for n in rows])


def assert_close(actual: np.ndarray, expected: np.ndarray, relative: float) -> None:
    np.testing.assert_allclose(actual, expected, rtol=0, atol=relative * np.abs(expected).max())


@pytest.mark.parametrize("name", PRIORS)
def test_prior_computes_the_logits_of_its_file(name: str, tmp_path: Path) -> None:
    sizes = PRIORS[name]
    state = random_prior(sizes)
    codes, upper = random_codes(sizes, batch=2)
    checkpoint = read_prior(save(tmp_path / "prior.pt", state, dropout=0.25))
    logits = own_logits(checkpoint, codes, upper)
    assert_close(logits, reference_logits(state, codes, upper, as_stored=True), EXACT)
    # Weights rounded to float32 (relative error 2^-24 each), in about ten convolutions.
    assert_close(logits, reference_logits(state, codes, upper, as_stored=False), 100 * 2**-24)
    assert logits.std() > 0.5  # they are not all equal


@pytest.mark.parametrize("name", PRIORS)
def test_older_prior_computes_the_logits_of_its_file(name: str, tmp_path: Path) -> None:
    state = random_prior(PRIORS[name])
    codes, upper = random_codes(PRIORS[name], batch=2)
    checkpoint = with_inplace(read_prior(save(tmp_path / "prior.pt", state)), inplace=True)
    logits = own_logits(checkpoint, codes, upper)
    assert_close(logits, reference_logits(state, codes, upper, as_stored=True, inplace=True), EXACT)
    other = reference_logits(state, codes, upper, as_stored=True)
    assert np.abs(logits - other).max() > 0.01 * np.abs(other).max()  # the variants differ clearly


@pytest.mark.parametrize("name", PRIORS)
def test_the_shapes_determine_the_configuration_of_a_prior(name: str, tmp_path: Path) -> None:
    sizes = PRIORS[name]
    wrong = {"channel": 7, "n_res_block": 9, "n_res_channel": 1, "n_out_res_block": 5, "n_cond_res_block": 8}
    checkpoint = read_prior(save(tmp_path / "prior.pt", random_prior(sizes), hier="top", dropout=0.25, **wrong))
    has_condition = sizes.upper_codes > 0
    assert checkpoint.config == PriorConfig(
        sizes.height,
        sizes.width,
        codebook_size=sizes.codes,
        channels=sizes.channels,
        residual_channels=sizes.inner,
        kernel=sizes.kernel,
        blocks=sizes.blocks,
        residual_blocks=sizes.residual_blocks,
        attention=sizes.attention,
        heads=8,
        output_blocks=sizes.output_blocks,
        condition_codes=sizes.upper_codes,
        condition_channels=sizes.upper_channels if has_condition else 0,
        condition_blocks=sizes.upper_blocks if has_condition else 0,
        condition_kernel=sizes.upper_kernel if has_condition else 3,
        dropout=0.25,
    )


def test_provenance_is_json_without_paths_and_is_saved(tmp_path: Path) -> None:
    path = save(
        tmp_path / "prior.pt", random_prior(PRIORS["top-k3"]), dropout=0.2, path="/home/me/codes", lr=1e-3, n=10**400
    )
    checkpoint = read_prior(path)
    assert checkpoint.provenance["args"] == {"dropout": 0.2, "lr": 1e-3}
    assert "/home/me" not in json.dumps(checkpoint.provenance)
    save_checkpoint(tmp_path / "prior.safetensors", checkpoint)
    again = load_checkpoint(tmp_path / "prior.safetensors")
    assert (again.config, again.provenance) == (checkpoint.config, checkpoint.provenance)
    assert all(np.array_equal(again.weights[name], value) for name, value in checkpoint.weights.items())


def without_background(state: State) -> State:
    return {key: value for key, value in state.items() if key != "background"}


@pytest.mark.parametrize("rewrite", [with_prefix, parametrized, lambda state: with_prefix(parametrized(state)), dict])
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
def test_other_names_of_the_same_weights(rewrite: Callable[[State], State], zipped: bool, tmp_path: Path) -> None:
    state = random_prior(PRIORS["top-k3"])
    expected = read_prior(save(tmp_path / "plain.pt", state, dropout=0.1))
    torch.save(rewrite(state), tmp_path / "other.pt", _use_new_zipfile_serialization=zipped)
    result = read_prior(tmp_path / "other.pt")
    assert result.config == expected.config
    assert result.weights.keys() == expected.weights.keys()
    assert all(np.array_equal(result.weights[name], value) for name, value in expected.weights.items())


def test_parametrizations_as_torch_saves_them(tmp_path: Path) -> None:
    """The names in ``parametrized`` are those that torch writes: original0 is g, original1 is v."""
    layer = nn.utils.parametrizations.weight_norm(nn.Conv2d(32, 11, 1))
    state = parametrized(random_prior(PRIORS["top-k3"]))
    state |= {f"out.3.conv.{key}": value for key, value in layer.state_dict().items()}
    weights = read_prior(save(tmp_path / "prior.pt", state)).weights
    np.testing.assert_allclose(weights["logits.weight"], layer.weight.detach().numpy(), rtol=1e-6)


def test_half_precision_files_and_options_that_no_shape_determines(tmp_path: Path) -> None:
    state = {key: value.bfloat16() for key, value in random_prior(PRIORS["top-k5"]).items()}
    codes, _ = random_codes(PRIORS["top-k5"], batch=1)
    path = save(tmp_path / "prior.pt", without_background(state))
    exact = {key: value.float() for key, value in random_prior(PRIORS["top-k5"]).items() if key == "background"}
    with pytest.raises(CheckpointError, match="background, which determines the grid"):
        read_prior(path)
    checkpoint = read_prior(path, grid=(5, 4))
    reference = reference_logits(state | exact, codes, None, as_stored=True)
    assert_close(own_logits(checkpoint, codes, None), reference, EXACT)
    fewer = read_prior(path, grid=(5, 4), heads=4)
    assert isinstance(fewer.config, PriorConfig)
    assert fewer.config.heads == 4
    assert np.abs(own_logits(fewer, codes, None) - reference).max() > 1e-3
    with pytest.raises(CheckpointError, match="heads and grid"):
        read_prior(path, grid=(5, 4), heads=3)


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("layers", [0, 1, 2])
def test_vqvae_computes_the_codes_and_images_of_its_file(layers: int, inplace: bool, tmp_path: Path) -> None:
    state = random_vqvae(layers=layers, images=3 - layers)
    checkpoint = with_inplace(read_vqvae(save(tmp_path / "vqvae.pt", with_prefix(state))), inplace=inplace)
    width = 5 if layers else 32
    assert checkpoint.config == VqvaeConfig(
        image_channels=3 - layers,
        channels=8,
        residual_channels=width,
        residual_layers=layers,
        code_channels=6,
        codebook_size=9,
        inplace=inplace,
    )
    model = vqvae_of(checkpoint)
    images = np.random.default_rng(0).uniform(-1, 1, (2, 16, 24, 3 - layers))
    with torch.no_grad():
        levels = model.quantise(torch.from_numpy(images).permute(0, 3, 1, 2))
        decoded = model.decode([level.codes for level in levels]).permute(0, 2, 3, 1).numpy()
    assert all(len(np.unique(level.codes)) > 1 for level in levels)
    for n, image in enumerate(images):
        codes = vqvae_encode(as_float64(state), image, inplace=inplace)
        assert [np.array_equal(level.codes[n], each) for level, each in zip(levels, codes, strict=True)] == [True] * 2
        assert_close(decoded[n], vqvae_decode(as_float64(state), *codes, inplace=inplace), EXACT)


def test_vqvae_with_args_and_without_moving_averages(tmp_path: Path) -> None:
    state = random_vqvae()
    bare = {key: value for key, value in state.items() if not key.endswith(("cluster_size", "embed_avg"))}
    result = read_vqvae(save(tmp_path / "bare.pt", bare, channel=99, n_res_channel=3))
    expected = read_vqvae(save(tmp_path / "full.pt", state))
    assert result.config == expected.config
    assert all(np.array_equal(result.weights[name], value) for name, value in expected.weights.items())


@trained
@pytest.mark.parametrize("level", ["top", "bottom"])
def test_trained_prior_gives_the_golden_logits(level: str) -> None:
    golden = np.load(TRAINED / f"golden_{level}.npz")
    codes, upper = golden["codes"], golden["condition"] if level == "bottom" else None
    checkpoint = read_prior(TRAINED / f"{level}.pt")
    with torch.serialization.safe_globals([argparse.Namespace]):
        state = torch.load(TRAINED / f"{level}.pt", weights_only=True)["model"]
    assert_close(reference_logits(state, codes, upper, as_stored=False), golden["logits"], EXACT)
    logits = own_logits(checkpoint, codes, upper)
    assert_close(logits, reference_logits(state, codes, upper, as_stored=True), EXACT)
    # The golden model has g and v; the checkpoint has their product in float32.
    assert_close(logits, golden["logits"], 4 * 2**-24)


@trained
def test_trained_vqvae_gives_the_golden_codes_and_images() -> None:
    golden = np.load(TRAINED / "golden_vqvae.npz")
    model = vqvae_of(read_vqvae(TRAINED / "vqvae.pt"))
    images = torch.from_numpy(golden["images"]).double().permute(0, 3, 1, 2) / 127.5 - 1
    with torch.no_grad():
        codes = [level.codes.numpy() for level in model.quantise(images)]
        decoded = model.decode([torch.from_numpy(golden[level]).long() for level in ("top", "bottom")])
    assert np.array_equal(codes[0], golden["top"])
    assert np.array_equal(codes[1], golden["bottom"])
    # The golden images are float32, below 2 in magnitude: half a unit in the last place.
    assert np.abs(decoded.permute(0, 2, 3, 1).numpy() - golden["decoded"]).max() <= 2**-24 * 1.001
