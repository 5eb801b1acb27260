"""A run into a folder whose journal or disk has failed, or that is stopped: told, and mended where that is possible."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import PROGRAM, run
from killed_runs import digests
from toy_backend import ToyBackend

from latentloop import Bundle
from latentloop.bulk.journal import create_journal, open_journal
from latentloop.bulk.pipeline import Pipeline
from latentloop.bulk.sample_run import SampleRun
from latentloop.bulk.shards import MAX_BYTES, Shards, default_size
from latentloop.bulk.writing import write_run
from latentloop.cli.interrupt import StopRequest
from latentloop.errors import OutputError
from latentloop.sampling.runs import Runs
from latentloop.sampling.sample_request import SampleRequest
from latentloop.sampling.sampler import sampler_on

N = 7


def command(bundle: Path, folder: Path, n: int = N) -> tuple[object, ...]:
    sizes = ("--shard-size", 2, "--batch-size", 2, "--threads", 1, "--format", "npz")
    return "sample", bundle, "-n", n, "--seed", 7, *sizes, "--out", f"{folder}/"


@pytest.fixture
def folder(small_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A finished run of four shards."""
    assert run(*command(small_bundle, tmp_path / "a")) == 0
    capsys.readouterr()
    return tmp_path / "a"


@pytest.mark.parametrize("torn", [1, 30, 100])
def test_a_torn_last_line_is_dropped(folder: Path, small_bundle: Path, torn: int) -> None:
    before = digests(folder)
    journal = folder / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-torn])
    assert run(*command(small_bundle, folder)) == 0
    assert digests(folder) == before


