"""`latentloop sample` into a folder: the same command goes on, says that it is finished, or is refused if it would draw
something else; --force replaces only what runs have written.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bulk_folders import SHARD, N, Sample, command, journal, sample
from command_line import PROGRAM, run
from killed_runs import digests

from latentloop import Sampler
from latentloop.bulk import sample_run
from latentloop.cli.interrupt import StopRequest
from latentloop.sampling.rejection import best_of_candidates
from latentloop.sampling.results import Progress
from latentloop.sampling.sample_request import SampleRequest

__all__ = ["sample"]  # a fixture


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
    assert capsys.readouterr() == (f"{folder}/: all 7 images are there already; --force makes them anew\n", "")
    sample("--json")
    summary = json.loads(capsys.readouterr().out)
    monkeypatch.undo()
    sample("--json", "--force")
    drawn = json.loads(capsys.readouterr().out)
    assert summary.keys() == drawn.keys()
    for name in ("device", "threads", "precision", "batch_size", "seed", "bundle", "shards", "format", "file", "part"):
        assert summary[name] == drawn[name], name
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
    assert sorted(digests(folder)) == ["00000.png", "00001.png", "journal.jsonl"]
    sample("--force")
    assert len(digests(folder)) == N + 1


def test_an_empty_folder_is_as_good_as_none(
    small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    assert run(*command(small_bundle, tmp_path / "a")) == 0
    assert len(digests(tmp_path / "a")) == N + 1
    assert run(*command(small_bundle, tmp_path / "missing" / ".." / "b")) == 0
    assert len(digests(tmp_path / "b")) == N + 1
    assert not (tmp_path / "missing").exists()
    (tmp_path / "c").mkdir()
    monkeypatch.setattr(StopRequest, "is_set", lambda self: True)
    assert run(*command(small_bundle, tmp_path / "c")) in (0, 130)
    assert not list((tmp_path / "c").iterdir())


def test_a_selection_that_is_stopped_is_not_finished(sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    """The candidates so far may be enough for a shard: an unbroken run may still choose others."""
    options = ("--format", "npz", "--best", 0.5)
    whole = digests(sample(*options, name="whole"))
    original, calls = best_of_candidates, 0

    def stopped(sampler: Sampler, request: SampleRequest, best: float, batch: int, report: Any) -> Any:
        nonlocal calls
        calls += 1
        call = calls

        def until(progress: Progress) -> bool:
            return progress.images_done < 4 or call < 2

        return original(sampler, request, best, batch, until)

    with monkeypatch.context() as patch:
        patch.setattr(sample_run, "best_of_candidates", stopped)
        folder = sample(*options)
    assert [record["partial"] for record in journal(folder)[1:]][:1] == [False]
    assert [record["partial"] for record in journal(folder)[2:]] in ([], [True])
    sample(*options)
    assert {**digests(folder), "journal.jsonl": ""} == {**whole, "journal.jsonl": ""}


def test_the_folder_may_be_a_link(small_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "a").symlink_to("real")
    assert run(*command(small_bundle, tmp_path / "a")) == 0
    before = digests(tmp_path / "real")
    assert len(before) == N + 1
    assert run(*command(small_bundle, tmp_path / "a")) == 0
    captured = capsys.readouterr()
    assert (captured.err, "are there already" in captured.out) == ("", True)
    next((tmp_path / "real").glob("00000*.png")).unlink()
    assert run(*command(small_bundle, tmp_path / "a")) == 0
    assert {**digests(tmp_path / "real"), "journal.jsonl": ""} == {**before, "journal.jsonl": ""}


def test_an_unknown_instruction_set_is_refused(
    small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: Callable[..., str]
) -> None:
    monkeypatch.setenv("LATENTLOOP_INSTRUCTION_SET", "avx51")
    message = fails(2, *command(small_bundle, tmp_path / "a"))
    assert "LATENTLOOP_INSTRUCTION_SET is 'avx51', expected one of portable, avx2, avx512" in message


def test_sizes_that_cannot_be_are_refused_before_any_work(
    small_bundle: Path, tmp_path: Path, fails: Callable[..., str]
) -> None:
    common = ("sample", small_bundle, "-n", 3, "--out", f"{tmp_path}/a/")
    assert "'99999999999999999999' is not an integer from 1" in fails(2, *common, "--shard-size", 99999999999999999999)
    assert "too many: ask for fewer or smaller images" in fails(2, *common, "--scale", 100000, "--format", "npz")
    assert not list(tmp_path.iterdir())


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
