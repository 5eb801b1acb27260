"""Search for images in folders, and messages about paths that are not regular files."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_bytes import png

from latentloop.errors import MAX_LISTED, InputError
from latentloop.images import read_images
from latentloop.images.search import find_images

ONE = (1, 1, 1)


def write(path: Path, value: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png([[value]], 8, 0))
    return path


def read_values(*paths: Path) -> list[int]:
    return [int(value) for value in read_images(paths, ONE).ravel()]


def error_of(*paths: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_images(paths, ONE)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_a_folder_stands_for_the_images_in_and_below_it(tmp_path: Path) -> None:
    for value, name in enumerate(("b.png", "a/z/1.PNG", "a/c.png", "c/0.png", "a-b/d.png", "B.png")):
        write(tmp_path / name, value)
    (tmp_path / "a" / "notes.txt").write_text("no image")
    names = ["B.png", "a/c.png", "a/z/1.PNG", "a-b/d.png", "b.png", "c/0.png"]
    assert [str(file.relative_to(tmp_path)) for file in find_images([tmp_path]).files] == names
    assert read_values(tmp_path) == [5, 2, 1, 4, 0, 3]
    assert read_values(tmp_path / "c", tmp_path / "b.png", tmp_path / "b.png") == [3, 0, 0]


@pytest.mark.parametrize(
    "name", ["._a.png", ".a.png", ".thumbs/a.png", "__MACOSX/a.png", "@eaDir/a.png/T.jpg", "$RECYCLE.BIN/a.png"]
)
def test_files_of_operating_systems_are_ignored_unless_they_are_named(tmp_path: Path, name: str) -> None:
    write(tmp_path / "a.png", 7)
    added = write(tmp_path / name, 9)
    for system_file in ("Thumbs.db", ".DS_Store", "desktop.ini"):
        (tmp_path / system_file).write_bytes(b"no image")
    assert read_values(tmp_path) == [7]
    assert read_values(added) == [9]
    if added.parent != tmp_path:
        assert read_values(added.parent) == [9]


def test_links_to_files_are_followed_and_links_to_folders_are_a_warning(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere" / "a.png", 1)
    inside = tmp_path / "in"
    write(inside / "b.png", 2)
    (inside / "a.png").symlink_to("../elsewhere/a.png")
    (inside / "folder").symlink_to("../elsewhere")
    (inside / "again").symlink_to("../in")
    with pytest.warns(UserWarning, match=r"2 links to folders are not followed.*/in/again.*/in/folder"):
        assert read_values(inside) == [1, 2]
    assert read_values(inside / "folder") == [1]  # named explicitly


def test_a_broken_link_is_a_warning(tmp_path: Path) -> None:
    write(tmp_path / "a.png", 1)
    (tmp_path / "disk").symlink_to("not-mounted")
    with pytest.warns(UserWarning, match=r"a broken link is ignored: .*/disk"):
        assert read_values(tmp_path) == [1]


def test_paths_that_are_not_regular_files_are_named_with_other_problems(tmp_path: Path) -> None:
    write(tmp_path / "good.png", 1)
    (tmp_path / "broken.png").write_bytes(b"no image")
    (tmp_path / "dangling.png").symlink_to("gone.png")
    (tmp_path / "circle.png").symlink_to("circle.png")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "empty").mkdir()
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(tmp_path / "socket.png"))
        text = error_of(tmp_path, tmp_path / "missing.png", tmp_path / "empty", Path(os.devnull))
    assert text.startswith("8 of 9 inputs cannot be used: ")
    for expected in (
        "broken.png cannot be read as an image",
        "dangling.png is a link to gone.png, which cannot be opened: No such file",
        "circle.png is a link to circle.png, which cannot be opened: Too many levels",
        "pipe.png is a pipe",
        "socket.png, /dev/null each is a device or socket",
        "missing.png cannot be read: no such file",
        "empty holds no images, expected files ending in .png",
    ):
        assert expected in text


def test_a_folder_that_cannot_be_searched_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.png", 1)
    write(tmp_path / "closed" / "b.png", 1)
    scan = os.scandir

    def guarded(path: Any) -> Any:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", guarded)  # root may read everything
    assert "/closed cannot be searched: Permission denied" in error_of(tmp_path)


def test_a_long_list_is_cut_and_counted(tmp_path: Path) -> None:
    for index in range(MAX_LISTED + 13):
        (tmp_path / f"{index:03}.png").write_bytes(b"")
    write(tmp_path / "good.png", 1)
    text = error_of(tmp_path)
    assert text.startswith(f"{MAX_LISTED + 13} of {MAX_LISTED + 14} inputs cannot be used: ")
    assert f"/{MAX_LISTED - 1:03}.png, and 13 more each cannot be read" in text
    assert text.count(".png") == MAX_LISTED
    assert text.count("cannot be read") == 1


def test_a_reason_is_named_once_with_all_its_files(tmp_path: Path) -> None:
    for name in ("a", "c"):
        (tmp_path / f"{name}.png").write_bytes(b"")
    (tmp_path / "b.png").symlink_to("gone.png")
    write(tmp_path / "good.png", 1)
    text = error_of(tmp_path)
    assert f"{tmp_path}/a.png, {tmp_path}/c.png each cannot be read" in text
    assert f"; {tmp_path}/b.png is a link to gone.png, which cannot be opened" in text


def test_file_names_with_undecodable_bytes(tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"\xff\n\x1b.png")
    write(odd, 3)
    assert read_values(tmp_path) == [3]
    odd.write_bytes(b"")
    assert r"/\udcff\n\x1b.png cannot be read" in error_of(tmp_path)


def test_threads_keep_the_order_of_the_files(tmp_path: Path) -> None:
    for index in range(40):
        noise = np.random.default_rng(index).integers(0, 256, (300, 300))
        (tmp_path / f"{index:02}.png").write_bytes(png(noise, 8, 0))
    pixels = read_images([tmp_path], (300, 300, 1))
    for index in range(40):
        assert np.array_equal(pixels[index, :, :, 0], np.random.default_rng(index).integers(0, 256, (300, 300)))