@pytest.mark.parametrize(
    "line", [b"\xff\xfe", b"{}", b"[1]", b'{"shard": -1, "images": 2, "partial": false, "files": []}']
)
def test_a_damaged_line_is_told_and_its_shard_drawn_again(
    folder: Path, small_bundle: Path, line: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    before = digests(folder)
    journal = folder / "journal.jsonl"
    lines = journal.read_bytes().splitlines()
    journal.write_bytes(b"\n".join([lines[0], line, *lines[2:], b""]))
    assert run(*command(small_bundle, folder)) == 0
    err = capsys.readouterr().err
    assert err == (
        f"latentloop: {journal}: line 2 is damaged: a shard that no other line lists is drawn again\n"
        f"latentloop: {folder}/: goes on after 5 of 7 images\n"
    )
    after = digests(folder)
    assert sorted(journal.read_bytes().splitlines()) == sorted(lines)
    assert {**after, "journal.jsonl": ""} == {**before, "journal.jsonl": ""}
    assert run(*command(small_bundle, folder)) == 0
    assert capsys.readouterr().err == ""


def test_files_outside_the_folder_are_never_touched(
    folder: Path, small_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.npz"
    other.write_text("mine")
    journal = folder / "journal.jsonl"
    (folder / "notes.txt").write_text("mine")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "00001.png").write_text("mine")
    (folder / "000").symlink_to(outside)
    for name in ("../other.npz", "a/../../other.npz", str(other), "..", ".unfinished/x", "notes.txt", "journal.jsonl"):
        lines = journal.read_text().splitlines()
        record = {"shard": 0, "images": 2, "partial": True, "files": [{"name": name, "size": 4, "sha256": "0"}]}
        journal.write_text("\n".join([lines[0], json.dumps(record), *lines[2:], ""]))
        assert run(*command(small_bundle, folder)) == 0
        assert "line 2 is damaged" in capsys.readouterr().err
        assert other.read_text() == (folder / "notes.txt").read_text() == "mine"
    lines = journal.read_text().splitlines()
    through_link = {
        "shard": 0,
        "images": 2,
        "partial": True,
        "files": [{"name": "000/00001.png", "size": 4, "sha256": ""}],
    }
    journal.write_text("\n".join([lines[0], json.dumps(through_link), *lines[2:], ""]))
    assert run(*command(small_bundle, folder)) == 0
    assert (outside / "00001.png").read_text() == "mine"


@pytest.mark.parametrize(
    ("changes", "lost"),
    [
        ({"shard": 77}, 1),  # no shard of the run
        ({"shard": 3}, 1),  # the file of another shard
        ({"images": 999}, 1),
        ({"images": 0}, 1),
        ({"files": []}, 1),
    ],
)
def test_a_record_that_cannot_be_true_is_not_believed(
    folder: Path, small_bundle: Path, changes: dict[str, object], lost: int, capsys: pytest.CaptureFixture[str]
) -> None:
    before = digests(folder)
    journal = folder / "journal.jsonl"
    lines = journal.read_text().splitlines()
    changed = {**json.loads(lines[3]), **changes}
    journal.write_text("\n".join([*lines[:3], *lines[4:], json.dumps(changed), ""]))
    assert run(*command(small_bundle, folder)) == 0
    assert f"goes on after {N - 2 * lost}" in capsys.readouterr().err or changes == {"shard": 3}
    assert {**digests(folder), "journal.jsonl": ""} == {**before, "journal.jsonl": ""}
    assert sorted(journal.read_text().splitlines()) == sorted(lines)


def test_a_folder_that_is_no_folder_of_a_run_is_told(
    small_bundle: Path, tmp_path: Path, fails: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "a"
    (folder / "journal.jsonl").mkdir(parents=True)
    assert "journal.jsonl is not a file: remove it" in fails(1, *command(small_bundle, folder))
    (folder / "journal.jsonl").rmdir()
    (folder / "journal.jsonl").symlink_to(tmp_path / "missing")
    assert "journal.jsonl is not a file: remove it" in fails(1, *command(small_bundle, folder))
    (folder / "journal.jsonl").unlink()
    assert run(*command(small_bundle, folder)) == 0
    before = digests(folder)
    (folder / "shard-00001.npz").unlink()
    (folder / ".unfinished").symlink_to(tmp_path)
    assert run(*command(small_bundle, folder)) == 0
    assert {**digests(folder), "journal.jsonl": ""} == {**before, "journal.jsonl": ""}
    (folder / "shard-00001.npz").unlink()
    (folder / "shard-00001.npz").mkdir()
    capsys.readouterr()
    assert run(*command(small_bundle, folder)) == 1
    err = capsys.readouterr().err
    assert "shard-00001.npz is no file in the folder: shard 1 is drawn again" in err
    assert f"cannot write {folder}/shard-00001.npz: Is a directory" in err


def test_without_its_first_line_a_run_cannot_go_on(
    folder: Path, small_bundle: Path, fails: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    journal = folder / "journal.jsonl"
    first, *others = journal.read_bytes().splitlines(keepends=True)
    for damaged in (first[:-9] + b"\n", first.replace(b'"version": 1', b'"version": 2')):
        journal.write_bytes(damaged + b"".join(others))
        message = fails(1, *command(small_bundle, folder))
        assert "journal.jsonl: line 1" in message
        assert "start anew with --force, or choose another folder" in message
    journal.write_bytes(first.replace(b'"threads": 1', b'"threads": "x"') + b"".join(others))
    assert "line 1.threads is 'x', expected" in fails(1, *command(small_bundle, folder))
    assert run(*command(small_bundle, folder), "--force") == 0
    capsys.readouterr()
    journal.write_bytes(b"")
    assert "choose another folder" in fails(1, *command(small_bundle, folder))


@pytest.mark.parametrize("format", ["png", "npz", "tar"])
def test_a_full_disk_stops_the_run_and_the_same_command_goes_on(
    small_bundle: Path, tmp_path: Path, format: str
) -> None:
    """The limit on the size of files stands for a full disk: a write fails half-way."""
    whole, folder = tmp_path / "whole", tmp_path / "a"
    options = ("--format", format, "--shard-size", 4)
    assert run(*command(small_bundle, whole), *options) == 0
    largest = max(path.stat().st_size for path in whole.iterdir() if path.name != "journal.jsonl")
    arguments = [str(PROGRAM), *map(str, (*command(small_bundle, folder), *options))]
    limit = largest - 1 if format == "png" else largest * 9 // 10

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    done = subprocess.run(arguments, capture_output=True, text=True, preexec_fn=limited, timeout=60)
    assert done.returncode == 1
    assert done.stderr == (
        f"latentloop: error: cannot write {folder}: File too large; the shards that are finished stay, and the same "
        "command goes on\n"
    )
    assert not (folder / ".unfinished").exists()
    assert run(*command(small_bundle, folder), *options) == 0
    assert digests(folder) == digests(whole)


def test_a_stop_keeps_the_finished_images_of_a_shard_and_the_run_goes_on(
    small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, folder = tmp_path / "whole", tmp_path / "a"
    options = ("--shard-size", 6, "--format", "png")
    assert run(*command(small_bundle, whole, 12), *options) == 0
    original = Runs.stream

    def stopped(self: Runs, request: SampleRequest, batch_size: int, callback: Any) -> Iterator[Any]:
        def after_row(progress: Any) -> bool:
            if request.seeds[0] == 13 and progress.images_done == 4:
                signal.raise_signal(signal.SIGTERM)
            return bool(callback(progress))

        return original(self, request, batch_size, after_row)

    with monkeypatch.context() as patch:
        patch.setattr(Runs, "stream", stopped)
        assert run(*command(small_bundle, folder, 12), *options) == 143
    assert "10 of 12 images were finished and written; the same command goes on" in capsys.readouterr().err
    assert len(list(folder.glob("*.png"))) == 10
    last = json.loads((folder / "journal.jsonl").read_text().splitlines()[-1])
    assert (last["shard"], last["images"], last["partial"]) == (1, 4, True)
    assert run(*command(small_bundle, folder, 12), *options) == 0
    assert digests(folder) == digests(whole)


def test_a_stop_before_the_first_image_leaves_no_folder(
    small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(StopRequest, "is_set", lambda self: True)
    monkeypatch.setattr(StopRequest, "exit_status", 130)
    assert run(*command(small_bundle, tmp_path / "a")) == 130
    assert capsys.readouterr() == ("", "latentloop: interrupted, no image was finished\n")
    assert not list(tmp_path.iterdir())


def test_an_error_of_the_sampler_leaves_a_run_that_goes_on(
    folder: Path, small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, other = Runs.stream, tmp_path / "b"

    def failing(self: Runs, request: SampleRequest, *arguments: Any) -> Iterator[Any]:
        if request.seeds[0] == 11:
            raise OutputError("no GPU any more")
        return original(self, request, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Runs, "stream", failing)
        assert run(*command(small_bundle, other)) == 1
    assert run(*command(small_bundle, other)) == 0
    assert digests(other) == digests(folder)


def test_a_journal_is_locked_until_it_is_closed(tmp_path: Path) -> None:
    journal = create_journal(tmp_path / "a", {"n": 1})
    with pytest.raises(OutputError, match="being written by another process"):
        open_journal(tmp_path / "a")
    journal.replace({"n": 2}, iter(()))
    with pytest.raises(OutputError, match="being written by another process"):
        open_journal(tmp_path / "a")
    journal.close()
    again = open_journal(tmp_path / "a")
    assert again.header == {"n": 2}
    again.close()


def test_a_pipeline_stops_at_the_first_error() -> None:
    done: list[int] = []

    def fail() -> None:
        raise OSError("full")

    def run_all() -> None:
        with Pipeline() as pipeline:
            for task in (lambda: done.append(1), fail, *[lambda: done.append(2)] * 9):
                pipeline.submit(task)

    with pytest.raises(OSError, match="full"):
        run_all()
    assert done == [1]


def test_shards_have_whole_batches_and_limited_bytes() -> None:
    assert default_size("png", (64, 64, 3), 16) == 256
    assert default_size("npz", (64, 64, 3), 16) == 1024
    assert default_size("tar", (64, 64, 3), 10) == 1020
    assert default_size("npz", (512, 512, 3), 16) * 512 * 512 * 3 <= MAX_BYTES
    assert default_size("npz", (4096, 4096, 3), 16) == 16
    assert [Shards(7, 3).part(k) for k in range(Shards(7, 3).count)] == [slice(0, 3), slice(3, 6), slice(6, 7)]


@pytest.mark.parametrize("format", ["png", "npz", "tar"])
def test_memory_does_not_grow_with_the_run(small_bundle: Path, tmp_path: Path, format: str) -> None:
    toy = sampler_on(bundle := Bundle.open(small_bundle), ToyBackend(bundle, "toy"))

    def peak(n: int) -> int:
        request = SampleRequest.validated(bundle.manifest, n, seeds=1, settings={})
        folder = tmp_path / str(n)
        journal = create_journal(folder, {})
        tracemalloc.start()
        write_run(SampleRun(request, 3, Shards(n, 30), format).on(toy), folder, journal, ())
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        journal.close()
        return highest

    peak(60)
    few, many = peak(120), peak(1200)
    assert many - few < 2**20 / 2, (few, many)  # all images have 5 MB
