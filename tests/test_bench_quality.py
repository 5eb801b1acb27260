"""`latentloop bench quality`: both precisions on the same codes, compared with `log_likelihood`."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from bench_bundles import read_class_folders, write_class_folders, write_square_bundle
from command_line import run
from PIL import Image

from latentloop import Bundle, Sampler
from latentloop.bench.figures.result_files import read_result
from latentloop.bench.quality import int8_cost
from latentloop.bench.quality.dataset import select
from latentloop.bench.report import comparison
from latentloop.export.data.datasets import Dataset

COUNT, USED = 20, 18  # both more than a batch


@pytest.fixture(scope="module")
def square_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundles") / "square"
    write_square_bundle(path, classifier=False)
    return path


def test_held_out_images(square_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "planets"
    write_class_folders(data, training=4, held_out=COUNT)
    out = tmp_path / "quality.json"
    options = ("--bundle", square_bundle, "--data", data, "--images", USED, "--threads", 1)
    assert run("bench", "quality", *options, "--out", out) == 0
    assert "held-out images" in capsys.readouterr().out
    result = read_result(out, "quality")
    assert result["images"] == USED
    images, labels = read_class_folders(data / "test")
    indices = select(Dataset(images, labels), USED)
    for precision in int8_cost.PRECISIONS:
        sampler = Sampler(Bundle.open(square_bundle), threads=1, precision=precision)
        logp = sampler.log_likelihood(sampler.encode(images[indices]), labels=labels[indices])
        for level in result["levels"]:
            bits = -logp[level["name"]].mean() / math.log(2)
            assert level["bits_per_code"][precision] == pytest.approx(bits, rel=1e-4)
    for level in result["levels"]:
        assert abs(level["relative_change"]) < 0.01
        assert 1e-6 < level["kl_nats"] < 0.01
        assert level["note"] == ""
    rows = comparison.compare(result, result)["rows"]
    assert [row["name"] for row in rows[:3]] == ["top: float32", "top: int8", "top: KL"]


def test_own_samples(small_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--own-samples", 1, "--rows", 2, "--threads", 1)
    assert run("bench", "quality", "--bundle", small_bundle, *options, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert [level["positions"] for level in result["levels"]] == [2 * 6, 2 * 12]
    assert [level["standard_error"] for level in result["levels"]] == [None, None]
    assert "the first 2 rows of each level" in int8_cost.table(result)
    pytest.importorskip("matplotlib")
    from latentloop.bench.report.plots import write_plots

    (plot,) = write_plots(tmp_path, result)
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_data_that_does_not_match_the_bundle(
    small_bundle: Path, square_bundle: Path, tmp_path: Path, fails: Callable[..., str]
) -> None:
    command = ("bench", "quality", "--threads", 1)
    assert "square images only, the bundle's are 32 x 48" in fails(
        2, *command, "--bundle", small_bundle, "--data", tmp_path
    )
    assert "--own-samples" in fails(2, *command)
    assert "--images limits the images of --data" in fails(2, *command, "--own-samples", 2, "--images", 3)
    for index in range(2):
        Image.new("L", (32, 32), index).save(tmp_path / f"{index}.png")
    assert "images without classes" in fails(2, *command, "--bundle", square_bundle, "--data", tmp_path)
