"""The decoder's adversarial training: codes stay, pixels sharpen, interrupted runs end with the same bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_training import SMALL, VQVAE, blobs, parse, write_blobs
from torch.nn import functional

from latentloop.errors import InputError
from latentloop.export.checkpoint import load_checkpoint
from latentloop.export.commands import train
from latentloop.export.models.build import build_vqvae
from latentloop.export.models.vqvae import Vqvae
from latentloop.export.train import decoder
from latentloop.export.train.codes_digest import codes_digest
from latentloop.export.train.decoder import DecoderOptions, DecoderTask, PatchDiscriminator, texture, train_decoder
from latentloop.export.train.vqvae import to_unit

COMMAND = "decoder --batch 8 --discriminator-channels 4 --threads 1 --json"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_blobs(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def trained(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trained") / "vqvae.safetensors"
    assert train.run(parse(f"{VQVAE} --steps 12", data=folder, out=path)) == 0
    return path


def task(weight: float = 0.3) -> DecoderTask:
    torch.manual_seed(0)
    options = DecoderOptions(steps=400, batch=16, weight=weight, warm_up=10, discriminator_channels=8)
    return DecoderTask(Vqvae(SMALL), blobs(64), options)


def test_codes_and_provenance_stay_and_the_decoder_changes(folder: Path, trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "sharp.safetensors"
    metrics = train_decoder(parse(f"{COMMAND} --steps 6", data=folder, vqvae=trained, out=out))
    before, after = load_checkpoint(trained), load_checkpoint(out)
    changed = {name for name, value in before.weights.items() if not np.array_equal(value, after.weights[name])}
    assert changed
    assert {name.split(".")[0] for name in changed} == {"decoder", "upsamplers"}
    assert codes_digest(before.weights) == codes_digest(after.weights)
    images = to_unit(torch.from_numpy(blobs(4)))
    for one, two in zip(build_vqvae(before, "").quantise(images), build_vqvae(after, "").quantise(images), strict=True):
        assert torch.equal(one.codes, two.codes)
    assert metrics == after.provenance["held_out"]
    assert metrics["texture"] > 0
    assert after.provenance["before"]["held_out"] == before.provenance["held_out"]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_resumed_run_ends_with_the_same_bits(
    precision: str, folder: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = f"{COMMAND} --steps 7 --flip --precision {precision} --save-every 2"
    paths: dict[str, Any] = {"data": folder, "vqvae": trained}
    figures = train_decoder(parse(command, out=tmp_path / "whole.safetensors", **paths))
    original = DecoderTask.step

    def stop(self: DecoderTask, step: int) -> torch.Tensor:
        if step == 5:
            raise KeyboardInterrupt
        return original(self, step)

    monkeypatch.setattr(DecoderTask, "step", stop)
    resumed = tmp_path / "resumed.safetensors"
    with pytest.raises(KeyboardInterrupt):
        train_decoder(parse(command, out=resumed, **paths))
    monkeypatch.setattr(DecoderTask, "step", original)
    torch.manual_seed(99)  # nothing may hang on the global generator
    assert train_decoder(parse(command, out=resumed, **paths)) == figures
    first, second = (load_checkpoint(tmp_path / f"{name}.safetensors") for name in ("whole", "resumed"))
    for name, value in first.weights.items():
        np.testing.assert_array_equal(value, second.weights[name], err_msg=name)


def test_the_discriminator_learns_to_tell_pictures_from_images() -> None:
    tried = task(weight=1e-6)
    for step in range(60):
        tried.step(step)
    images = to_unit(tried.images)
    with torch.no_grad():
        pictures = tried.model.decode_codewords([level.codewords for level in tried.model.quantise(images)])
        real, false = tried.discriminator(images), tried.discriminator(pictures)
    assert float(real.mean()) > float(false.mean()) + 0.5


def test_the_balance_is_the_ratio_of_the_gradients_at_the_last_layer() -> None:
    tried = task()
    images = to_unit(tried.images[:8])
    decoded = tried.model.decode_codewords([level.codewords for level in tried.model.quantise(images)])
    error, lure = functional.mse_loss(decoded, images), -tried.discriminator(decoded).mean()
    found = float(tried.balance(error, lure))
    norms = []
    for loss in (error, lure):
        tried.model.zero_grad()
        torch.autograd.backward(loss, retain_graph=True)
        gradient = dict(tried.model.named_parameters())["decoder.up.1.weight"].grad
        assert gradient is not None
        norms.append(float(gradient.norm()))
    assert found == pytest.approx(norms[0] / norms[1], rel=1e-4)


def test_a_score_sees_the_patch_that_the_docstring_says() -> None:
    torch.manual_seed(0)
    discriminator = PatchDiscriminator(1, 4).eval()
    images = torch.randn(1, 1, 64, 64, requires_grad=True)
    discriminator(images)[0, 0, 8, 8].backward()
    assert images.grad is not None
    seen = images.grad[0, 0].nonzero()
    assert (seen.max(0).values - seen.min(0).values + 1).tolist() == [18, 18]


def test_texture_is_zero_without_detail_and_counts_its_energy() -> None:
    ramp = torch.linspace(-1, 1, 16).expand(2, 3, 16, 16)
    assert texture(ramp) == pytest.approx(0, abs=1e-12)
    board = (torch.arange(16)[:, None] + torch.arange(16)) % 2 * 2.0 - 1
    expected = (1 - 1 / 9) ** 2  # nine neighbours of alternating sign sum to one
    assert texture(board.expand(1, 1, 16, 16)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("option", "told"), [("--weight 0", "weight is 0"), ("--discriminator-channels 0", "is 0")])
def test_wrong_options_are_refused(option: str, told: str, folder: Path, trained: Path, tmp_path: Path) -> None:
    command = f"{COMMAND} --steps 2 {option}"
    with pytest.raises(InputError, match=told):
        train_decoder(parse(command, data=folder, vqvae=trained, out=tmp_path / "out.safetensors"))


def test_the_share_of_texture_is_measured_against_the_originals(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = Vqvae(SMALL).eval()
    images = blobs(6)
    x = to_unit(torch.from_numpy(images))
    with torch.no_grad():
        decoded = model.decode_codewords([level.codewords for level in model.quantise(x)])
    monkeypatch.setattr(decoder, "EVALUATION_BATCH", 4)
    assert decoder.evaluate(model, images)["texture"] == pytest.approx(texture(decoded) / texture(x), rel=1e-5)
