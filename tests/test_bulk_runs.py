"""`latentloop sample` into a folder: the files of every format have the samples of one call, in shards that a journal
lists; the same command goes on, says that it is finished, or is refused if it would draw something else.
"""

from __future__ import annotations

import gc
import json
import subprocess
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import PROGRAM, RGB, codes, pixels, run
from killed_runs import digests

from latentloop import Bundle, Sampler, Samples, sample_best
from latentloop.bulk import folder as bulk_folder
from latentloop.images import read_images

N, SHARD, BATCH = 7, 4, 2
Sample = Callable[..., Path]


@pytest.fixture(scope="module")
def sampler(small_bundle: Path) -> Sampler:
    return Sampler(Bundle.open(small_bundle), threads=1)


@pytest.fixture
def sample(small_bundle: Path, tmp_path: Path) -> Sample:
    """Runs `latentloop sample` into a folder, which must end with ``status``, and returns the folder."""

    def call(*options: object, n: int = N, name: str = "a", status: int = 0) -> Path:
        folder = tmp_path / name
        assert run(*command(small_bundle, folder, n), *options) == status
        return folder

    return call


def command(bundle: Path, folder: Path, n: int = N) -> tuple[object, ...]:
    sizes = ("--shard-size", SHARD, "--batch-size", BATCH, "--threads", 1)
    return "sample", bundle, "-n", n, "--seed", 7, *sizes, "--out", f"{folder}/"


def drawn(sampler: Sampler, n: int = N, **changes: Any) -> Samples:
    return sampler.sample(n, **{"seeds": 7, "batch_size": BATCH, **changes})


def journal(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]


def png_images(folder: Path) -> np.ndarray:
    return read_images(sorted(folder.rglob("*.png")), RGB)


def npz_images(folder: Path) -> dict[str, np.ndarray]:
    shards = [codes(path) for path in sorted(folder.glob("shard-*.npz"))]
    return {name: np.concatenate([shard[name] for shard in shards]) for name in shards[0]}


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


# Going on


