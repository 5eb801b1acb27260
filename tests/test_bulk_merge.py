"""`latentloop merge` joins .npz shards into one file, and refuses runs that are not finished or were changed."""

from __future__ import annotations

import hashlib
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_line import codes, run

from latentloop import Bundle, Sampler
from latentloop.bulk.formats.npz_shards import write_npz
from latentloop.bulk.merging.npz_file import merge_npz

N = 7


@pytest.fixture
def shards(small_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    folder = tmp_path / "shards"
    sizes = ("--shard-size", 3, "--batch-size", 3, "--threads", 1)
    assert run("sample", small_bundle, "-n", N, "--seed", 7, *sizes, "--format", "npz", "--out", f"{folder}/") == 0
    capsys.readouterr()
    return folder


def test_the_merged_file_has_the_samples_of_one_call(
    shards: Path, small_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "all.npz"
    assert run("merge", shards, "--out", out) == 0
    assert capsys.readouterr().out == f"{out}: 7 images\n"
    expected = Sampler(Bundle.open(small_bundle), threads=1).sample(N, seeds=7, batch_size=3)
    arrays = codes(out)
    assert list(arrays) == ["arr_0", "arr_1", "seeds"]
    np.testing.assert_array_equal(arrays["arr_0"], expected.images)
    np.testing.assert_array_equal(arrays["arr_1"], expected.labels)
    np.testing.assert_array_equal(arrays["seeds"], expected.seeds)
    assert arrays["arr_1"].dtype == np.int64


def test_what_cannot_be_merged_is_refused(
    shards: Path, small_bundle: Path, tmp_path: Path, fails: Callable[..., str]
) -> None:
    out = tmp_path / "all.npz"
    path = shards / "shard-00001.npz"
    content = path.read_bytes()
    path.write_bytes(content[:-100] + bytes(100))
    assert "cannot be read as an .npz file" in fails(2, "merge", shards, "--out", out)
    changed = bytearray(content)
    changed[3000] ^= 1
    path.write_bytes(changed)
    assert "shard-00001.npz was changed: its SHA-256 is" in fails(2, "merge", shards, "--out", out)
    path.write_bytes(content[:-1])
    assert "shard-00001.npz has " in fails(2, "merge", shards, "--out", out)
    path.unlink()
    assert "shard-00001.npz is missing" in fails(2, "merge", shards, "--out", out)
    journal = shards / "journal.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[:2]))
    assert "2 of 3 shards are missing, the first is number 1" in fails(2, "merge", shards, "--out", out)
    header = json.loads(lines[0])
    for field, value, message in (("files", "tar", "holds tar files"), ("n", -1, "expected positive integers")):
        journal.write_text(json.dumps({**header, field: value}) + "\n")
        assert message in fails(2, "merge", shards, "--out", out)
    assert "holds no run" in fails(2, "merge", small_bundle, "--out", out)
    assert "expected .npz" in fails(2, "merge", shards, "--out", tmp_path / "all.png")
    assert not out.exists()
    out.write_text("mine")
    assert "exists; pass --force" in fails(1, "merge", shards, "--out", out)
    assert out.read_text() == "mine"


def test_memory_does_not_grow_with_the_run(tmp_path: Path) -> None:
    """A run of 64 MB is merged with a few MB."""
    images = np.random.default_rng(0).integers(0, 256, (250, 64, 64, 3), np.uint8)
    lines = [{"format": "latentloop-samples", "version": 1, "files": "npz", "n": 5250, "shard_size": 250}]
    for number in range(21):
        path = tmp_path / f"shard-{number:05}.npz"
        write_npz(path, {"arr_0": (images.shape, images.dtype, [images])})
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        file = {"name": path.name, "size": path.stat().st_size, "sha256": digest}
        lines.append({"shard": number, "images": 250, "partial": False, "files": [file]})
    (tmp_path / "journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    tracemalloc.start()
    assert merge_npz([tmp_path], tmp_path / "all.npz") == 5250
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 6 * 2**20
    with np.load(tmp_path / "all.npz") as merged:
        assert np.array_equal(merged["arr_0"][-250:], images)
