"""What a training prints: figures, warnings, and commands that can be run as they are."""

from __future__ import annotations

import argparse
import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_training import PRIOR, VQVAE, blobs, parse, write_blobs

from latentloop.cli.program import main
from latentloop.export.checkpoints.checkpoint import Checkpoint, load_checkpoint
from latentloop.export.commands import train
from latentloop.export.commands.command_line import command, options_given
from latentloop.export.commands.train_next import continuation
from latentloop.export.commands.train_report import figures, warnings
from latentloop.export.configuration import ClassifierConfig, PriorConfig, VqvaeConfig
from latentloop.export.data.datasets import Data, Dataset, held_out_files
from latentloop.export.train.run.training_inputs import data_warnings
from latentloop.export.train.vqvae import VqvaeTask


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    """Threads do not speed up tiny models, and slow them down on a busy machine."""
    torch.set_num_threads(1)


def _trained(config: Any, held_out: dict[str, Any], sample: dict[str, Any], **more: Any) -> Checkpoint:
    provenance = {"held_out_images": 10, "held_out": held_out, "size": 16, "training_sample": {"images": 100} | sample}
    return Checkpoint(config, {}, provenance | more)


def _reconstruction(psnr: float | None, used: int, perplexity: float) -> dict[str, Any]:
    levels = ("top", "bottom")
    use = {"codes_used": dict.fromkeys(levels, used), "perplexity": dict.fromkeys(levels, perplexity)}
    return {"psnr_db": psnr, "texture": 0.5, **use}


CODEC = VqvaeConfig(codebook_size=64)
GOOD = _reconstruction(19.8, 61, 44.0)
BITS = PriorConfig(4, 4, codebook_size=64)
CLASSES = ClassifierConfig(height=16, width=16, classes=4)


def test_the_figures_of_each_network() -> None:
    vqvae = _trained(CODEC, GOOD, GOOD)
    assert figures(vqvae) == [
        "10 held-out images: PSNR 19.8 dB; texture 0.50 (the originals: 1)",
        "codes used: top 61 of 64 (perplexity 44.0), bottom 61 of 64 (perplexity 44.0)",
        "codes used on 100 training images: top 61 of 64 (perplexity 44.0), bottom 61 of 64 (perplexity 44.0)",
    ]
    assert len(figures(_trained(CODEC, GOOD, GOOD | {"images": 10}))) == 2
    decoder = _trained(CODEC, GOOD, GOOD, before={"held_out": {"psnr_db": 19.9, "texture": 0.3}})
    assert "PSNR 19.9 dB before, now 19.8 dB; texture 0.30 before, now 0.50 (" in figures(decoder)[0]
    prior = _trained(BITS, {"bits_per_code": 3.25}, {"bits_per_code": 3.2}, level="top")
    assert figures(prior) == [
        "10 held-out images: 3.25 bits per code in the top level (guessing one of 64 codes: 6.00)"
    ]
    classifier = _trained(CLASSES, {"accuracy": 0.9}, {"accuracy": 0.95})
    assert figures(classifier) == ["10 held-out images: 90.00% classified right (guessing: 25.00%)"]
    assert [warnings(each) for each in (vqvae, decoder, prior, classifier)] == [[]] * 4


@pytest.mark.parametrize(
    ("checkpoint", "expected"),
    [
        (
            _trained(CODEC, GOOD, _reconstruction(20, 31, 20)),
            ["top level collapsed: 100 training images use 31 of", "bottom"],
        ),
        (
            _trained(CODEC, GOOD, _reconstruction(20, 60, 6)),
            ["(perplexity 6.0); pass more --steps, a lower --ema", "bottom"],
        ),
        (_trained(CODEC, GOOD, {"images": 1} | _reconstruction(20, 4, 3)), ["bottom"]),  # 4 top codes, 16 bottom codes
        (_trained(CODEC, GOOD, _reconstruction(22, 61, 44)), ["overfitted: 22.0 dB on training images is much"]),
        (_trained(CODEC, GOOD, _reconstruction(None, 61, 44)), []),
        (_trained(BITS, {"bits_per_code": 6.0}, {"bits_per_code": 2.0}), ["the prior is no better than guessing"]),
        (
            _trained(BITS, {"bits_per_code": 5.0}, {"bits_per_code": 4.0}),
            ["overfitted: 4.00 bits per code on training"],
        ),
        (_trained(CLASSES, {"accuracy": 0.25}, {"accuracy": 0.2}), ["the classifier is no better than guessing"]),
        (_trained(CLASSES, {"accuracy": 0.7}, {"accuracy": 0.9}), ["overfitted: 90.00% on training images"]),
    ],
)
def test_warnings_about_a_network(checkpoint: Checkpoint, expected: list[str]) -> None:
    found = warnings(checkpoint)
    assert len(found) == len(expected)
    assert all(part in text for part, text in zip(expected, found, strict=True))


def test_warnings_about_a_data_set() -> None:
    images = blobs(300)
    data = Data(Dataset(images, None), Dataset(images[:20], None), (), "")
    assert data_warnings(data) == []
    images[[3, 299]] = 7
    assert data_warnings(data) == ["2 of 300 training images have a single colour"]
    few = replace(data, training=Dataset(blobs(50), None), held_out=Dataset(images[:1], None))
    assert [text.split(";")[0] for text in data_warnings(few)] == [
        "50 training images are few: the networks will learn them by heart",
        "figures on 1 held-out image are rough",
    ]


