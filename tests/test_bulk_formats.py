"""`latentloop sample` into a folder: the files of every format have the samples of one call, whatever is sampled."""

from __future__ import annotations

import gc
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bulk_folders import BATCH, SHARD, N, Sample, command, drawn, journal, npz_images, png_images, sample
from command_line import codes, pixels, run
from killed_runs import digests

from latentloop import Bundle, Sampler, sample_best
from latentloop.bulk import folder as bulk_folder
from latentloop.images import read_images

__all__ = ["sample"]  # a fixture


@pytest.fixture(scope="module")
def sampler(small_bundle: Path) -> Sampler:
    return Sampler(Bundle.open(small_bundle), threads=1)


# Formats


def test_png_files_are_the_samples_of_one_call(sample: Sample, sampler: Sampler) -> None:
    folder, expected = sample("--scale", 2), drawn(sampler)
    names = sorted(path.name for path in folder.glob("*.png"))
    assert names == [f"{i:05}-{('coat', 'bag', 'boot')[i % 3]}-seed{7 + i}.png" for i in range(N)]
    images = read_images(sorted(folder.glob("*.png")), (64, 96, 3))
    np.testing.assert_array_equal(images, expected.images.repeat(2, 1).repeat(2, 2))
    header, *shards = journal(folder)
    assert (header["n"], header["seed"], header["scale"], header["shard_size"]) == (N, 7, 2, SHARD)
    assert [(shard["shard"], shard["images"], shard["partial"]) for shard in shards] == [(0, 4, False), (1, 3, False)]
    files = [file for shard in shards for file in shard["files"]]
    assert {file["name"]: file["sha256"] for file in files} == {
        name: digest for name, digest in digests(folder).items() if name.endswith(".png")
    }
    assert all((folder / file["name"]).stat().st_size == file["size"] for file in files)


def test_many_png_files_are_in_sub_folders_that_sort(
    sample: Sample, sampler: Sampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_folder, "PER_FOLDER", 3)
    folder = sample()
    assert sorted(str(path.relative_to(folder))[:9] for path in folder.rglob("*.png")) == [
        f"{i // 3:03}/{i:05}" for i in range(N)
    ]
    np.testing.assert_array_equal(png_images(folder), drawn(sampler).images)
    sample("--force", "--format", "npz")
    assert sorted(digests(folder)) == ["journal.jsonl", "shard-00000.npz", "shard-00001.npz"]
    monkeypatch.undo()
    assert bulk_folder.subfolder(9_999, 10_000) == ""
    assert [bulk_folder.subfolder(i, 10_001) for i in (9_999, 10_000)] == ["000/", "001/"]
    assert bulk_folder.subfolder(10_000, 10**7 + 1) == "0001/"


def test_npz_shards_are_the_samples_of_one_call(sample: Sample, sampler: Sampler) -> None:
    folder, expected = sample("--format", "npz"), drawn(sampler)
    arrays = npz_images(folder)
    assert {name: array.dtype.name for name, array in arrays.items()} == {
        "arr_0": "uint8",
        "arr_1": "int64",
        "seeds": "uint64",
    }
    np.testing.assert_array_equal(arrays["arr_0"], expected.images)
    np.testing.assert_array_equal(arrays["arr_1"], expected.labels)
    np.testing.assert_array_equal(arrays["seeds"], expected.seeds)
    assert [len(codes(folder / f"shard-0000{i}.npz")["arr_0"]) for i in range(2)] == [4, 3]


def test_tar_shards_have_the_names_of_webdataset(sample: Sample, sampler: Sampler, tmp_path: Path) -> None:
    folder, expected = sample("--format", "tar"), drawn(sampler)
    assert expected.labels is not None
    names = []
    for shard in sorted(folder.glob("shard-*.tar")):
        with tarfile.open(shard) as archive:
            for entry in archive:
                assert (entry.mtime, entry.uid, entry.gid, entry.uname, entry.mode) == (0, 0, 0, "", 0o644)
                names.append(entry.name)
            archive.extractall(tmp_path / "all", filter="data")
    assert names == [f"{i:08}.{suffix}" for i in range(N) for suffix in ("png", "cls", "json")]
    for i in range(N):
        stem, label = tmp_path / "all" / f"{i:08}", int(expected.labels[i])
        np.testing.assert_array_equal(pixels(stem.with_suffix(".png")), expected.images[i])
        assert int(stem.with_suffix(".cls").read_text()) == label
        about = {"seed": 7 + i, "label": label, "class": ("coat", "bag", "boot")[label]}
        assert json.loads(stem.with_suffix(".json").read_text()) == about


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
def test_webdataset_reads_tar_shards(sample: Sample, sampler: Sampler) -> None:
    webdataset = pytest.importorskip("webdataset")
    folder = sample("--format", "tar")
    expected = drawn(sampler)
    data = webdataset.WebDataset(sorted(map(str, folder.glob("*.tar"))), shardshuffle=False).decode("rgb8")
    found = list(data.to_tuple("png", "cls", "json"))
    np.testing.assert_array_equal(np.stack([image for image, _, _ in found]), expected.images)
    assert [label for _, label, _ in found] == expected.labels.tolist()  # type: ignore[union-attr]
    assert [about["seed"] for _, _, about in found] == expected.seeds.tolist()
    del data
    gc.collect()  # it leaves files open


