"""The adversarial training of the decoder: constant codes, the losses, bit-identical resumed runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_training import SMALL, VQVAE, blobs, parse, write_blobs
from torch.nn import functional

from latentloop.errors import InputError
from latentloop.export import evaluation
from latentloop.export.checkpoints.checkpoint import load_checkpoint
from latentloop.export.checkpoints.codes_digest import codes_digest
from latentloop.export.commands import train
from latentloop.export.data.codes import encode
from latentloop.export.data.datasets import Dataset
from latentloop.export.data.pixels import to_signed
from latentloop.export.evaluation import reconstruction_metrics, texture
from latentloop.export.models.build import build_vqvae
from latentloop.export.models.vqvae import Vqvae
from latentloop.export.train import decoder
from latentloop.export.train.decoder import DecoderTask, PatchDiscriminator, train_decoder
from latentloop.export.train.options import DecoderOptions

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


def reconstructed(tested: DecoderTask) -> tuple[torch.Tensor, torch.Tensor]:
    """All images of the task, and the decoder's reconstructions."""
    images = to_signed(tested.images)
    with torch.no_grad():
        return images, tested.model.decode_codewords([level.codewords for level in tested.model.quantise(images)])


def test_training_changes_the_decoder_but_not_the_codes(folder: Path, trained: Path, tmp_path: Path) -> None:
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
def test_a_resumed_run_is_bit_identical(
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
    torch.manual_seed(99)  # the result must not depend on the global generator
    assert train_decoder(parse(command, out=resumed, **paths)) == figures
    first, second = (load_checkpoint(tmp_path / f"{name}.safetensors") for name in ("whole", "resumed"))
    for name, value in first.weights.items():
        np.testing.assert_array_equal(value, second.weights[name], err_msg=name)


def test_the_discriminator_learns_to_distinguish_reconstructions_from_images() -> None:
    tested = task(weight=1e-6)
    for step in range(60):
        tested.step(step)
    real, fake = (tested.discriminator(images).detach().mean() for images in reconstructed(tested))
    assert float(real) > float(fake) + 0.5


def test_the_decoder_raises_the_score_of_a_fixed_discriminator(monkeypatch: pytest.MonkeyPatch) -> None:
    tested = task(weight=1e-6)
    for step in range(60):
        tested.step(step)
    before = tested.discriminator(reconstructed(tested)[1]).detach().mean()
    monkeypatch.setattr(tested.discriminator_optimiser, "step", lambda: None)
    object.__setattr__(tested.options, "weight", 20.0)
    for step in range(60, 100):
        tested.step(step)
    assert float(tested.discriminator(reconstructed(tested)[1]).detach().mean()) > float(before) + 0.2


def test_the_weight_of_the_adversarial_loss_rises_during_the_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    losses: list[tuple[float, float, float]] = []  # of the decoder: total, squared error, adversarial
    terms: list[tuple[torch.Tensor, torch.Tensor]] = []
    tested = task(weight=0.5)

    def record(network: torch.nn.Module, optimiser: torch.optim.AdamW, loss: torch.Tensor, rate: float) -> None:
        if optimiser is tested.optimiser:
            error, adversarial = terms[-1]
            losses.append((float(loss.detach()), float(error.detach()), float(adversarial.detach())))

    def balance(error: torch.Tensor, adversarial: torch.Tensor) -> torch.Tensor:
        terms.append((error, adversarial))
        return torch.tensor(2.0)

    monkeypatch.setattr(tested, "balance", balance)
    monkeypatch.setattr(decoder, "gradient_step", record)
    for step in (0, 5, 10, 300):
        tested.step(step)
    weights = [(loss - error) / adversarial for loss, error, adversarial in losses]
    assert weights == pytest.approx([0, 0.5, 1, 1], abs=1e-3)


def test_the_discriminators_loss_is_the_hinge_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    losses: list[float] = []
    tested = task()

    def record(network: object, optimiser: object, loss: torch.Tensor, rate: float) -> None:
        if optimiser is tested.discriminator_optimiser:
            losses.append(float(loss.detach()))

    monkeypatch.setattr(decoder, "gradient_step", record)
    scores = iter([torch.zeros(1), torch.tensor([1.5, 2.0]), torch.tensor([-1.0, -3.0])])
    monkeypatch.setattr(tested, "balance", lambda *losses: torch.tensor(1.0))
    monkeypatch.setattr(tested, "discriminator", lambda images: next(scores))
    tested.step(0)
    scores = iter([torch.zeros(1), torch.tensor([0.5]), torch.tensor([0.25])])
    tested.step(1)
    assert losses == pytest.approx([0, 0.5 + 1.25])


def test_a_batch_has_the_codewords_of_its_images_in_both_precisions() -> None:
    for precision in ("float32", "bfloat16"):
        torch.manual_seed(0)
        model, images = Vqvae(SMALL), blobs(6)
        codes = encode(model, Dataset(images, None), flip=True, progress=False)
        tested = DecoderTask(model, images, codes, DecoderOptions(steps=9, batch=12, precision=precision))
        for step in range(2):
            batch, codewords = tested.batch(step)
            assert not torch.equal(batch, batch.flip(3))
            for level_codewords, level in zip(codewords, tested.model.quantise(batch), strict=True):
                assert torch.equal(level_codewords, level.codewords)


def test_the_balance_is_the_ratio_of_the_gradients_at_the_last_layer() -> None:
    tested = task()
    images = to_signed(tested.images[:8])
    decoded = tested.model.decode_codewords([level.codewords for level in tested.model.quantise(images)])
    error, adversarial = functional.mse_loss(decoded, images), -tested.discriminator(decoded).mean()
    balance = float(tested.balance(error, adversarial))
    norms = []
    for loss in (error, adversarial):
        tested.model.zero_grad()
        torch.autograd.backward(loss, retain_graph=True)
        gradient = dict(tested.model.named_parameters())["decoder.up.1.weight"].grad
        assert gradient is not None
        norms.append(float(gradient.norm()))
    assert balance == pytest.approx(norms[0] / norms[1], rel=1e-4)


def test_a_score_depends_on_a_patch_of_18_by_18_pixels() -> None:
    torch.manual_seed(0)
    discriminator = PatchDiscriminator(1, 4).eval()
    images = torch.randn(1, 1, 64, 64, requires_grad=True)
    discriminator(images)[0, 0, 8, 8].backward()
    assert images.grad is not None
    patch = images.grad[0, 0].nonzero()
    assert (patch.max(0).values - patch.min(0).values + 1).tolist() == [18, 18]


def test_texture_is_zero_for_a_ramp_and_known_for_a_checkerboard() -> None:
    ramp = torch.linspace(-1, 1, 16).expand(2, 3, 16, 16)
    assert texture(ramp) == pytest.approx(0, abs=1e-12)
    board = (torch.arange(16)[:, None] + torch.arange(16)) % 2 * 2.0 - 1
    expected = (1 - 1 / 9) ** 2  # nine values of alternating sign have a sum of 1
    assert texture(board.expand(1, 1, 16, 16)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("option", "message"), [("--weight 0", "weight is 0"), ("--discriminator-channels 0", "is 0")])
def test_invalid_options(option: str, message: str, folder: Path, trained: Path, tmp_path: Path) -> None:
    command = f"{COMMAND} --steps 2 {option}"
    with pytest.raises(InputError, match=message):
        train_decoder(parse(command, data=folder, vqvae=trained, out=tmp_path / "out.safetensors"))


def test_the_texture_metric_is_a_fraction_of_the_originals(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = Vqvae(SMALL).eval()
    images = blobs(6)
    x = to_signed(torch.from_numpy(images))
    with torch.no_grad():
        decoded = model.decode_codewords([level.codewords for level in model.quantise(x)])
    monkeypatch.setattr(evaluation, "EVALUATION_BATCH", 4)
    assert reconstruction_metrics(model, images)["texture"] == pytest.approx(texture(decoded) / texture(x), rel=1e-5)
