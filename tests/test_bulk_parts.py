"""A run in parts that several processes write, `--shard i/n`, and `latentloop merge` that joins them."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bulk_folders import journal
from command_line import codes, run
from killed_runs import digests

from latentloop.bulk.shards import RunPart, Shards
from latentloop.errors import InputError

N, PARTS = 9, 3  # images in shards of 2, so 5 shards


def command(bundle: Path, folder: Path, *options: object) -> tuple[object, ...]:
    sizes = ("--shard-size", 2, "--batch-size", 2, "--threads", 1)
    return "sample", bundle, "-n", N, "--seed", 7, *sizes, "--out", f"{folder}/", *options


@pytest.fixture
def parts(small_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., list[Path]]:
    """Writes the parts of a run."""

    def call(*options: object, count: int = PARTS) -> list[Path]:
        folders = [tmp_path / "parts" / str(index) for index in range(count)]
        for index, folder in enumerate(folders):
            given = [folder if option == "BESIDE" else option for option in options]
            assert run(*command(small_bundle, folder, *given, "--shard", f"{index}/{count}")) == 0
        capsys.readouterr()
        return folders

    return call


def test_parts_are_disjoint_and_complete() -> None:
    for n in range(1, 30):
        for count in range(1, 12):
            shards = Shards(n, 3)
            parts = [RunPart(index, count) for index in range(count)]
            assert [number for part in parts for number in part.numbers(shards)] == list(range(shards.count))
            assert sum(part.images(shards) for part in parts) == n
            sizes = {len(part.numbers(shards)) for part in parts}
            assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(
    "text", ["3/3", "0/0", "-1/3", "1", "1/3/5", "", "a/b", "1.0/3", "64/64", "٣/٤", "1/9999999999"]
)
def test_texts_that_name_no_part(text: str) -> None:
    assert str(RunPart.parse("2/3")) == "2/3"
    message = "i counts from 0, so the" if text in ("3/3", "64/64") else "expected i/n"
    with pytest.raises(InputError, match=message):
        RunPart.parse(text)


@pytest.mark.parametrize(
    "options",
    [
        ("--format", "png"),
        ("--format", "npz", "--codes", "BESIDE"),
        ("--format", "tar", "--best", 0.5),
    ],
)
def test_merged_parts_are_the_folder_of_one_process(
    parts: Callable[..., list[Path]],
    small_bundle: Path,
    tmp_path: Path,
    options: tuple[object, ...],
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert run(*command(small_bundle, whole, *(whole if each == "BESIDE" else each for each in options))) == 0
    expected = digests(whole)
    folders = parts(*options)
    before = [digests(folder) for folder in folders]
    names = [set(each) - {"journal.jsonl"} for each in before]
    assert len(set.union(*names)) == sum(map(len, names)) == len(expected) - 1
    assert run("merge", folders[2], folders[0], folders[1], "--out", f"{out}/") == 0
    count = len(expected) - 1
    assert capsys.readouterr().out.endswith(f"{out}/: 9 images of 3 parts, {count} files as hard links\n")
    assert digests(out) == expected
    assert [digests(folder) for folder in folders] == before
    assert {path.stat().st_nlink for path in out.rglob("*.*") if path.name != "journal.jsonl"} == {2}
    # The same command on what was merged.
    options = tuple(out if each == "BESIDE" else each for each in options)
    assert run(*command(small_bundle, out, *options)) == 0
    assert capsys.readouterr().out == f"{out}/: all 9 images are there already; --force makes them anew\n"
    # To draw anew in the merged folder leaves the parts as they are.
    assert run(*command(small_bundle, out, *options, "--force")) == 0
    assert digests(out) == expected
    assert [digests(folder) for folder in folders] == before


def test_parts_go_on_and_stay_parts(
    parts: Callable[..., list[Path]],
    small_bundle: Path,
    fails: Callable[..., str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = parts()[1]
    before = digests(folder)
    part = command(small_bundle, folder, "--shard", "1/3")
    header, *records = journal(folder)
    assert (header["part"], [record["shard"] for record in records]) == ("1/3", [1, 2])
    assert run(*part) == 0
    assert capsys.readouterr().out == f"{folder}/: all 4 images are there already; --force makes them anew\n"
    path = folder / "journal.jsonl"
    path.write_bytes(path.read_bytes()[:-5])
    assert run(*part) == 0
    captured = capsys.readouterr()
    assert f"{folder}/: goes on after 2 of 4 images" in captured.err
    assert f"{folder}/: 4 images, 2 of them now, in " in captured.out
    assert captured.out.endswith("on cpu, seeds 9 to 12\n")
    assert digests(folder) == before
    message = fails(2, *command(small_bundle, folder, "--shard", "2/3"))
    assert "part was '1/3', this command has '2/3'" in message
    assert "part was '1/3', this command has none" in fails(2, *command(small_bundle, folder))
    assert run(*part, "--force", "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["part"], summary["images"], summary["shards"], summary["seeds"]) == ("1/3", 4, 2, [9, 10, 11, 12])
    assert digests(folder) == before


def test_parts_without_shards(
    parts: Callable[..., list[Path]], small_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = parts("--format", "npz", count=8)
    empty = [folder for folder in folders if not list(folder.glob("shard-*"))]
    assert [folder.name for folder in empty] == ["0", "2", "5"]
    assert all(len(journal(folder)) == 1 for folder in empty)
    again = command(small_bundle, empty[1], "--format", "npz", "--shard", "2/8")
    for _ in range(2):
        assert run(*again, "--force") == 0
        expected = f"{empty[1]}/: part 2/8 has none of the run's 5 shards: nothing to draw\n"
        assert capsys.readouterr().out == expected
    assert run(*again) == 0
    assert run("merge", *folders, "--out", f"{tmp_path / 'all'}/") == 0
    assert run("merge", *(folder for folder in folders if folder not in empty), "--out", f"{tmp_path / 'others'}/") == 0
    assert digests(tmp_path / "all") == digests(tmp_path / "others")


def test_parts_into_one_file(
    parts: Callable[..., list[Path]], small_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders, whole = parts("--format", "npz"), tmp_path / "whole"
    assert run(*command(small_bundle, whole, "--format", "npz")) == 0
    assert run("merge", whole, "--out", tmp_path / "a.npz") == 0
    assert run("merge", *reversed(folders), "--out", tmp_path / "b.npz") == 0
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert codes(tmp_path / "b.npz")["seeds"].tolist() == list(range(7, 7 + N))


def test_parts_on_another_file_system_are_copied(
    parts: Callable[..., list[Path]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    fails: Callable[..., str],
) -> None:
    folders = parts("--format", "npz")

    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    assert run("merge", *folders, "--out", f"{tmp_path / 'links'}/") == 0
    monkeypatch.setattr("latentloop.bulk.merging.run_folder.os.link", refuse)
    capsys.readouterr()
    assert run("merge", *folders, "--out", f"{tmp_path / 'copies'}/", "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["images"], summary["parts"], summary["linked"], summary["copied"]) == (N, 3, 0, 5)
    assert digests(tmp_path / "copies") == digests(tmp_path / "links")
    assert {path.stat().st_nlink for path in (tmp_path / "copies").iterdir()} == {1}
    path = next(folders[1].glob("shard-*"))
    path.write_bytes(bytes(path.stat().st_size))
    assert "was changed: its SHA-256" in fails(2, "merge", *folders, "--out", f"{tmp_path / 'no'}/")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["copies", "links", "parts"]


def test_what_is_not_one_run_is_refused(
    parts: Callable[..., list[Path]],
    small_bundle: Path,
    tmp_path: Path,
    fails: Callable[..., str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    folders = parts()
    one, two, three = folders
    out = ("--out", f"{tmp_path / 'out'}/")
    other, whole = tmp_path / "other", tmp_path / "whole"
    assert "1 of 3 parts is missing (1/3), with 2 of 5 shards" in fails(2, "merge", one, three, *out)
    assert "2 of 3 parts are missing (0/3, 2/3), with 3 of 5 shards" in fails(2, "merge", two, *out)
    assert f"{one} and {one} are both part 0/3" in fails(2, "merge", one, one, two, *out)
    assert run(*command(small_bundle, whole)) == 0
    capsys.readouterr()
    assert f"{whole} holds a whole run, expected a part" in fails(2, "merge", one, whole, *out)
    for options, message in (
        (("--temperature", 0.5), "are parts of different runs: settings.top.temperature is 1.0 and 0.5"),
        (("--threads", 2), "are parts of different runs: threads is 1 and 2"),
        (("--shard", "1/4"), f"{one} is part 0/3 of its run, and {other} part 1/4"),
    ):
        assert run(*command(small_bundle, other, "--shard", "1/3", *options, "--force")) == 0
        capsys.readouterr()
        assert message in fails(2, "merge", one, other, three, *out)
        shutil.rmtree(other)
    # A part that is not finished, and files that are missing or were changed.
    lines = (two / "journal.jsonl").read_bytes().splitlines(keepends=True)
    (two / "journal.jsonl").write_bytes(b"".join(lines[:2]))
    message = fails(2, "merge", *folders, *out)
    assert f"{two} is not finished, 1 of 2 shards is missing, the first is number 2: go on with" in message
    (two / "journal.jsonl").write_bytes(b"".join([lines[0].replace(b'"1/3"', b'"3/3"'), *lines[1:]]))
    assert "line 1 has part '3/3' is no part of a run" in fails(2, "merge", *folders, *out)
    (two / "journal.jsonl").write_bytes(b"".join(lines))
    path = sorted(two.glob("*.png"))[1]
    content = path.read_bytes()
    path.write_bytes(bytes(len(content)))
    assert f"{path} was changed: its SHA-256 is" in fails(2, "merge", *folders, *out)
    path.write_bytes(content + b"1")
    assert f"{path.name} has {len(content) + 1} bytes instead of" in fails(2, "merge", *folders, *out)
    path.unlink()
    assert f"{path.name} is missing" in fails(2, "merge", *folders, *out)
    path.write_bytes(content)
    # Outputs.
    for target in (two, two / "x", tmp_path / "parts"):
        assert "which is to be read" in fails(2, "merge", *folders, "--out", f"{target}/", "--force")
    assert "expected .npz for a file, or / for a folder" in fails(2, "merge", *folders, "--out", tmp_path / "out")
    assert f"{one} holds png files" in fails(2, "merge", *folders, "--out", tmp_path / "out.npz")
    assert "exists; pass --force" in fails(1, "merge", *folders, "--out", f"{whole}/")
    (whole / "notes.txt").write_text("mine")
    assert "also holds notes.txt" in fails(1, "merge", *folders, "--out", f"{whole}/", "--force")
    assert not (tmp_path / "out").exists()
    (whole / "notes.txt").unlink()
    before = digests(whole)
    (whole / path.name).unlink()
    assert run("merge", *folders, "--out", f"{whole}/", "--force") == 0
    assert digests(whole) == before


def test_codes_of_a_part_are_an_input(
    parts: Callable[..., list[Path]], small_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = parts("--format", "npz", "--codes", "BESIDE")[1]
    decode = ("decode", folder, "--bundle", small_bundle, "--threads", 1, "--force", "--out", f"{tmp_path / 'a'}/")
    assert run(*decode) == 0
    assert "not finished" not in capsys.readouterr().err
    path = folder / "journal.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    assert run(*decode) == 0
    assert f"{folder} is not finished: 1 of its shards are missing" in capsys.readouterr().err


def test_what_a_part_needs(small_bundle: Path, tmp_path: Path, fails: Callable[..., str]) -> None:
    folder = tmp_path / "a"
    shard = ("--shard", "0/2")
    message = fails(2, "sample", small_bundle, "--out", f"{folder}/", *shard)
    assert "--shard 0/2 needs --seed, the same for every part" in message
    message = fails(2, *command(small_bundle, folder, *shard, "--codes", tmp_path / "a.npz"))
    assert f"--shard divides the run: --codes {folder}/ writes a file of each shard" in message
    assert "i counts from 0, so the 2 parts are 0/2 to 1/2" in fails(
        2, *command(small_bundle, folder, "--shard", "2/2")
    )
    message = fails(2, "sample", small_bundle, "--seed", 1, "--out", tmp_path / "a.png", *shard)
    assert "--shard applies to a folder of images" in message
    assert not list(tmp_path.iterdir())


def test_a_killed_merge_leaves_nothing_that_looks_finished(parts: Callable[..., list[Path]], tmp_path: Path) -> None:
    """A merge is killed before each of its changes to files."""
    folders, out = parts("--format", "npz"), tmp_path / "place" / "out"
    child = Path(__file__).with_name("killed_runs.py")
    arguments: list[Any] = [1000, 1, out, "merge", *folders, "--out", f"{out}/", "--force"]
    done = subprocess.run(
        [sys.executable, str(child), *map(str, arguments)], capture_output=True, text=True, timeout=600, check=True
    )
    unbroken, *runs = map(json.loads, done.stdout.splitlines())
    assert not done.stderr
    assert unbroken["status"] == 0
    assert len(unbroken["files"]) == 6
    assert len(runs) == unbroken["changes"] > 10
    for each in runs:
        assert (each["status"], each["again"]) == (-signal.SIGKILL, 0), each
        assert each["files"] == unbroken["files"], each["point"]


def test_a_killed_part_goes_on(small_bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "place" / "a"
    child = Path(__file__).with_name("killed_runs.py")
    part = command(small_bundle, folder, "--format", "npz", "--codes", folder, "--shard", "1/3")
    arguments = [sys.executable, str(child), *map(str, (4, 1, folder, *part))]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=600, check=True)
    unbroken, *runs = map(json.loads, done.stdout.splitlines())
    assert len(unbroken["files"]) == 5
    assert len(runs) == 4
    for each in runs:
        assert (each["status"], each["again"]) == (-signal.SIGKILL, 0), each
        assert each["files"] == unbroken["files"], each["point"]


def test_a_merge_holds_the_records_of_one_part(
    parts: Callable[..., list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order of the lines in the parts' journals does not matter."""
    folders = parts("--format", "npz")
    path = folders[1] / "journal.jsonl"
    header, *records = path.read_bytes().splitlines(keepends=True)
    assert run("merge", *folders, "--out", f"{tmp_path / 'a'}/") == 0
    path.write_bytes(b"".join([header, *reversed(records)]))
    assert run("merge", *folders, "--out", f"{tmp_path / 'b'}/") == 0
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    assert [record["shard"] for record in journal(tmp_path / "b")[1:]] == list(range(5))
    assert re.fullmatch(r"shard-00004\.npz", sorted(os.listdir(tmp_path / "b"))[-1])
    np.testing.assert_array_equal(codes(tmp_path / "b" / "shard-00004.npz")["seeds"], [15])