def test_every_option_with_a_value_states_its_default() -> None:
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    (networks,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    assert set(networks.choices) == {"vqvae", "prior", "decoder", "classifier"}
    for name, network in networks.choices.items():
        for action in network._actions:
            if action.nargs != 0 and not action.required:
                assert f"(default: {'' if action.default is None else action.default}" in str(action.help).replace(
                    "default: on", "default: True"
                ), f"train {name} {action.option_strings}: {action.help}"
        assert "learning rate" in str(next(a.help for a in network._actions if a.dest == "warm_up"))


def test_a_command_is_printed_such_that_a_shell_parses_it_to_the_same_arguments(tmp_path: Path) -> None:
    text = (
        f"{PRIOR} --level top --no-attention --no-classes --lr 1e-5 --flip --vqvae-inplace --from=-a --restart --force"
    )
    arguments = parse(text, data=tmp_path / "a b's", vqvae="v.pt", out="$x.safetensors")
    words = shlex.split(continuation(arguments))
    assert words[:2] == ["latentloop", "train"]
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    again = vars(parser.parse_args(words[2:]))
    assert {name for name, value in vars(arguments).items() if again[name] != value} == {"restart", "parser"}
    assert command("sample", "--out", Path("a b")) == "latentloop sample --out 'a b'"
    assert options_given(arguments.parser, arguments, leave_out=("lr",)).keys().isdisjoint({"lr", "steps", "help"})


def test_an_interrupted_training_prints_the_command_that_continues_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = write_blobs(tmp_path / "my images"), tmp_path / "v.safetensors"
    original = VqvaeTask.step

    def stop(self: VqvaeTask, step: int) -> torch.Tensor:
        if step == 3:
            raise KeyboardInterrupt
        return original(self, step)

    words = f"{VQVAE} --steps 4 --restart".split()
    with monkeypatch.context() as patched:
        patched.setattr(VqvaeTask, "step", stop)
        assert main(["train", *words, "--data", str(folder), "--out", str(out)]) == 130
        assert "latentloop: nothing was saved; to start again: latentloop train vqvae " in capsys.readouterr().err
        assert main(["train", *words, "--save-every=2", "--data", str(folder), "--out", str(out)]) == 130
    lines = capsys.readouterr().err.splitlines()
    (text,) = (line for line in lines if line.startswith("latentloop: to continue: "))
    assert main(shlex.split(text.removeprefix("latentloop: to continue: "))[1:]) == 0
    streams = capsys.readouterr()
    assert f"{out}: continuing at step 2 of 4" in streams.err
    assert json.loads(streams.out)["psnr_db"] > 0


def test_the_printed_commands_lead_from_images_to_samples(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_blobs(tmp_path / "my images")

    def follow(text: str, more: str = "") -> list[str]:
        """Runs commands as a shell does; returns the commands that the last of them prints."""
        for part in text.split(" && "):
            capsys.readouterr()
            assert main([*shlex.split(part)[1:], *more.split()]) == 0
        return [line.strip() for line in capsys.readouterr().out.splitlines() if line.startswith("  latentloop")]

    tiny = VQVAE.replace(" --json", "")
    paths = f"--data {shlex.quote(str(folder))} --out {shlex.quote(str(tmp_path / 'vq vae.safetensors'))}"
    look, train_top = follow(f"latentloop train {tiny} --steps 4 {paths}")
    assert " --steps 4 " in train_top  # as short a training as that of the VQ-VAE, not the default
    assert follow(look) == []
    assert (tmp_path / "vq vae-reconstructed.png").is_file()
    (train_bottom,) = follow(train_top, PRIOR.removeprefix("prior").replace(" --json", " --steps 2"))
    assert " --steps 2 " in train_bottom
    (sample,) = follow(train_bottom)
    assert follow(sample) == []
    assert (tmp_path / "samples.png").is_file()
    classifier = f"classifier --size 16 --image-channels 1 --channels 8 --stages 1 --steps 2 --data '{folder}'"
    (best,) = follow(f"latentloop train {classifier} --out {tmp_path}/classifier.safetensors")
    assert f" --classifier {tmp_path}/classifier.safetensors " in best
    assert " --best 0.25 " in best
    sharper = "decoder --steps 1 --batch 4 --discriminator-channels 4"
    vqvae = f"--vqvae '{tmp_path}/vq vae.safetensors'"
    _, export = follow(f"latentloop train {sharper} {vqvae} --data '{folder}' --out {tmp_path}/sharp.safetensors")
    assert f"--vqvae {tmp_path}/sharp.safetensors --top {tmp_path}/top.safetensors" in export
    assert load_checkpoint(tmp_path / "top.safetensors").provenance["training_sample"]["images"] == 23


def test_the_metrics_are_those_of_reconstruct(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = write_blobs(tmp_path / "images"), tmp_path / "v.safetensors"
    assert main(["train", *f"{VQVAE} --steps 8 --held-out 0.9".split(), "--data", str(folder), "--out", str(out)]) == 0
    trained = json.loads(capsys.readouterr().out)
    files = [str(file) for file in held_out_files(folder, 0.9)]
    assert len(files) == 22
    assert main(["export", f"--vqvae={out}", f"--out={tmp_path / 'b'}"]) == 0
    capsys.readouterr()
    assert main(["reconstruct", *files, f"--bundle={tmp_path / 'b'}", "--json"]) == 0
    reconstructed = json.loads(capsys.readouterr().out)
    for name in ("mean_squared_error", "psnr_db"):
        assert trained[name] == pytest.approx(reconstructed[name], rel=1e-3)
