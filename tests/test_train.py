"""Training: the codebooks, the straight-through gradient, and runs that end the same when interrupted."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional

from latentloop.errors import CheckpointError, InputError, OutputError
from latentloop.export.checkpoint import load_checkpoint
from latentloop.export.commands import train
from latentloop.export.configuration import PriorConfig, VqvaeConfig
from latentloop.export.models.pixelsnail import PixelSnail
from latentloop.export.models.vqvae import Vqvae
from latentloop.export.train import prior, runs, vqvae
from latentloop.export.train.codebook import EPSILON, EmaCodebook, assign, k_means, perplexity
from latentloop.export.train.data import Dataset
from latentloop.export.train.loop import LoopOptions, run_training

SMALL = VqvaeConfig(
    image_channels=1, channels=16, residual_channels=8, residual_layers=1, code_channels=4, codebook_size=16
)
VQVAE = (
    "vqvae --size 16 --channels 8 --residual-channels 4 --residual-layers 1 --code-channels 4"
    " --codebook-size 8 --image-channels 1 --batch 8 --warm-up 2 --threads 1 --json --licence CC0-1.0"
)
PRIOR = (
    "prior --channels 16 --residual-channels 4 --kernel 3 --blocks 1 --residual-blocks 1 --heads 2"
    " --class-channels 4 --condition-blocks 1 --batch 8 --threads 1 --json --average 0.9"
)


def _blobs(count: int, size: int = 16) -> NDArray[np.uint8]:
    """Bright squares at random places: images [count, size, size, 1] with something to learn."""
    generator = np.random.default_rng(0)
    images = np.zeros((count, size, size, 1), np.uint8)
    for image in images:
        y, x = generator.integers(0, size - 5, 2)
        image[y : y + 5, x : x + 5] = generator.integers(100, 256)
    return images


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> None:
    """Tiny models gain nothing from threads, and lose where other processes run."""
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 images in two classes."""
    path = tmp_path_factory.mktemp("images")
    for index, image in enumerate(_blobs(24)):
        (path / "ab"[index % 2]).mkdir(exist_ok=True)
        Image.fromarray(image[:, :, 0]).save(path / "ab"[index % 2] / f"{index:02}.png")
    return path


