"""What killed processes leave under temporary names: the next one removes it, unless somebody may still be writing."""

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
from latentloop.io.temporaries import MARK, Temporary, machine

WRITERS = {
    "file": "write_file(path, pause, force=True)",
    "directory": "block()",
    "exchange": "exchange()",
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
def block():
    with new_directory(path, force=True) as folder:
        pause(folder)
def exchange():
    with claim_temporary(path) as temporary:
        temporary.new.mkdir()
        path.rename(temporary.old)
        pause(temporary.new)
"""


@contextmanager
def writing(target: Path, kind: str) -> Iterator[subprocess.Popen[str]]:
    """A process in the middle of writing; it is killed at the end of the block."""
    command = [sys.executable, "-c", PROGRAM + WRITERS[kind], str(target)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.kill()


def put(path: Path) -> None:
    write_file(path, lambda temporary: temporary.write_text("new"), force=True)


def hidden(folder: Path) -> list[str]:
    return sorted(name for name in os.listdir(folder) if MARK in name)


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_a_killed_writers_are_removed_and_a_live_ones_are_not(tmp_path: Path, kind: str) -> None:
    with writing(tmp_path / "result.png", kind):
        before = hidden(tmp_path)
        assert len(before) == 2
        put(tmp_path / "other")
        check_free(tmp_path / "result.png", force=False)
        assert hidden(tmp_path) == before
    assert hidden(tmp_path) == before  # killed
    put(tmp_path / "other")
    assert os.listdir(tmp_path) == ["other"]


def test_asking_whether_a_path_is_free_removes_them_too(tmp_path: Path) -> None:
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


def test_killed_between_two_renames_the_old_result_gets_its_name_back(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "precious").touch()
    with writing(tmp_path / "bundle", "exchange"):
        assert not (tmp_path / "bundle").exists()
    put(tmp_path / "other")
    assert sorted(os.listdir(tmp_path)) == ["bundle", "other"]
    assert os.listdir(tmp_path / "bundle") == ["precious"]


def test_what_gets_its_name_back_is_found_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "precious").touch()
    with writing(tmp_path / "bundle", "exchange"):
        pass
    with pytest.raises(OutputError, match="bundle exists"):
        check_free(tmp_path / "bundle", force=False, directory=True)
    assert os.listdir(tmp_path / "bundle") == ["precious"]
    assert os.listdir(tmp_path) == ["bundle"]


def left(target: Path, content: bytes, age: float = 0.0) -> Temporary:
    """A temporary file and its lock, which nobody holds."""
    temporary = Temporary(target, "0123abcd")
    temporary.new.write_text("half")
    temporary.lock.write_bytes(content)
    os.utime(temporary.lock, times=(time.time() - age, time.time() - age))
    return temporary


@pytest.mark.parametrize(("days", "kept"), [(1, True), (6.9, True), (7.1, False)])
def test_another_machines_locks_may_not_be_seen_here_so_age_tells(tmp_path: Path, days: float, kept: bool) -> None:
    temporary = left(tmp_path / "a.png", b"another\na.png", days * 24 * 3600)
    put(tmp_path / "other")
    assert temporary.new.exists() == temporary.lock.exists() == kept


def test_what_is_not_ours_stays(tmp_path: Path) -> None:
    own = [
        ".a-12345678.png",
        ".a.latentloop-backup.png",
        ".a.latentloop-0123abcd-new.png",  # without a lock
        ".b.latentloop-zzzzzzzz-lock",
        "c.latentloop-0123abcd-lock",
    ]
    for name in own:
        (tmp_path / name).write_text("mine")
    (tmp_path / ".link.latentloop-0123abcd-lock").symlink_to(tmp_path / own[0])
    os.mkfifo(tmp_path / ".pipe.latentloop-0123abcd-lock")
    for content in (b"\x00", b"\n", b"\n../../elsewhere", b"\nb.png", b"\n.", b"\na\x00b", b"\xff\n\xff"):
        temporary = left(tmp_path / "d", machine() + content)
        put(tmp_path / "other")
        assert temporary.new.exists(), content
    assert set(own) <= set(os.listdir(tmp_path))


def test_without_locks_nothing_is_removed_and_all_else_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    temporary = left(tmp_path / "a.png", machine() + b"\na.png")
    monkeypatch.setattr(fcntl, "flock", unsupported)
    put(tmp_path / "other")
    assert temporary.new.exists()
    monkeypatch.undo()
    put(tmp_path / "other")
    assert os.listdir(tmp_path) == ["other"]


@pytest.mark.parametrize(
    "name",
    ["é" * 127, "星" * 83 + ".png", "x" * 255, "a." + "b" * 250, "line\nbreak", ".hidden", os.fsdecode(b"\xff\xfe")],
)
def test_every_name_that_a_file_system_takes_can_be_written_and_swept(tmp_path: Path, name: str) -> None:
    put(tmp_path / name)
    assert os.listdir(tmp_path) == [name]
    with writing(tmp_path / name, "file"):
        pass
    assert len(os.listdir(tmp_path)) == 3
    put(tmp_path / name)
    assert os.listdir(tmp_path) == [name]
