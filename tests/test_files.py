"""Atomic writes: files and directories appear complete or not at all."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from latentloop.errors import OutputError
from latentloop.io.files import check_free, new_directory, write_file


class Failure(Exception):
    """An error inside a writer."""


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def write_text(path: Path, text: str = "new", *, force: bool = False) -> None:
    write_file(path, lambda temporary: temporary.write_text(text), force=force)


def write_directory(path: Path, text: str = "new", *, force: bool = False) -> None:
    with new_directory(path, force=force) as folder:
        (folder / "file").write_text(text)


def list_names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def full_disk(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_new_file_has_its_content_and_no_temporary_is_left(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_text() == "new"
    assert list_names(tmp_path) == ["a.txt"]


def test_the_temporary_path_has_the_suffix_and_folder_of_the_target(tmp_path: Path) -> None:
    paths: list[Path] = []
    target = tmp_path / "picture.tar.png"
    write_file(target, paths.append)
    assert (paths[0].suffix, paths[0].parent) == (".png", tmp_path)
    assert paths[0] != target


@pytest.mark.parametrize("save", [write_text, write_directory])
def test_existing_results_are_replaced_only_with_force(tmp_path: Path, save: Any) -> None:
    target = tmp_path / "result"
    save(target, "old")
    before = list_names(tmp_path)
    with pytest.raises(OutputError, match=r"result exists; pass --force"):
        save(target)
    file = target / "file" if target.is_dir() else target
    assert file.read_text() == "old"
    save(target, force=True)
    assert file.read_text() == "new"
    assert list_names(tmp_path) == before == ["result"]


def test_an_existing_target_is_an_error_before_the_writer_runs(tmp_path: Path) -> None:
    write_text(tmp_path / "a")
    calls: list[Path] = []
    with pytest.raises(OutputError, match="exists"):
        write_file(tmp_path / "a", calls.append)
    assert calls == []


def test_replacing_a_directory_leaves_none_of_its_old_files(tmp_path: Path) -> None:
    target = tmp_path / "result"
    write_directory(target)
    (target / "stale").touch()
    write_directory(target, force=True)
    assert list_names(target) == ["file"]


@pytest.mark.parametrize("force", [False, True])
def test_an_error_in_the_writer_leaves_only_the_old_result(tmp_path: Path, force: bool) -> None:
    file, folder = tmp_path / "file", tmp_path / "folder"
    if force:
        write_text(file, "old")
        write_directory(folder, "old")
    before = list_names(tmp_path)

    def half(temporary: Path) -> None:
        temporary.write_text("ha")
        raise Failure

    with pytest.raises(Failure):
        write_file(file, half, force=force)
    with pytest.raises(Failure), new_directory(folder, force=force) as temporary:
        half(temporary / "file")
    assert list_names(tmp_path) == before
    if force:
        assert file.read_text() == (folder / "file").read_text() == "old"


def test_a_full_disk_is_an_output_error_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def onto_a_full_disk(_: Path) -> None:
        with open("/dev/full", "w") as device:
            device.write("x" * 100_000)

    with pytest.raises(OutputError, match=r"cannot write .*a: No space left on device"):
        write_file(tmp_path / "a", onto_a_full_disk)
    with pytest.raises(OutputError, match="No space left"), new_directory(tmp_path / "b") as folder:
        onto_a_full_disk(folder)
    write_text(tmp_path / "c", "old")
    monkeypatch.setattr(os, "fsync", full_disk)  # fsync reports that the data could not be stored
    with pytest.raises(OutputError, match="No space left"):
        write_text(tmp_path / "c", force=True)
    assert (tmp_path / "c").read_text() == "old"
    assert list_names(tmp_path) == ["c"]


@pytest.mark.parametrize("save", ["write_file(path, pause, force=True)", "block()"])
def test_a_killed_process_leaves_the_old_result(tmp_path: Path, save: str) -> None:
    target = tmp_path / "result"
    (write_directory if save == "block()" else write_text)(target, "old")
    program = f"""
import sys, time
from pathlib import Path
from latentloop.io.files import new_directory, write_file
path = Path(sys.argv[1])
def pause(temporary):
    temporary.write_text("half")
    print("ready", flush=True)
    time.sleep(60)
