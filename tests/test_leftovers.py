"""Temporaries of killed processes: later processes remove them, unless a process may still be writing."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from latentloop.errors import OutputError
from latentloop.io.files import check_free, new_directory, write_file
from latentloop.io.temporaries import MARKER, Temporary, boot_id

WRITERS = {
    "file": "write_file(path, pause, force=True)",
    "directory": "write_block()",
    "rename": "rename_old()",
}
PROGRAM = """
import sys, time
from pathlib import Path
from latentloop.io.files import new_directory, write_file
from latentloop.io.temporaries import temporary as claim_temporary
path = Path(sys.argv[1])
def pause(temporary):
    if temporary.is_dir():
        (temporary / "inner").mkdir()
        (temporary / "inner" / "file").write_text("half")
    else:
        temporary.write_text("half")
    print("ready", flush=True)
    time.sleep(60)
def write_block():
    with new_directory(path, force=True) as folder:
        pause(folder)
def rename_old():
    with claim_temporary(path) as temporary:
        temporary.new.mkdir()
        path.rename(temporary.old)
        pause(temporary.new)
"""


@contextmanager
def writing(target: Path, kind: str) -> Iterator[subprocess.Popen[str]]:
    """Starts a process and waits until it has written half of its output; kills it at the end of the block."""
    command = [sys.executable, "-c", PROGRAM + WRITERS[kind], str(target)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.kill()


def write_new(path: Path) -> None:
    write_file(path, lambda temporary: temporary.write_text("new"), force=True)


def temporaries(folder: Path) -> list[str]:
    return sorted(name for name in os.listdir(folder) if MARKER in name)


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_temporaries_of_killed_but_not_of_live_writers_are_removed(tmp_path: Path, kind: str) -> None:
    with writing(tmp_path / "result.png", kind):
        before = temporaries(tmp_path)
        assert len(before) == 2
        write_new(tmp_path / "other")
        check_free(tmp_path / "result.png", force=False)
        assert temporaries(tmp_path) == before
    assert temporaries(tmp_path) == before  # killed
    write_new(tmp_path / "other")
    assert os.listdir(tmp_path) == ["other"]


def test_check_free_removes_leftovers(tmp_path: Path) -> None:
    with writing(tmp_path / "result", "directory"):
        pass
    check_free(tmp_path / "result", force=False, directory=True)
    assert not os.listdir(tmp_path)


def test_two_writers_of_one_target_do_not_disturb_each_other(tmp_path: Path) -> None:
    with new_directory(tmp_path / "result", force=True) as outer:
        (outer / "outer").touch()
        with new_directory(tmp_path / "result", force=True) as inner:
            (inner / "inner").touch()
        assert os.listdir(tmp_path / "result") == ["inner"]
    assert os.listdir(tmp_path / "result") == ["outer"]
    assert os.listdir(tmp_path) == ["result"]


def test_the_old_result_is_restored_if_the_writer_was_killed_between_two_renames(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "precious").touch()
    with writing(tmp_path / "bundle", "rename"):
        assert not (tmp_path / "bundle").exists()
    write_new(tmp_path / "other")
    assert sorted(os.listdir(tmp_path)) == ["bundle", "other"]
    assert os.listdir(tmp_path / "bundle") == ["precious"]


def test_check_free_reports_a_restored_result(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "precious").touch()
    with writing(tmp_path / "bundle", "rename"):
        pass
    with pytest.raises(OutputError, match="bundle exists"):
        check_free(tmp_path / "bundle", force=False, directory=True)
    assert os.listdir(tmp_path / "bundle") == ["precious"]
    assert os.listdir(tmp_path) == ["bundle"]


def leftover(target: Path, content: bytes, age: float = 0.0) -> Temporary:
    """Creates a temporary file and its lock file, which no process holds."""
    temporary = Temporary(target, "0123abcd")
    temporary.new.write_text("half")
    temporary.lock.write_bytes(content)
    os.utime(temporary.lock, times=(time.time() - age, time.time() - age))
    return temporary


@pytest.mark.parametrize(("days", "stays"), [(1, True), (6.9, True), (7.1, False)])
def test_temporaries_of_another_machine_are_removed_by_age(tmp_path: Path, days: float, stays: bool) -> None:
    temporary = leftover(tmp_path / "a.png", b"another\na.png", days * 24 * 3600)
    write_new(tmp_path / "other")
    assert temporary.new.exists() == temporary.lock.exists() == stays


def test_files_of_other_programs_stay(tmp_path: Path) -> None:
    names = [
        ".a-12345678.png",
        ".a.latentloop-backup.png",
        ".a.latentloop-0123abcd-new.png",  # without a lock
        ".b.latentloop-zzzzzzzz-lock",
        "c.latentloop-0123abcd-lock",
    ]
    for name in names:
        (tmp_path / name).write_text("mine")
    (tmp_path / ".link.latentloop-0123abcd-lock").symlink_to(tmp_path / names[0])
    os.mkfifo(tmp_path / ".pipe.latentloop-0123abcd-lock")
    for content in (b"\x00", b"\n", b"\n../../elsewhere", b"\nb.png", b"\n.", b"\na\x00b", b"\xff\n\xff"):
        temporary = leftover(tmp_path / "d", boot_id() + content)
        write_new(tmp_path / "other")
        assert temporary.new.exists(), content
    assert set(names) <= set(os.listdir(tmp_path))


def test_without_locks_leftovers_stay_and_writing_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    temporary = leftover(tmp_path / "a.png", boot_id() + b"\na.png")
    monkeypatch.setattr(fcntl, "flock", unsupported)
    write_new(tmp_path / "other")
    assert temporary.new.exists()
    monkeypatch.undo()
    write_new(tmp_path / "other")
    assert os.listdir(tmp_path) == ["other"]


@pytest.mark.parametrize(
    "name",
    [
        "é" * 127,
        "星" * 83 + ".png",
        "x" * 255,
        "a." + "b" * 250,
        "line\nbreak",
        ".temporaries",
        os.fsdecode(b"\xff\xfe"),
    ],
)
def test_every_valid_file_name_can_be_written_and_its_leftovers_removed(tmp_path: Path, name: str) -> None:
    write_new(tmp_path / name)
    assert os.listdir(tmp_path) == [name]
    with writing(tmp_path / name, "file"):
        pass
    assert len(os.listdir(tmp_path)) == 3
    write_new(tmp_path / name)
    assert os.listdir(tmp_path) == [name]
