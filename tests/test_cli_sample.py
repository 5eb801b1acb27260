"""`latentloop sample`: outputs, messages, errors, and Ctrl-C."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from command_line import PROGRAM, RGB, codes, pixels, run
from PIL import Image

from latentloop.images import read_images
from latentloop.kernels.driver import MissingGpuError
from latentloop.sampling.results import Progress, Samples
from latentloop.sampling.runs import Runs
from latentloop.sampling.sample_request import SampleRequest


def test_a_seed_gives_the_same_grid(small_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        arguments = ("-n", 4, "--seed", 7, "--label", "bag", "--columns", 3, "--scale", 3)
        assert run("sample", "--bundle", small_bundle, *arguments, "--out", tmp_path / f"{name}.png") == 0
        assert "4 images in " in (line := capsys.readouterr().out)
        assert line.endswith("seeds 7 to 10\n")
    assert pixels(tmp_path / "a.png").shape == (2 * 32 * 3 + 2, 3 * 48 * 3 + 2 * 2, 3)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_file_names_state_labels_and_seeds_that_draw_each_image_again(small_bundle: Path, tmp_path: Path) -> None:
    common = ("sample", "--bundle", small_bundle, "--batch-size", 3)
    assert run(*common, "-n", 5, "--seed", 5, "--label", "boot, coat", "--label", "1", "--out", f"{tmp_path}/all/") == 0
    names = sorted(file.name for file in (tmp_path / "all").glob("*.png"))
    expected = ["boot-seed5", "coat-seed6", "bag-seed7", "boot-seed8", "coat-seed9"]
    assert names == [f"{index:05}-{name}.png" for index, name in enumerate(expected)]
    assert run(*common, "-n", 1, "--seed", 9, "--label", "coat", "--out", f"{tmp_path}/one/") == 0
    one, again = tmp_path / "one" / "00000-coat-seed9.png", tmp_path / "all" / names[4]
    assert pixels(one).shape == RGB
    assert np.array_equal(pixels(one), pixels(again))


def test_per_class_puts_a_class_in_a_row(
    small_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a.webp"
    assert run("sample", "--bundle", small_bundle, "--per-class", 2, "--seed", 0, "--out", out, "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["labels"] == ["coat", "coat", "bag", "bag", "boot", "boot"]
    assert summary["seeds"] == list(range(6))
    assert summary["file"] == str(out)
    assert summary["images_per_second"] == pytest.approx(6 / summary["seconds"])
    assert pixels(out).shape == (3 * 66 - 2, 2 * 98 - 2, 3)  # enlarged twice, to 64 rows


def test_given_codes_are_kept(small_bundle: Path, tmp_path: Path) -> None:
    common = ("sample", "--bundle", small_bundle)
    first, second = tmp_path / "first.npz", tmp_path / "second.npz"
    assert run(*common, "-n", 3, "--seed", 1, "--out", tmp_path / "a.png", "--codes", first) == 0
    given = ("--given", first, "--keep", "top")
    assert run(*common, *given, "--seed", 50, "--out", tmp_path / "b.png", "--codes", second) == 0
    before, after = codes(first), codes(second)
    assert before["seeds"].tolist() == [1, 2, 3]
    assert before["labels"].tolist() == [0, 1, 2]
    assert np.array_equal(before["top"], after["top"])
    assert not np.array_equal(before["bottom"], after["bottom"])
    assert run("decode", first, "--bundle", small_bundle, "--out", tmp_path / "c.png") == 0
    assert np.array_equal(pixels(tmp_path / "a.png"), pixels(tmp_path / "c.png"))
    np.savez(tmp_path / "one.npz", top=before["top"][:1])
    assert (
        run(
            *common,
            "-n",
            2,
            "--given",
            tmp_path / "one.npz",
            "--label",
            "bag",
            "--out",
            tmp_path / "d.png",
            "--codes",
            second,
            "--force",
        )
        == 0
    )
    assert np.array_equal(codes(second)["top"], before["top"][[0, 0]])


def test_given_codes_of_another_count_or_without_a_level(
    small_bundle: Path, tmp_path: Path, fails: Callable[..., str]
) -> None:
    given = tmp_path / "codes.npz"
    np.savez(given, top=np.zeros((3, 4, 6), np.int64))
    common = ("sample", "--bundle", small_bundle, "--out", tmp_path / "a.png", "--given", given)
    assert "codes.npz holds codes of 3 images, expected 2" in fails(2, *common, "-n", 2)
    assert "codes.npz has no codes [N, h, w] of 'bottom', it holds: top" in fails(2, *common, "--keep", "top,bottom")


def test_settings_reach_the_sampler(small_bundle: Path, tmp_path: Path) -> None:
    drawn = []
    for seed in (1, 2):  # the most probable code is the same for every seed
        out = tmp_path / f"{seed}.npz"
        settings = ("--top-k", "top=1", "--temperature", "top=0.5,bottom=2", "--top-p", "0.9999", "--label", "coat")
        arguments = ("-n", 2, "--seed", seed, "--codes", out, "--out", tmp_path / f"{seed}.png")
        assert run("sample", "--bundle", small_bundle, *settings, *arguments) == 0
        drawn.append(codes(out))
    assert np.array_equal(drawn[0]["top"], drawn[1]["top"])
    assert not np.array_equal(drawn[0]["bottom"], drawn[1]["bottom"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--label hat", "label 'hat' is not one of the 3 classes: coat, bag, boot"),
        ("--label coat,3", "label 3 is not one"),
        ("--temperature 0", "temperature for top is 0.0, expected over 0"),
        ("--top-k 0", "top_k for top is 0.0, expected an integer from 1"),
        ("--temperature nan", "temperature for top is nan"),
        ("--temperature hot", "neither a number nor level=number"),
        ("--temperature top=1,top=2", "names a level twice"),
        ("--top-p middle=0.5", "top_p: there is no level 'middle', the bundle has: top, bottom"),
        ("--top-p 1.5", "at most 1"),
        ("--top-k 2.5", "expected an integer"),
        ("--seed -1", "from 0 to 2**64 - 1"),
        ("--threads 0", "not a positive integer"),
        ("--device tpu", "expected auto, cpu, cuda, tensorrt or onnxruntime-tensorrt"),
        ("--count 3 --per-class 3", "not allowed with"),
        ("--keep top", "--given, which is missing"),
        ("--codes codes.txt", "expected .npz"),
    ],
)
def test_invalid_options(
    small_bundle: Path, tmp_path: Path, fails: Callable[..., str], arguments: str, message: str
) -> None:
    common = ("sample", "--bundle", small_bundle, "--out", tmp_path / "a.png")
    assert message in fails(2, *common, *arguments.split())
    assert not list(tmp_path.iterdir())


def test_a_missing_device_is_a_failure(
    fails: Callable[..., str], small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise MissingGpuError("no GPU")

    monkeypatch.setattr("latentloop.kernels.driver.open_driver", refuse)  # in case this machine has a driver
    common = ("sample", "--bundle", small_bundle, "--out", tmp_path / "a.png")
    for device in ("cuda", "tensorrt:1", "onnxruntime-tensorrt"):
        message = fails(1, *common, "--device", device)
        assert "no NVIDIA driver here" in message or 'no GPU: pip install "latentloop[gpu]"' in message


def test_outputs_are_checked_before_any_work(tmp_path: Path, fails: Callable[..., str]) -> None:
    (tmp_path / "a.png").write_text("mine")
    (tmp_path / "a.npz").write_text("mine")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.txt").write_text("mine")
    common = ("sample", "--bundle", tmp_path / "nothing")  # the bundle's error would come first if the work had begun
    for out in ("a.png", "a/"):
        assert "exists; pass --force" in fails(1, *common, "--out", f"{tmp_path}/{out}")
    assert "exists" in fails(1, *common, "--out", tmp_path / "b.png", "--codes", tmp_path / "a.npz")
    assert "move it" in fails(2, *common, "--out", f"{tmp_path}/b/", "--codes", tmp_path / "b" / "b.npz")
    assert "expected one of .png" in fails(2, *common, "--out", tmp_path / "b.gif")
    assert "exists" in fails(1, "encode", tmp_path, "--out", tmp_path / "a.npz")
    assert "exists" in fails(1, "decode", "no.npz", "--out", tmp_path / "a.png")
    assert "exists" in fails(1, "reconstruct", tmp_path, "--out", tmp_path / "a.png")
    assert (tmp_path / "a.png").read_text() == "mine"


def test_force_replaces(small_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("old")
    assert run("sample", "--bundle", small_bundle, "-n", 1, "--out", tmp_path / "a.png", "--force") == 0
    assert pixels(tmp_path / "a.png").shape == (64, 96, 3)


def test_a_grid_too_large_for_its_format_is_refused_before_the_work(
    small_bundle: Path, tmp_path: Path, fails: Callable[..., str]
) -> None:
    arguments = ("sample", "--bundle", small_bundle, "-n", 10**6, "--columns", 1, "--out", tmp_path / "a.webp")
    assert ".webp holds 16383 at most" in fails(2, *arguments)


def test_a_corrupt_bundle_names_the_file(small_bundle: Path, tmp_path: Path, fails: Callable[..., str]) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(small_bundle, bundle)
    content = (bundle / "decoder.onnx").read_bytes()
    (bundle / "decoder.onnx").write_bytes(content[:-1])
    assert "decoder.onnx has " in fails(1, "sample", "--bundle", bundle, "--out", tmp_path / "a.png")
    assert "decoder.onnx has " in fails(1, "info", "--bundle", bundle)
    assert not (tmp_path / "a.png").exists()


def test_a_bundle_without_priors_or_classes(
    grey_bundle: Path, tmp_path: Path, fails: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    common = ("sample", "--bundle", grey_bundle, "--out", tmp_path / "a.png")
    assert "no prior for the level 'top'" in fails(2, *common)
    assert "--per-class needs a bundle with classes" in fails(2, *common, "--per-class", 2)
    Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).save(tmp_path / "grey.png")
    pairs = tmp_path / "pairs.png"
    assert run("reconstruct", tmp_path / "grey.png", "--bundle", grey_bundle, "--out", pairs, "--scale", 1) == 0
    assert pixels(pairs).shape == (2 * 18 - 2, 16)


@pytest.mark.parametrize("output", [["--out", "a.png"], ["--out", "a/"], ["--out", "a.png", "--codes", "a.npz"]])
def test_a_failed_write_leaves_nothing_behind(small_bundle: Path, tmp_path: Path, output: list[str]) -> None:
    limited = ["sh", "-c", 'ulimit -f 1; exec "$@"', "sh"]  # files of at most 512 bytes: writing really fails half-way
    command = [*limited, str(PROGRAM), "sample", "--bundle", str(small_bundle), "-n", "9", "--seed", "1", *output]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert result.returncode == 1
    assert result.stderr.startswith("latentloop: error: cannot write ")
    assert result.stderr.endswith(f"{output[-1].rstrip('/')}: File too large\n")
    assert result.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


# Ctrl-C while sampling


def ctrl_c_after(monkeypatch: pytest.MonkeyPatch, images: int, times: int = 1) -> None:
    """Sends Ctrl-C ``times`` times after every row, as soon as ``images`` images are finished."""
    original = Runs.stream

    def patched(
        self: Runs, request: SampleRequest, batch_size: int | None, callback: Callable[[Progress], bool]
    ) -> Iterator[Samples]:
        def after_row(progress: Progress) -> bool:
            if progress.images_done >= images:
                for _ in range(times):
                    signal.raise_signal(signal.SIGINT)
            return callback(progress)

        return original(self, request, batch_size, after_row)

    monkeypatch.setattr(Runs, "stream", patched)


def test_ctrl_c_writes_finished_images(
    small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = signal.getsignal(signal.SIGINT)
    common = ("sample", "--bundle", small_bundle, "--batch-size", 2, "--seed", 4)
    assert run(*common, "-n", 8, "--out", f"{tmp_path}/all/") == 0
    ctrl_c_after(monkeypatch, images=4)
    assert run(*common, "-n", 8, "--out", f"{tmp_path}/some/", "--codes", tmp_path / "some.npz") == 130
    assert (
        capsys.readouterr().err
        == "latentloop: interrupted, 4 of 8 images were finished and written; the same command goes on\n"
    )
    some = sorted((tmp_path / "some").glob("*.png"))
    assert [file.name for file in some] == sorted(file.name for file in (tmp_path / "all").glob("*.png"))[:4]
    assert np.array_equal(read_images(some, RGB), read_images([tmp_path / "all"], RGB)[:4])
    assert codes(tmp_path / "some.npz")["seeds"].tolist() == [4, 5, 6, 7]
    assert signal.getsignal(signal.SIGINT) == handler


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_before_the_first_image_writes_nothing(
    small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], times: int
) -> None:
    handler = signal.getsignal(signal.SIGINT)
    ctrl_c_after(monkeypatch, images=0, times=times)
    assert run("sample", "--bundle", small_bundle, "-n", 2, "--out", tmp_path / "a.png") == 130
    out, err = capsys.readouterr()
    assert out == ""
    assert err == ("latentloop: interrupted, no image was finished\n" if times == 1 else "latentloop: interrupted\n")
    assert not list(tmp_path.iterdir())
    assert signal.getsignal(signal.SIGINT) == handler