def test_the_same_command_on_a_finished_folder_draws_nothing(
    sample: Sample, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = sample()
    before = digests(folder)
    capsys.readouterr()

    def refuse(*arguments: object) -> None:
        raise AssertionError("a model is loaded")

    monkeypatch.setattr("latentloop.sampling.sampler.Sampler.__init__", refuse)
    sample()
    assert capsys.readouterr() == (f"{folder}/: all 7 images are there already; --force draws them anew\n", "")
    sample("--json")
    summary = json.loads(capsys.readouterr().out)
    assert (summary["images"], summary["images_before"], summary["cancelled"]) == (N, N, False)
    assert digests(folder) == before


def test_what_a_command_leaves_open_is_as_before(small_bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "a"
    first = ("sample", small_bundle, "-n", N, "--shard-size", 2, "--batch-size", 2, "--threads", 2)
    assert run(*first, "--out", f"{folder}/") == 0
    before = digests(folder)
    (folder / next(name for name in before if name.startswith("00002"))).unlink()
    assert run("sample", small_bundle, "-n", N, "--out", f"{folder}/") == 0
    assert digests(folder).keys() == before.keys()
    after = {name: digest for name, digest in digests(folder).items() if name.endswith(".png")}
    assert after == {name: before[name] for name in after}


def test_a_missing_or_changed_file_is_drawn_again(
    sample: Sample, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = sample("--format", "npz")
    before = digests(folder)
    for number, problem in ((1, "is missing"), (0, "has 3 bytes instead of")):
        path = folder / f"shard-0000{number}.npz"
        path.unlink() if number else path.write_bytes(b"abc")
        capsys.readouterr()
        sample("--format", "npz")
        err = capsys.readouterr().err
        assert f"latentloop: {folder}: shard-0000{number}.npz {problem}" in err
        assert f": shard {number} is drawn again\n" in err
        assert f"goes on after {SHARD if number else N - SHARD} of {N} images" in err
        assert {name: digest for name, digest in digests(folder).items() if name in before and "shard" in name} == {
            name: digest for name, digest in before.items() if "shard" in name
        }
    assert len(journal(folder)) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--seed", 8), "seed was 7, this command has 8: give the options of before, or start anew with --force"),
        (("--temperature", 0.9), "settings.top.temperature was 1.0, this command has 0.9"),
        (("--top-k", "bottom=3"), "settings.bottom.top_k was none, this command has 3"),
        (("-n", 8), "n was 7, this command has 8"),
        (("--label", "coat"), "label was none, this command has ['coat']"),
        (("--format", "tar"), "files was 'png', this command has 'tar'"),
        (("--scale", 2), "scale was 1, this command has 2"),
        (("--best", 0.5), "best was none, this command has 0.5"),
        (("--shard-size", 2), "shard_size was 4, this command has 2"),
        (("--batch-size", 3), "batch_size was 2, this command has 3"),
        (("--threads", 2), "threads was 1, this command has 2"),
        (("--precision", "int8"), "precision was 'float32', this command has 'int8'"),
    ],
)
def test_a_command_that_would_draw_something_else_is_refused(
    small_bundle: Path, sample: Sample, fails: Callable[..., str], options: tuple[object, ...], message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    folder = sample()
    before = digests(folder)
    capsys.readouterr()
    assert f"{folder}/journal.jsonl: {message}" in fails(2, *command(small_bundle, folder), *options)
    assert digests(folder) == before
    sample(*options, "--force", n=8 if "-n" in options else N)
    assert digests(folder) != before


def test_another_bundle_version_or_processor_is_refused(
    small_bundle: Path,
    sample: Sample,
    fails: Callable[..., str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = sample()
    text = (folder / "journal.jsonl").read_text()
    last = sorted(folder.glob("*.png"))[-1]
    for field, found in (
        ("bundle", journal(folder)[0]["bundle"]),
        ("instruction_set", journal(folder)[0]["instruction_set"]),
        ("given_sha256", None),
        ("onnxruntime", journal(folder)[0]["packages"].get("onnxruntime")),
        ("latentloop", journal(folder)[0]["packages"]["latentloop"]),
    ):
        (folder / "journal.jsonl").write_text(
            text.replace(f'"{field}": {json.dumps(found)}', f'"{field}": "another"', 1)
        )
        last.unlink(missing_ok=True)
        capsys.readouterr()
        assert run(*command(small_bundle, folder)) == 2
        prefix = "packages." if field in ("onnxruntime", "latentloop") else ""
        assert f"{prefix}{field} was 'another', this command has" in capsys.readouterr().err


# --force, and folders that are not this program's


def test_force_starts_anew_and_spares_other_files(
    sample: Sample, small_bundle: Path, fails: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = sample("--codes", tmp_path / "a")
    (folder / ".unfinished").mkdir()
    (folder / ".unfinished" / "rest").write_text("half")
    sample("--force", "--format", "npz", n=3)
    assert sorted(digests(folder)) == ["journal.jsonl", "shard-00000.npz"]
    capsys.readouterr()
    for name in ("notes.txt", "photo.png", "shard-1.npz"):
        (folder / name).write_text("mine")
        before = digests(folder)
        message = fails(1, *command(small_bundle, folder), "--force")
        assert f"also holds {name}, which --force would remove" in message
        assert digests(folder) == before
        (folder / name).unlink()
    own = tmp_path / "own"
    own.mkdir()
    (own / "journal.jsonl").write_text("{}\n")
    for options in ((), ("--force",)):
        fails(1, *command(small_bundle, own), *options)
    assert (own / "journal.jsonl").read_text() == "{}\n"


def test_what_a_shard_would_refuse_is_refused_before_anything_is_replaced(
    sample: Sample, small_bundle: Path, fails: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = sample("--codes", tmp_path / "a")
    before = digests(folder)
    capsys.readouterr()
    for options, message in (
        (("--batch-size", 10**6), "batch_size is 1000000, expected at most 4096"),
        (("--best", "0.0000001"), "needs more than 1048576 candidates"),
        (("--seed", 2**64 - 2), "seeds holds 18446744073709551616, expected integers"),
        (("--given", folder / "codes-00000.npz", "--keep", "top", "-n", 4), "would replace"),
        (("--codes", folder / "x.npz"), "which holds the run's own files only"),
        (("--columns", 2), "--columns applies to a grid"),
    ):
        assert message in fails(2, *command(small_bundle, folder), *options, "--force")
        assert digests(folder) == before
    for option in (("--format", "npz"), ("--shard-size", 3)):
        message = fails(2, "sample", small_bundle, "--out", tmp_path / "a.png", *option)
        assert f"{option[0]} applies to a folder of images" in message


def test_decode_replaces_a_folder_of_a_run(sample: Sample, small_bundle: Path, tmp_path: Path) -> None:
    folder, file = tmp_path / "a", tmp_path / "a.npz"
    np.savez(file, top=np.zeros((2, 4, 6), np.int64), bottom=np.zeros((2, 8, 12), np.int64))
    sample()
    assert run("decode", file, "--bundle", small_bundle, "--out", f"{folder}/", "--force") == 0
    assert sorted(digests(folder)) == ["00000.png", "00001.png"]
    sample("--force")
    assert len(digests(folder)) == N + 1


def test_two_processes_do_not_write_one_folder(
    small_bundle: Path, tmp_path: Path, fails: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "a"
    arguments = [str(PROGRAM), *map(str, command(small_bundle, folder, 10**5))]
    with subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as first:
        try:
            deadline = time.monotonic() + 30
            while not (folder / "000").is_dir():
                assert first.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
            for options in ((), ("--force",)):
                message = fails(1, *command(small_bundle, folder, 10**5), *options)
                assert f"{folder} is being written by another process" in message
        finally:
            first.kill()
    sample = (*command(small_bundle, folder), "--force")
    assert run(*sample) == 0
