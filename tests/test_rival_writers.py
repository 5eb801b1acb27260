"""Processes that write the same results at once: without force the first succeeds, with force the last one stays."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from latentloop.errors import OutputError
from latentloop.io.files import check_free, new_directory, write_file

# Starts when its standard input is closed, so that several start at once; prints the outcome of each round.
PROGRAM = """
import sys
from pathlib import Path
from latentloop.errors import OutputError
from latentloop.io.files import check_free, new_directory, write_file
folder, kind, process = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
sys.stdin.read()
for number in range(40):
    try:
        if kind == "file":
            write_file(folder / str(number), lambda new: new.write_text(process))
        elif kind == "directory":
            with new_directory(folder / str(number)) as new:
                (new / "by").write_text(process)
        elif kind == "replace":
            with new_directory(folder, force=True) as new:
                (new / "by").write_text(process)
        else:
            check_free(folder / "a" / "b" / f"{process}.png", force=False)
        print("written")
    except OutputError as error:
        print(error)
"""

REMEDY = "pass --force (in Python force=True) to replace it"


def run_writers(folder: Path, kind: str) -> list[list[str]]:
    """Returns the outcomes of each of four processes that run at once."""
    command = [sys.executable, "-c", PROGRAM, str(folder), kind]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen([*command, str(number)], **pipes) for number in range(4)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None
    return [process.communicate(timeout=60)[0].splitlines() for process in processes]


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_one_succeeds_and_the_others_get_an_error(tmp_path: Path, kind: str) -> None:
    outcomes = run_writers(tmp_path, kind)
    assert len(os.listdir(tmp_path)) == 40
    for number in range(40):
        result = tmp_path / str(number)
        winner = int((result if kind == "file" else result / "by").read_text())
        for process, rounds in enumerate(outcomes):
            assert rounds[number] == (
                "written"
                if process == winner
                else f"{result} exists; pass --force (in Python force=True) to replace it"
            )


@pytest.mark.parametrize("kind", ["replace", "parents"])
def test_replacing_and_checking_never_fail(tmp_path: Path, kind: str) -> None:
    assert run_writers(tmp_path / "result", kind) == [["written"] * 40] * 4
    files = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert files == (["by"] if kind == "replace" else [])


def test_a_file_that_appears_at_the_last_moment_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = os.link

    def late(source: Path, target: Path) -> None:
        target.write_text("theirs")
        link(source, target)

    monkeypatch.setattr(os, "link", late)
    with pytest.raises(OutputError, match="a exists; pass --force"):
        write_file(tmp_path / "a", lambda new: new.write_text("mine"))
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a", "theirs")]


def test_a_directory_that_appears_at_the_last_moment_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = Path.rename

    def late(source: Path, target: Path) -> Path:
        target.mkdir()
        (target / "theirs").touch()
        return rename(source, target)

    monkeypatch.setattr(Path, "rename", late)
    with pytest.raises(OutputError, match="a exists; pass --force"), new_directory(tmp_path / "a") as new:
        (new / "mine").touch()
    assert os.listdir(tmp_path) == ["a"]
    assert os.listdir(tmp_path / "a") == ["theirs"]


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP])
def test_file_systems_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", unsupported)
    write_file(tmp_path / "a", lambda new: new.write_text("mine"))
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a", "mine")]


def test_a_broken_link_counts_as_an_existing_file(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("nothing")
    with pytest.raises(OutputError, match="a exists"):
        check_free(tmp_path / "a", force=False)
    write_file(tmp_path / "a", lambda new: new.write_text("mine"), force=True)
    assert os.listdir(tmp_path) == ["a"]
    assert not (tmp_path / "a").is_symlink()
