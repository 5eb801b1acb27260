"""`latentloop bench quality`: both precisions on the same codes, as `log_likelihood` has them."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_line import run
from PIL import Image

from latentloop import Bundle, Sampler
from latentloop.bench import comparison, quality
from latentloop.bench.results import read_result

COUNT = 20  # more than a batch


def write_idx(folder: Path, prefix: str, images: np.ndarray, labels: np.ndarray) -> None:
    for name, values in ((f"{prefix}-images-idx3-ubyte", images), (f"{prefix}-labels-idx1-ubyte", labels)):
        header = struct.pack(f">{1 + values.ndim}I", 0x800 + values.ndim, *values.shape)
        (folder / name).write_bytes(header + values.astype(np.uint8).tobytes())


def test_held_out_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sampler = Sampler(Bundle.default(), threads=1)
    images = sampler.sample(COUNT, seeds=1, batch_size=COUNT).images[:, 2:-2, 2:-2, 0]
    labels = np.arange(COUNT) % 10
    write_idx(tmp_path, "train", images[::-1], labels[::-1])
    write_idx(tmp_path, "t10k", images, labels)
    out = tmp_path / "quality.json"
    assert run("bench", "quality", "--data", tmp_path, "--images", 18, "--threads", 1, "--out", out) == 0
    assert "held-out images" in capsys.readouterr().out
    found = read_result(out, "quality")
    assert found["images"] == 18
    padded = np.pad(images[:18], ((0, 0), (2, 2), (2, 2)))[..., None]
    for precision in quality.PRECISIONS:
        chosen = Sampler(sampler.bundle, threads=1, precision=precision)
        logp = chosen.log_likelihood(chosen.encode(padded), labels=labels[:18])
        for level in found["levels"]:
            bits = -logp[level["name"]].mean() / math.log(2)
            assert level["bits_per_code"][precision] == pytest.approx(bits, rel=1e-4)
    for level in found["levels"]:
        assert abs(level["relative_change"]) < 0.01
        assert 1e-6 < level["kl_nats"] < 0.01
        assert level["note"] == ""
    rows = comparison.compare(found, found)["rows"]
    assert [row["name"] for row in rows[:3]] == ["top: float32", "top: int8", "top: KL"]


def test_own_samples(small_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--own-samples", 1, "--rows", 2, "--threads", 1)
    assert run("bench", "quality", "--bundle", small_bundle, *options, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [level["positions"] for level in found["levels"]] == [2 * 6, 2 * 12]
    assert [level["standard_error"] for level in found["levels"]] == [None, None]
    assert "the first 2 rows of each level" in quality.table(found)
    pytest.importorskip("matplotlib")
    from latentloop.bench.plots import write_plots

    (picture,) = write_plots(tmp_path, found)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_data_that_does_not_fit(small_bundle: Path, tmp_path: Path, fails: Callable[..., str]) -> None:
    command = ("bench", "quality", "--threads", 1)
    assert "square images only, the bundle's are 32 x 48" in fails(
        2, *command, "--bundle", small_bundle, "--data", tmp_path
    )
    assert "--own-samples" in fails(2, *command)
    for index in range(2):
        Image.new("L", (32, 32), index).save(tmp_path / f"{index}.png")
    assert "images without classes" in fails(2, *command, "--data", tmp_path)