def test_codes_are_beside_the_images_of_each_shard(sample: Sample, sampler: Sampler, tmp_path: Path) -> None:
    first, expected = sample("--format", "npz", "--codes", tmp_path / "a"), drawn(sampler)
    files = [codes(first / f"codes-0000{i}.npz") for i in range(2)]
    for name in ("top", "bottom"):
        np.testing.assert_array_equal(np.concatenate([file[name] for file in files]), expected.codes[name])
    assert np.concatenate([file["seeds"] for file in files]).tolist() == expected.seeds.tolist()
    assert (
        run("decode", first / "codes-00001.npz", "--out", f"{tmp_path}/decoded/", "--bundle", sampler.bundle.path) == 0
    )
    np.testing.assert_array_equal(png_images(tmp_path / "decoded"), expected.images[SHARD:])


def test_one_file_of_codes_is_that_of_a_run_in_one_shard(
    small_bundle: Path, sampler: Sampler, tmp_path: Path, fails: Callable[..., str]
) -> None:
    folder, file = tmp_path / "a", tmp_path / "a.npz"
    options = ("--batch-size", BATCH, "--threads", 1, "--seed", 7, "--codes", file)
    message = fails(2, *command(small_bundle, folder), "--codes", file)
    assert f"--codes {folder}/ writes a file of each shard" in message
    common = ("sample", small_bundle, "-n", 300, *options, "--out", f"{folder}/")
    assert run(*common) == 0
    assert [record["images"] for record in journal(folder)[1:]] == [300]
    np.testing.assert_array_equal(codes(file)["bottom"], drawn(sampler, 300).codes["bottom"])
    before = digests(folder)
    file.unlink()
    assert run(*common) == 0
    assert codes(file)["seeds"].tolist() == list(range(7, 307))
    assert digests(folder) == before


# Requests


@pytest.mark.parametrize("best", [0.5, 0.3])
def test_the_best_are_chosen_in_each_shard(sample: Sample, sampler: Sampler, best: float) -> None:
    folder = sample("--best", best, "--format", "npz", "--label", "bag,coat")
    seed, parts = 7, []
    for n in (SHARD, N - SHARD):
        selection = sample_best(sampler, n, keep=best, labels=[1, 0, 1, 0][:n], seeds=seed, batch_size=BATCH)
        parts.append(selection.samples)
        seed += selection.candidates
    arrays = npz_images(folder)
    np.testing.assert_array_equal(arrays["seeds"], np.concatenate([part.seeds for part in parts]))
    np.testing.assert_array_equal(arrays["arr_0"], np.concatenate([part.images for part in parts]))


def test_per_class_given_and_keep(sample: Sample, sampler: Sampler, small_bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "classes"
    options = ("--batch-size", BATCH, "--threads", 1, "--shard-size", 2, "--seed", 7, "--format", "npz")
    assert run("sample", small_bundle, "--per-class", 2, "--out", f"{folder}/", "--codes", folder, *options) == 0
    expected = drawn(sampler, 6, labels=[0, 0, 1, 1, 2, 2])
    np.testing.assert_array_equal(npz_images(folder)["arr_0"], expected.images)
    given = tmp_path / "given.npz"
    all_codes: dict[str, Any] = {**expected.codes, "labels": expected.labels}
    np.savez(given, **all_codes)
    for count, name in ((6, "all"), (1, "one")):
        if count == 1:
            np.savez(given, **{name: each[:1] for name, each in all_codes.items()})
        made = sample("--given", given, "--keep", "top", "--format", "npz", n=6, name=name)
        kept = {"top": expected.codes["top"] if count == 6 else expected.codes["top"][:1].repeat(6, 0)}
        labels = expected.labels if count == 6 else 0
        again = drawn(sampler, 6, given=kept, labels=labels)
        np.testing.assert_array_equal(npz_images(made)["arr_0"], again.images)
