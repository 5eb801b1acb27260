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
from latentloop.export.checkpoints.checkpoint import load_checkpoint
from latentloop.export.checkpoints.codes_digest import codes_digest
from latentloop.export.commands import train
from latentloop.export.models.build import build_vqvae
from latentloop.export.models.vqvae import Vqvae
from latentloop.export.train import decoder, vqvae
from latentloop.export.train.data.codes import encode
from latentloop.export.train.data.datasets import Dataset
from latentloop.export.train.data.pixels import to_signed
from latentloop.export.train.decoder import DecoderOptions, DecoderTask, PatchDiscriminator, train_decoder
from latentloop.export.train.vqvae import texture

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
    model, images = Vqvae(SMALL), blobs(64)
    return DecoderTask(model, images, encode(model, Dataset(images, None), flip=True, progress=False), options)


def seen(tried: DecoderTask) -> tuple[torch.Tensor, torch.Tensor]:
    """All images, and the decoder's pictures of them."""
    images = to_signed(tried.images)
    with torch.no_grad():
        return images, tried.model.decode_codewords([level.codewords for level in tried.model.quantise(images)])


def test_codes_and_provenance_stay_and_the_decoder_changes(folder: Path, trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "sharp.safetensors"
    metrics = train_decoder(parse(f"{COMMAND} --steps 6", data=folder, vqvae=trained, out=out))
    before, after = load_checkpoint(trained), load_checkpoint(out)
    changed = {name for name, value in before.weights.items() if not np.array_equal(value, after.weights[name])}
    assert changed
    assert {name.split(".")[0] for name in changed} == {"decoder", "upsamplers"}
    before_digest, after_digest = (codes_digest(build_vqvae(one, "").config, one.weights) for one in (before, after))
    assert before_digest == after_digest
    images = to_signed(torch.from_numpy(blobs(4)))
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
    images, pictures = seen(tried)
    real, false = (tried.discriminator(each).detach().mean() for each in (images, pictures))
    assert float(real) > float(false) + 0.5


def test_the_decoder_learns_to_please_a_discriminator_that_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = task(weight=1e-6)
    for step in range(60):
        tried.step(step)
    before = tried.discriminator(seen(tried)[1]).detach().mean()
    monkeypatch.setattr(tried.opponent, "step", lambda: None)
    object.__setattr__(tried.options, "weight", 20.0)
    for step in range(60, 100):
        tried.step(step)
    assert float(tried.discriminator(seen(tried)[1]).detach().mean()) > float(before) + 0.2


def test_the_discriminators_pull_rises_during_the_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    weighed: list[tuple[float, float, float]] = []

    def record(optimiser: torch.optim.AdamW, loss: torch.Tensor, rate: float) -> None:
        if optimiser is tried.optimiser:
            error, lure = parts[-1]
            weighed.append((float(loss.detach()), float(error.detach()), float(lure.detach())))

    parts: list[tuple[torch.Tensor, torch.Tensor]] = []
    tried = task(weight=0.5)

    def balance(error: torch.Tensor, lure: torch.Tensor) -> torch.Tensor:
        parts.append((error, lure))
        return torch.tensor(2.0)

    monkeypatch.setattr(tried, "balance", balance)
    monkeypatch.setattr(decoder, "_descend", record)
    for step in (0, 5, 10, 300):
        tried.step(step)
    pulls = [(loss - error) / lure for loss, error, lure in weighed]
    assert pulls == pytest.approx([0, 0.5, 1, 1], abs=1e-3)


def test_the_discriminator_learns_nothing_beyond_the_margin(monkeypatch: pytest.MonkeyPatch) -> None:
    losses: list[float] = []
    tried = task()
    monkeypatch.setattr(
        decoder,
        "_descend",
        lambda optimiser, loss, rate: losses.append(float(loss.detach())) if optimiser is tried.opponent else None,
    )
    scores = iter([torch.zeros(1), torch.tensor([1.5, 2.0]), torch.tensor([-1.0, -3.0])])
    monkeypatch.setattr(tried, "balance", lambda *losses: torch.tensor(1.0))
    monkeypatch.setattr(tried, "discriminator", lambda images: next(scores))
    tried.step(0)
    scores = iter([torch.zeros(1), torch.tensor([0.5]), torch.tensor([0.25])])
    tried.step(1)
    assert losses == pytest.approx([0, 0.5 + 1.25])


def test_codes_are_the_models_own_in_either_precision_and_mirrored_images_have_theirs() -> None:
    for precision in ("float32", "bfloat16"):
        torch.manual_seed(0)
        model, images = Vqvae(SMALL), blobs(6)
        codes = encode(model, Dataset(images, None), flip=True, progress=False)
        tried = DecoderTask(model, images, codes, DecoderOptions(steps=9, batch=12, precision=precision))
        for step in range(2):
            given, codewords = tried.batch(step)
            assert not torch.equal(given, given.flip(3))
            for found, level in zip(codewords, tried.model.quantise(given), strict=True):
                assert torch.equal(found, level.codewords)


def test_the_balance_is_the_ratio_of_the_gradients_at_the_last_layer() -> None:
    tried = task()
    images = to_signed(tried.images[:8])
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
    x = to_signed(torch.from_numpy(images))
    with torch.no_grad():
        decoded = model.decode_codewords([level.codewords for level in model.quantise(x)])
    monkeypatch.setattr(vqvae, "EVALUATION_BATCH", 4)
    assert vqvae.evaluate(model, images)["texture"] == pytest.approx(texture(decoded) / texture(x), rel=1e-5)