def block():
    with new_directory(path, force=True) as folder:
        pause(folder / "file")
{save}
"""
    with subprocess.Popen([sys.executable, "-c", program, str(target)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.kill()
        assert process.wait() == -signal.SIGKILL
    assert (target / "file" if target.is_dir() else target).read_text() == "old"
    assert [name for name in list_names(tmp_path) if not name.startswith(".")] == ["result"]


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_permissions_follow_the_umask(tmp_path: Path, mask: int) -> None:
    with umask(mask):
        write_text(tmp_path / "file")
        write_directory(tmp_path / "folder")
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o666 & ~mask
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o777 & ~mask
    assert (tmp_path / "folder" / "file").stat().st_mode & 0o777 == 0o666 & ~mask


def test_missing_parents_are_created(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b" / "file")
    write_directory(tmp_path / "c" / "d" / "folder")
    assert (tmp_path / "a" / "b" / "file").read_text() == "new"
    assert list_names(tmp_path / "c" / "d") == ["folder"]


def test_a_parent_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    write_text(tmp_path / "a")
    for save in (write_text, write_directory):
        with pytest.raises(OutputError, match=r"cannot write .*a/b"):
            save(tmp_path / "a" / "b")
    assert list_names(tmp_path) == ["a"]


@pytest.mark.parametrize("force", [False, True])
def test_a_file_never_replaces_a_directory_nor_a_directory_a_file(tmp_path: Path, force: bool) -> None:
    write_text(tmp_path / "file", "old")
    write_directory(tmp_path / "folder", "old")
    with pytest.raises(OutputError, match="is a directory" if force else "exists"):
        write_text(tmp_path / "folder", force=force)
    with pytest.raises(OutputError, match="is a file" if force else "exists"):
        write_directory(tmp_path / "file", force=force)
    assert (tmp_path / "file").read_text() == (tmp_path / "folder" / "file").read_text() == "old"
    assert list_names(tmp_path) == ["file", "folder"]


def test_a_directory_that_holds_directories_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "home" / "photos").mkdir(parents=True)
    with pytest.raises(OutputError, match="home holds the directory photos"):
        write_directory(tmp_path / "home", force=True)
    with pytest.raises(OutputError, match="holds the directory"):
        check_free(tmp_path, force=True)
    assert list_names(tmp_path / "home") == ["photos"]


def test_a_directory_inside_the_target_is_allowed_only_for_the_engines_of_a_bundle(tmp_path: Path) -> None:
    engines = tmp_path / "bundle" / "engines" / "sm90_tensorrt-11.0_float32"
    engines.mkdir(parents=True)
    with pytest.raises(OutputError, match="holds the directory engines"):
        write_directory(tmp_path / "bundle", force=True)  # not a bundle
    (tmp_path / "bundle" / "manifest.json").touch()
    (tmp_path / "bundle" / "photos").mkdir()
    with pytest.raises(OutputError, match="holds the directory photos"):
        write_directory(tmp_path / "bundle", force=True)
    assert engines.is_dir()
    (tmp_path / "bundle" / "photos").rmdir()
    write_directory(tmp_path / "bundle", force=True)
    assert list_names(tmp_path / "bundle") == ["file"]
    assert list_names(tmp_path) == ["bundle"]


def test_a_bundle_with_unlisted_files_is_never_replaced(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    engines = bundle / "engines" / "sm90_tensorrt-11.0_float32"
    engines.mkdir(parents=True)
    (bundle / "manifest.json").write_text('{"files": {"decoder.onnx": {}}}')
    (engines / "manifest.json").write_text('{"files": {"decoder.plan": {}}}')
    results = (bundle / "decoder.onnx", engines / "decoder.plan", bundle / "engines" / "sm90_tensorrt-11.0.timings")
    for file in results:
        file.touch()
    for file in (bundle / "NOTES.md", bundle / "codes.npz", engines / "mine.txt", bundle / "engines" / "readme.txt"):
        file.touch()
        message = f"also holds {file.relative_to(bundle)}, which its manifest"
        with pytest.raises(OutputError, match=message):
            check_free(bundle, force=True, directory=True)
        with pytest.raises(OutputError, match=message):
            write_directory(bundle, force=True)
        assert file.exists()
        file.unlink()
    (engines / "manifest.json").write_text('{"files": ')  # damaged: plans are replaced, because they can be built again
    check_free(engines, force=True, directory=True)
    write_directory(bundle, force=True)
    assert list_names(bundle) == ["file"]


def test_relative_paths_are_relative_to_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_text(Path("file"))
    write_directory(Path("sub/folder"))
    assert (tmp_path / "file").read_text() == (tmp_path / "sub" / "folder" / "file").read_text() == "new"
    assert list_names(tmp_path) == ["file", "sub"]


def test_a_link_to_a_directory_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    write_directory(tmp_path / "real", "old")
    (tmp_path / "link").symlink_to("real")
    write_directory(tmp_path / "link", force=True)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "file").read_text() == "new"
    assert list_names(tmp_path) == ["link", "real"]


def test_a_name_as_long_as_the_file_system_allows_can_be_written(tmp_path: Path) -> None:
    write_text(tmp_path / ("x" * 251 + ".npz"))
    write_directory(tmp_path / ("y" * 255))
    with pytest.raises(OutputError, match="name too long"):
        write_text(tmp_path / ("z" * 256))
    assert len(list_names(tmp_path)) == 2


def test_check_free_accepts_missing_files_and_force(tmp_path: Path) -> None:
    check_free(tmp_path / "a", force=False)
    write_text(tmp_path / "a")
    check_free(tmp_path / "a", force=True)
    with pytest.raises(OutputError, match="a exists"):
        check_free(tmp_path / "a", force=False)


def test_a_file_that_appears_during_the_work_is_kept(tmp_path: Path) -> None:
    def slow(temporary: Path) -> None:
        temporary.write_text("mine")
        (tmp_path / "out").write_text("theirs")

    with pytest.raises(OutputError, match="exists"):
        write_file(tmp_path / "out", slow)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("out", "theirs")]


def test_the_working_directory_is_never_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(OutputError, match="working directory"):
        check_free(Path("../here"), force=True)


def test_a_failed_rename_restores_the_old_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").touch()
    rename = Path.rename

    def failing(source: Path, target: Path) -> Path:
        if (source / "new").exists():
            raise OSError(5, "Input/output error")
        return rename(source, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OutputError, match="Input/output"), new_directory(tmp_path / "out", force=True) as folder:
        (folder / "new").touch()
    assert [file.name for file in tmp_path.iterdir()] == ["out"]
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["old"]
