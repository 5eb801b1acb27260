"""Data sets: IDX files and image folders, their errors, the held-out split, the schedule of batches and rates."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from latentloop.errors import InputError
from latentloop.export.data.datasets import held_out_files, load_data, split_indices
from latentloop.export.train.optimisation.schedule import BatchOrder, learning_rate
from latentloop.images import idx


def _idx_bytes(values: NDArray[np.uint8]) -> bytes:
    return struct.pack(f">{1 + values.ndim}I", 0x800 + values.ndim, *values.shape) + values.tobytes()


def _write_idx(folder: Path, prefix: str, count: int, *, size: int = 28, packed: bool = True) -> NDArray[np.uint8]:
    images = np.random.default_rng(count).integers(0, 256, (count, size, size), np.uint8)
    labels = (np.arange(count) % 3).astype(np.uint8)
    for name, values in ((f"{prefix}-images-idx3-ubyte", images), (f"{prefix}-labels-idx1-ubyte", labels)):
        content = _idx_bytes(values)
        path = folder / (f"{name}.gz" if packed else name)
        path.write_bytes(gzip.compress(content) if packed else content)
    return images


@pytest.mark.parametrize("packed", [True, False])
def test_idx_is_padded_and_its_t10k_files_are_held_out(tmp_path: Path, packed: bool) -> None:
    images = _write_idx(tmp_path, "train", 7, packed=packed)
    held_out = _write_idx(tmp_path, "t10k", 4, packed=packed)
    data = load_data(tmp_path, 32)
    assert data.training.images.shape == (7, 32, 32, 1)
    np.testing.assert_array_equal(data.training.images[:, 2:30, 2:30, 0], images)
    assert int(data.training.images.sum()) == int(images.sum())  # zeros all around
    np.testing.assert_array_equal(data.held_out.images[:, 2:30, 2:30, 0], held_out)
    assert data.training.labels is not None
    assert data.training.labels.tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert data.classes == ("0", "1", "2")
    assert "7 to train on, 4 held out" in data.description
    with pytest.raises(InputError, match="has a test part, the t10k files; held-out is"):
        load_data(tmp_path, 32, held_out=0.5)
    with pytest.raises(InputError, match="has a test part, the t10k files; split-seed is"):
        load_data(tmp_path, 32, split_seed=0)


def test_idx_without_t10k_files_is_split(tmp_path: Path) -> None:
    _write_idx(tmp_path, "train", 10)
    data = load_data(tmp_path, 28, held_out=0.3)
    assert (len(data.training), len(data.held_out)) == (7, 3)


def test_the_digest_depends_on_the_data(tmp_path: Path) -> None:
    _write_idx(tmp_path, "train", 10)
    digests = {load_data(tmp_path, size, split_seed=seed).digest for size, seed in ((28, 0), (28, 1), (32, 0))}
    assert len(digests) == 3
    assert load_data(tmp_path, 28).digest in digests


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"\x00\x00", "header of 16"),
        (_idx_bytes(np.zeros(20, np.uint8)), "magic number 0x00000801, expected 0x00000803"),
        (_idx_bytes(np.zeros((2, 3, 3), np.uint8))[:-1], "33 bytes, expected 34"),
        (_idx_bytes(np.zeros((2, 3, 3), np.uint8)) + b"\x00", "the file is too long"),
        (struct.pack(">4I", 0x803, 2**32 - 1, 2**32 - 1, 2**32 - 1), "truncated"),
    ],
)
def test_the_error_names_a_damaged_idx_file(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(content)
    with pytest.raises(InputError, match="train-images-idx3-ubyte") as caught:
        idx.read_images(path)
    assert expected in str(caught.value)


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"x" + b[1:], lambda b: b[:-8] + bytes(8)])
def test_the_error_names_a_damaged_gzip_file(tmp_path: Path, damage: object) -> None:
    assert callable(damage)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(damage(gzip.compress(_idx_bytes(np.zeros((2, 3, 3), np.uint8)))))
    with pytest.raises(InputError, match=r"train-images-idx3-ubyte\.gz"):
        idx.read_images(path)


def test_idx_images_and_labels_must_match(tmp_path: Path) -> None:
    _write_idx(tmp_path, "train", 6)
    labels = tmp_path / "train-labels-idx1-ubyte.gz"
    labels.write_bytes(gzip.compress(_idx_bytes(np.zeros(5, np.uint8))))
    with pytest.raises(InputError, match="5 labels, expected 6"):
        load_data(tmp_path, 32)
    labels.unlink()
    with pytest.raises(InputError, match=r"train-labels-idx1-ubyte\[\.gz\] is missing"):
        load_data(tmp_path, 32)


def test_idx_images_must_fit_the_size_and_are_grey(tmp_path: Path) -> None:
    _write_idx(tmp_path, "train", 6)
    with pytest.raises(InputError, match="28 x 28, larger than size 16"):
        load_data(tmp_path, 16)
    with pytest.raises(InputError, match="image_channels is 3, expected 1"):
        load_data(tmp_path, 32, image_channels=3)


def _write_classes(folder: Path, count: int = 4) -> None:
    for label, name in enumerate(("cat", "ant", "bee")):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            Image.new("RGB", (12, 8), (60 * label, 10 * index, 5)).save(folder / name / f"{index}.png")


def test_sub_folders_are_the_classes_in_sorted_order(tmp_path: Path) -> None:
    _write_classes(tmp_path)
    data = load_data(tmp_path, 8, held_out=0.25)
    assert data.classes == ("ant", "bee", "cat")
    assert (len(data.training), len(data.held_out)) == (9, 3)
    for part in (data.training, data.held_out):
        assert part.labels is not None
        reds = part.images[:, 0, 0, 0]
        assert [{60: "ant", 120: "bee", 0: "cat"}[int(red)] for red in reds] == [data.classes[n] for n in part.labels]


def test_the_folders_train_and_test_are_the_two_parts(tmp_path: Path) -> None:
    for part, count in (("train", 4), ("test", 2)):
        _write_classes(tmp_path / part, count)
    data = load_data(tmp_path, 8)
    assert data.classes == ("ant", "bee", "cat")
    assert (len(data.training), len(data.held_out)) == (12, 6)
    assert data.held_out.labels is not None
    assert data.held_out.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert sorted(data.held_out.images[:, 0, 0, 0]) == [0, 0, 60, 60, 120, 120]
    assert sorted(set(data.held_out.images[:, 0, 0, 1])) == [0, 10]
    with pytest.raises(InputError, match="has a test part, test/; held-out is"):
        load_data(tmp_path, 8, held_out=0.1)
    (tmp_path / "train" / "bee").rename(tmp_path / "train" / "dog")
    with pytest.raises(
        InputError, match="same classes in train and test, found dog only in train and bee only in test"
    ):
        load_data(tmp_path, 8)


def test_train_without_test_is_an_error(tmp_path: Path) -> None:
    _write_classes(tmp_path / "train")
    remedy = r"expected the same classes as in train/: add them, or pass \S+/train as the data"
    with pytest.raises(InputError, match=rf"/test is missing, {remedy}"):
        load_data(tmp_path, 8)
    (tmp_path / "test").mkdir()
    with pytest.raises(InputError, match=rf"/test contains no class folders, {remedy}"):
        load_data(tmp_path, 8)
    assert load_data(tmp_path / "train", 8).classes == ("ant", "bee", "cat")


def test_train_and_test_may_be_classes(tmp_path: Path) -> None:
    for name in ("train", "test"):
        (tmp_path / name).mkdir()
        Image.new("L", (4, 4)).save(tmp_path / name / "0.png")
    assert load_data(tmp_path, 4).classes == ("test", "train")


def test_a_flat_folder_has_no_labels(tmp_path: Path) -> None:
    for index in range(4):
        Image.new("L", (9, 5), 50 * index).save(tmp_path / f"{index}.png")
    data = load_data(tmp_path, 4, image_channels=1)
    assert data.training.images.shape == (3, 4, 4, 1)
    assert data.training.labels is None
    assert data.classes == ()


def test_images_are_cropped_to_their_centre(tmp_path: Path) -> None:
    wide = np.zeros((4, 12), np.uint8)
    wide[:, 4:8] = 200
    for index in range(2):
        Image.fromarray(wide).save(tmp_path / f"{index}.png")
    assert load_data(tmp_path, 4, image_channels=1).training.images.min() == 200


def test_cropped_and_enlarged_images_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for index, size in enumerate([(8, 8), (9, 8), (30, 30), (7, 20), (5, 5)]):  # width, height
        Image.new("L", size).save(tmp_path / f"{index}.png")
    load_data(tmp_path, 8)
    assert capsys.readouterr().err.splitlines() == [
        f"{tmp_path}: 2 of 5 images were cropped to their central square",
        f"{tmp_path}: 2 of 5 images were enlarged: they have under 8 rows or columns",
    ]


def test_the_files_of_the_held_out_images(tmp_path: Path) -> None:
    _write_classes(tmp_path / "flat")
    files = held_out_files(tmp_path / "flat", 0.25, 5)
    data = load_data(tmp_path / "flat", 8, held_out=0.25, split_seed=5)
    for file, image in zip(files, data.held_out.images, strict=True):
        assert tuple(image[0, 0]) == Image.open(file).getpixel((0, 0))
    for part, count in (("train", 4), ("test", 2)):
        _write_classes(tmp_path / "parts" / part, count)
    files = held_out_files(tmp_path / "parts")
    assert [str(file.relative_to(tmp_path / "parts")) for file in files[:3]] == [
        "test/ant/0.png",
        "test/ant/1.png",
        "test/bee/0.png",
    ]
    (tmp_path / "idx").mkdir()
    _write_idx(tmp_path / "idx", "train", 6)
    assert held_out_files(tmp_path / "idx") == []


def test_images_are_read_in_the_same_way_as_by_encode(tmp_path: Path) -> None:
    """16-bit values are scaled, not clipped, and transparent pixels become white."""
    for index in range(2):
        Image.fromarray(np.full((4, 4), 30000, np.uint16)).save(tmp_path / f"{index}.png")
    assert np.unique(load_data(tmp_path, 4).training.images).tolist() == [117]
    for index in range(2):
        Image.fromarray(np.zeros((4, 4, 4), np.uint8)).save(tmp_path / f"{index}.png")
    assert np.unique(load_data(tmp_path, 4).training.images).tolist() == [255]


def test_the_error_names_every_unreadable_image(tmp_path: Path) -> None:
    _write_classes(tmp_path)
    broken = tmp_path / "bee" / "1.png"
    broken.write_bytes(broken.read_bytes()[:40])
    (tmp_path / "cat" / "z.png").symlink_to("gone.png")
    message = r"2 of 13 inputs .*bee/1\.png cannot be read as an image.*cat/z\.png is a link to gone\.png"
    with pytest.raises(InputError, match=message):
        load_data(tmp_path, 8)


def test_a_class_that_is_a_broken_link_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _write_classes(tmp_path)
    (tmp_path / "dog").symlink_to("not-mounted")
    assert load_data(tmp_path, 8).classes == ("ant", "bee", "cat")
    assert f"ignored broken links: {tmp_path}/dog" in capsys.readouterr().err


def test_ignored_images_in_sub_folders_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "data"
    _write_classes(data)
    (data / "cat" / "notes").mkdir()
    expected = load_data(data, 8).digest
    assert ": ignored " not in capsys.readouterr().err
    for inner in ("cat/more", "cat/more/still", "bee/more", "ant/.hidden"):
        (data / inner).mkdir()
        Image.new("L", (4, 4)).save(data / inner / "0.png")
    _write_classes(tmp_path / "other", 1)
    (data / "bee" / "other").symlink_to(tmp_path / "other")
    assert load_data(data, 8).digest == expected
    message = "ignored 6 images in sub-folders of classes; only images directly inside a class folder are read"
    assert f"{data}: {message}: {data}/bee/more, {data}/bee/other, {data}/cat/more\n" in capsys.readouterr().err


def test_files_that_operating_systems_add_are_ignored(tmp_path: Path) -> None:
    _write_classes(tmp_path)
    expected = load_data(tmp_path, 8).digest
    for folder in (tmp_path / "__MACOSX", tmp_path / ".thumbnails", tmp_path / "cat" / "@eaDir"):
        folder.mkdir()
        (folder / "a.png").write_bytes(b"no image")
    for folder in (tmp_path, tmp_path / "cat"):
        for name in ("._0.png", ".DS_Store", "Thumbs.db"):
            (folder / name).write_bytes(b"no image")
    assert load_data(tmp_path, 8).digest == expected


def test_folders_that_are_not_data_sets(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        load_data(tmp_path / "absent", 8)
    with pytest.raises(InputError, match="no images"):
        load_data(tmp_path, 8)
    _write_classes(tmp_path / "mixed")
    Image.new("L", (4, 4)).save(tmp_path / "mixed" / "stray.png")
    with pytest.raises(InputError, match=r"both images \(stray\.png\) and sub-folders"):
        load_data(tmp_path / "mixed", 8)
    _write_classes(tmp_path / "empty")
    (tmp_path / "empty" / "dog").mkdir()
    with pytest.raises(InputError, match="dog: a class folder without images"):
        load_data(tmp_path / "empty", 8)


def test_the_split_is_deterministic_and_complete() -> None:
    first, second, other = (split_indices(101, 0.1, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first[1], second[1])
    assert first[1].tolist() != other[1].tolist()
    assert len(first[1]) == 10
    assert sorted([*first[0], *first[1]]) == list(range(101))
    assert [len(part) for part in split_indices(2, 0.001, 0)] == [1, 1]
    with pytest.raises(InputError, match="expected a fraction"):
        split_indices(10, 1.0, 0)


def test_batches_cover_every_epoch_and_depend_on_the_step_only() -> None:
    order = BatchOrder(10, 4, seed=5)
    batches = [order(step) for step in range(10)]
    epochs = np.concatenate(batches).reshape(4, 10)
    for epoch in epochs:
        assert sorted(epoch) == list(range(10))
    assert epochs[0].tolist() != epochs[1].tolist()
    assert BatchOrder(10, 4, seed=5)(7).tolist() == batches[7].tolist()
    assert len(BatchOrder(3, 8, seed=0)(2)) == 8


def test_the_rate_rises_then_falls() -> None:
    rates = [learning_rate(step, 100, 1.0, 10) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == rates[10] == 1
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] == pytest.approx(0.05, abs=0.001)