def _parse(command: str, **paths: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    options = [part for name, value in paths.items() for part in (f"--{name}", str(value))]
    return parser.parse_args([*command.split(), *options])


@pytest.fixture(scope="module")
def trained(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VQ-VAE after a few steps."""
    path = tmp_path_factory.mktemp("trained") / "vqvae.safetensors"
    assert train.run(_parse(f"{VQVAE} --steps 12", data=folder, out=path)) == 0
    return path


def test_k_means_finds_clusters_and_leaves_no_centre_unused() -> None:
    generator = torch.Generator().manual_seed(0)
    middles = 10 * torch.randn(6, 3, generator=generator)
    vectors = middles.repeat(50, 1) + 0.01 * torch.randn(300, 3, generator=generator)
    centres, shares = k_means(vectors, 12, generator)
    assert float(shares.sum()) == pytest.approx(1)
    spread = (vectors - centres[assign(vectors, centres)]).norm(dim=1)
    assert float(spread.max()) < 0.1
    assert int((shares > 0).sum()) >= 6


def test_the_averages_equal_a_numpy_reference() -> None:
    generator = torch.Generator().manual_seed(1)
    embedding = torch.randn(5, 3, generator=generator)
    book = EmaCodebook(embedding, decay=0.9)
    book.begin(torch.randn(40, 3, generator=generator), 20, generator)
    sizes, sums = book.cluster_size.double().numpy().copy(), book.sums.double().numpy().copy()
    for _ in range(3):
        vectors = torch.randn(20, 3, generator=generator)
        codes = assign(vectors, embedding)
        book.update(vectors, codes)
        hot = np.eye(5)[codes.numpy()]
        sizes = 0.9 * sizes + 0.1 * hot.sum(0)
        sums = 0.9 * sums + 0.1 * hot.T @ vectors.double().numpy()
        smoothed = (sizes + EPSILON) / (sizes.sum() + 5 * EPSILON) * sizes.sum()
        np.testing.assert_allclose(embedding.numpy(), sums / smoothed[:, None], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(book.cluster_size.numpy(), sizes, rtol=1e-5)


def test_restarts_bring_a_collapsed_codebook_back() -> None:
    generator = torch.Generator().manual_seed(2)
    vectors = torch.randn(400, 4, generator=generator)
    used = {}
    for restart in (False, True):
        embedding = torch.full((32, 4), 50.0)
        embedding[0] = 0  # every vector is nearest to this one
        book = EmaCodebook(embedding, decay=0.9)
        book.cluster_size += 1
        book.sums += embedding
        for _ in range(60):
            book.update(vectors, assign(vectors, embedding))
            if restart:
                book.restart_unused(vectors, generator)
        used[restart] = perplexity(torch.bincount(assign(vectors, embedding), minlength=32))
    assert used[False] == pytest.approx(1)
    assert used[True] > 24


def test_perplexity_counts_codes_in_use() -> None:
    assert perplexity(torch.tensor([5, 5, 5, 5])) == pytest.approx(4)
    assert perplexity(torch.tensor([7, 0, 0, 0])) == pytest.approx(1)


def test_the_gradient_passes_straight_through() -> None:
    """dL/dz of one level is dL/de as the decoder sees it, plus 2 (z - e) / numel from the commitment."""
    torch.manual_seed(0)
    model = Vqvae(replace(SMALL, levels=1)).double()
    images = torch.rand(2, 1, 16, 16, dtype=torch.float64)
    out = vqvae.forward(model, images)
    (functional.mse_loss(out.reconstruction, images) + 0.25 * out.commitment).backward()  # type: ignore[no-untyped-call]
    found = [parameter.grad for parameter in model.to_code[0].parameters()]

    feature = model.features(images)[0]
    z = model.project(0, feature, None)
    codewords = model.codebook(0).lookup(model.codebook(0).nearest(z)).requires_grad_()
    loss = functional.mse_loss(model.decode_codewords([codewords]), images)
    (passed,) = torch.autograd.grad(loss, codewords)
    at_z = passed + 0.25 * 2 * (z - codewords).detach() / z.numel()
    expected = torch.autograd.grad(z, list(model.to_code[0].parameters()), at_z)
    for gradient, reference in zip(found, expected, strict=True):
        torch.testing.assert_close(gradient, reference)


def test_a_vqvae_learns_and_uses_its_codes() -> None:
    images = _blobs(128)
    task = vqvae.VqvaeTask(SMALL, images, vqvae.VqvaeOptions(steps=200, batch=32, rate=2e-3, warm_up=50))
    untrained = vqvae.evaluate(task.model, images)
    for step in range(200):
        task.step(step)
    found = vqvae.evaluate(task.model, images)
    assert found["mse_signed"] < untrained["mse_signed"] / 4
    # Without k-means and restarts this training ends with 1 or 2 top codes and 7 bottom codes in use.
    assert found["mse_unit"] == found["mse_signed"] / 4
    assert all(used >= 12 for used in found["codes_used"].values())
    assert all(value > 6 for value in found["perplexity"].values())


def test_images_must_make_whole_codes() -> None:
    with pytest.raises(InputError, match="size is 20, expected a multiple of 8"):
        vqvae.VqvaeTask(SMALL, _blobs(4, 20), vqvae.VqvaeOptions(steps=1))


def test_flipped_codes_are_those_of_the_mirrored_images() -> None:
    torch.manual_seed(0)
    model = Vqvae(SMALL).eval()
    data = Dataset(_blobs(6), np.arange(6))
    mirrored = Dataset(np.ascontiguousarray(data.images[:, :, ::-1]), data.labels)
    both, other = (prior.encode(model, part, "bottom", labels=True, flip=part is data) for part in (data, mirrored))
    assert both.upper is not None
    assert other.upper is not None
    assert both.labels is not None
    torch.testing.assert_close(both.codes[6:], other.codes)
    torch.testing.assert_close(both.upper[6:], other.upper)
    assert both.labels.tolist() == [*range(6), *range(6)]


def test_a_prior_learns_and_its_figure_is_the_direct_computation() -> None:
    config = PriorConfig(4, 4, 8, 16, 4, 3, 1, 1, heads=2, dropout=0.0)
    codes = torch.arange(4).repeat(32, 4, 1).to(torch.int16)
    data = prior.Codes(codes + torch.randint(0, 4, (32, 1, 1)).short(), None, None)
    task = prior.PriorTask(config, data, prior.PriorOptions(steps=60, batch=16, rate=3e-3, average=0.8))
    losses = [float(task.step(step)) for step in range(60)]
    assert losses[-1] < losses[0] / 2
    model = task.averaged()
    logits = model(data.codes.long()).double().log_softmax(1)
    direct = -logits.gather(1, data.codes.long()[:, None]).mean().item() / np.log(2)
    assert prior.bits_per_code(model, data, batch=7) == pytest.approx(direct, rel=1e-5)
    assert direct < 2


def test_the_average_is_the_documented_recurrence() -> None:
    layer = torch.nn.Linear(2, 1, bias=False)
    average = prior.WeightAverage(layer, 0.5)
    expected = layer.weight.detach().clone()
    for step in range(12):
        with torch.no_grad():
            layer.weight += 1
        average.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * layer.weight.detach()
    torch.testing.assert_close(average.averages[0], expected)


def _train(command: str, **paths: object) -> dict[str, Any]:
    arguments = _parse(command, **paths)
    return {"vqvae": runs.train_vqvae, "prior": runs.train_prior}[arguments.network](arguments)


def _commands(folder: Path, trained: Path) -> dict[str, tuple[str, dict[str, Path]]]:
    return {
        "vqvae": (f"{VQVAE} --steps 9 --flip", {"data": folder}),
        "top": (f"{PRIOR} --steps 9 --level top", {"data": folder, "vqvae": trained}),
        "bottom": (f"{PRIOR} --steps 9 --level bottom --flip", {"data": folder, "vqvae": trained}),
    }


@pytest.mark.parametrize("name", ["vqvae", "top", "bottom"])
def test_a_resumed_run_ends_with_the_same_bits(
    name: str, folder: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command, paths = _commands(folder, trained)[name]
    figures = _train(command, out=tmp_path / "whole.safetensors", **paths)
    kind = vqvae.VqvaeTask if name == "vqvae" else prior.PriorTask
    original = kind.step

    def stop_at(self: Any, step: int) -> torch.Tensor:
        if step == 5:
            raise KeyboardInterrupt
        return original(self, step)

    resumed = tmp_path / "resumed.safetensors"
    monkeypatch.setattr(kind, "step", stop_at)
    with pytest.raises(KeyboardInterrupt):
        _train(f"{command} --save-every 2", out=resumed, **paths)
    assert not resumed.exists()
    monkeypatch.setattr(kind, "step", original)
    torch.manual_seed(99)  # nothing may hang on the global generator
    assert _train(f"{command} --save-every 2", out=resumed, **paths) == figures
    assert [path.name for path in tmp_path.iterdir() if "state" in path.name] == []
    first, second = (load_checkpoint(tmp_path / f"{part}.safetensors") for part in ("whole", "resumed"))
    assert first.weights.keys() == second.weights.keys()
    for key, value in first.weights.items():
        np.testing.assert_array_equal(value, second.weights[key], err_msg=key)
    assert first.provenance == second.provenance


def test_a_killed_process_goes_on(folder: Path, tmp_path: Path) -> None:
    script = (
        "import argparse; from latentloop.export.commands import train; p = argparse.ArgumentParser();"
        "train.add_arguments(p); train.run(p.parse_args())"
    )
    command = f"{VQVAE} --steps 150 --save-every 5"
    paths = {"data": folder, "out": tmp_path / "killed.safetensors"}
    options = [*command.split(), "--data", str(folder), "--out", str(paths["out"])]
    process = subprocess.Popen([sys.executable, "-c", script, *options], stderr=subprocess.DEVNULL)
    state = Path(f"{paths['out']}.state")
    deadline = time.monotonic() + 60
    while not state.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert 5 <= torch.load(state, weights_only=True)["step"] < 150
    assert _train(command, **paths) == _train(command, data=folder, out=tmp_path / "whole.safetensors")
    first, second = (load_checkpoint(tmp_path / f"{name}.safetensors").weights for name in ("killed", "whole"))
    for key, value in first.items():
        np.testing.assert_array_equal(value, second[key], err_msg=key)


def test_other_arguments_do_not_go_on_with_a_state(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "vqvae.safetensors"
    with monkeypatch.context() as patched:
        patched.setattr(vqvae, "evaluate", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            _train(f"{VQVAE} --steps 4", data=folder, out=out)
    with pytest.raises(InputError, match=r"seed was 0, is 1; steps was 4, is 5\. Give the same .* --restart"):
        _train(f"{VQVAE} --steps 5 --seed 1", data=folder, out=out)
    _train(f"{VQVAE} --steps 5 --seed 1 --restart", data=folder, out=out)
    with pytest.raises(OutputError, match="--force"):
        _train(f"{VQVAE} --steps 5", data=folder, out=out)
    _train(f"{VQVAE} --steps 5 --force", data=folder, out=out)
    Path(f"{out}.state").write_bytes(b"not a state")
    with pytest.raises(CheckpointError, match=r"vqvae\.safetensors\.state: .*--restart"):
        _train(f"{VQVAE} --steps 5", data=folder, out=out)


def test_checkpoints_say_where_they_come_from(folder: Path, trained: Path, tmp_path: Path) -> None:
    source = load_checkpoint(trained)
    assert isinstance(source.config, VqvaeConfig)
    assert source.provenance["licence"] == "CC0-1.0"
    assert source.provenance["training_images"] == 23
    assert source.provenance["training"]["steps"] == 12
    assert source.provenance["held_out"]["mse_signed"] > 0
    out = tmp_path / "bottom.safetensors"
    _train(f"{PRIOR} --steps 4 --level bottom --class-names cat,dog", data=folder, vqvae=trained, out=out)
    checkpoint = load_checkpoint(out)
    config = checkpoint.config
    assert isinstance(config, PriorConfig)
    assert (config.height, config.condition_codes, config.classes, config.attention) == (4, 8, 2, False)
    assert checkpoint.provenance["classes"] == ["cat", "dog"]
    model = PixelSnail(config)
    model.load_state_dict({name: torch.from_numpy(value) for name, value in checkpoint.weights.items()})
    masked = checkpoint.weights["blocks.0.residual.0.conv1.weight"][:, :, -1, 1:]
    assert not masked.any()
    assert all(value.dtype == np.float32 for value in checkpoint.weights.values())


def test_wrong_inputs_to_a_prior(folder: Path, trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "prior.safetensors"
    with pytest.raises(InputError, match="level is 'middle', expected one of top, bottom"):
        _train(f"{PRIOR} --steps 2 --level middle", data=folder, vqvae=trained, out=out)
    _train(f"{PRIOR} --steps 2 --level top --no-classes", data=folder, vqvae=trained, out=out)
    with pytest.raises(CheckpointError, match="kind is 'prior', expected 'vqvae'"):
        _train(f"{PRIOR} --steps 2 --level top", data=folder, vqvae=out, out=tmp_path / "other.safetensors")


def test_a_diverging_loss_stops(tmp_path: Path) -> None:
    class Diverging:
        def step(self, step: int) -> torch.Tensor:
            return torch.tensor(float("nan"))

        def state(self) -> dict[str, Any]:
            return {}

        def restore(self, state: dict[str, Any]) -> None:
            raise AssertionError

    with pytest.raises(InputError, match="loss is nan near step 20; pass a lower --lr"):
        run_training(Diverging(), LoopOptions(tmp_path / "x.safetensors", 30, progress=False))


def test_the_command_prints_its_figures(
    folder: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = _parse(f"{PRIOR} --steps 2 --level top", data=folder, vqvae=trained, out=tmp_path / "a.safetensors")
    train.run(arguments)
    assert json.loads(capsys.readouterr().out)["bits_per_code"] > 0


def test_adding_arguments_does_not_import_torch() -> None:
    script = (
        "import argparse, sys; from latentloop.export.commands import train;"
        "train.add_arguments(argparse.ArgumentParser()); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
