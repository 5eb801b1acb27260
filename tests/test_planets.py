"""The planets data set: images are functions of their seeds, geometry and light, random fields, the command."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_line import PROGRAM, run
from PIL import Image

from latentloop.export.data.datasets import load_data
from latentloop.export.data.folder import PARTS
from latentloop.export.planets.dataset import PlanetsOptions, planet, write_planets
from latentloop.export.planets.fields import (
    SIDE,
    cells,
    craters,
    interpolate,
    noise,
    on_sphere,
    rotation,
    spread,
    volume,
)
from latentloop.export.planets.scene import Rings, add_rings, arrange, draw_planet
from latentloop.export.planets.surfaces import SURFACES
from latentloop.images import grid

DOCS = Path(__file__).parents[1] / "docs"


def generator() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.mark.parametrize("kind", SURFACES)
def test_an_image_is_a_function_of_class_part_index_and_seed(kind: str) -> None:
    image = planet(kind, "train", 3, 5)
    assert image.shape == (64, 64, 3)
    assert image.dtype == np.uint8
    assert np.array_equal(image, planet(kind, "train", 3, 5))
    next_kind = list(SURFACES)[(list(SURFACES).index(kind) + 1) % len(SURFACES)]
    others = ((kind, "test", 3, 5), (kind, "train", 4, 5), (kind, "train", 3, 6), (next_kind, "train", 3, 5))
    for other in others:
        assert not np.array_equal(image, planet(*other))


def test_the_images_are_those_that_the_default_model_was_trained_on() -> None:
    picture = np.asarray(Image.open(DOCS / "planets-data.png")).astype(int)
    images = np.stack([planet(kind, "test", index, 0) for kind in sorted(SURFACES) for index in range(8)])
    differences = np.abs(grid(images, columns=8) - picture)
    assert differences.max() <= 1  # a processor with other instructions may round differently
    assert (differences > 0).mean() < 1e-3


@pytest.mark.parametrize("size", [32, 96, 128, 192])
@pytest.mark.parametrize("kind", SURFACES)
def test_an_image_shows_the_same_planet_in_every_size(kind: str, size: int) -> None:
    images = planet(kind, "test", 1, 0, size), planet(kind, "test", 1, 0), planet(kind, "test", 2, 0)
    assert images[0].shape == (size, size, 3)
    image, same, other = (Image.fromarray(each).resize((32, 32), Image.Resampling.BOX) for each in images)
    distances = [np.abs(np.asarray(image).astype(int) - each).mean() for each in (same, other)]
    assert distances[0] < 5
    assert distances[0] < distances[1] / 3


@pytest.mark.parametrize("kind", SURFACES)
def test_a_planet_is_in_the_centre_and_the_corners_are_dark(kind: str) -> None:
    images = np.stack([planet(kind, "test", index, 0) for index in range(6)]).astype(float)
    centre, corners = images[:, 24:40, 24:40].mean(), images[:, :4, :4].mean()
    assert centre > 30
    assert corners < 8


def test_the_sky_is_black_except_for_a_few_stars() -> None:
    images = np.stack([planet("moon", "test", index, 0) for index in range(8)])
    sky = np.ones((64, 64), bool)
    sky[3:61, 3:61] = False  # a moon does not cover the outermost pixels
    stars = (images.max(3) > 0) & sky
    assert 0 < stars.sum(axis=(1, 2)).mean() < 12


def test_the_lit_side_faces_the_light() -> None:
    for seed in range(12):
        light = arrange("moon", np.random.default_rng(seed)).light
        image = draw_planet("moon", np.random.default_rng(seed)).astype(float).mean(2)
        rows, columns = np.mgrid[:64, :64] - 31.5
        brightest = np.array([(columns * image).sum(), -(rows * image).sum()]) / image.sum()
        assert brightest @ light[:2] > 0


def test_rings_are_in_front_of_and_behind_the_planet_and_have_a_gap() -> None:
    rings = arrange("ringed", np.random.default_rng(3)).rings
    assert rings is not None
    inside, band, gap, outside = rings.opacity(
        np.array([rings.inner - 0.1, rings.inner + 0.12, rings.gap, rings.outer + 0.1], np.float32)
    )
    assert (inside, outside) == (0, 0)
    assert band > 0.6 > 0.25 > gap > 0
    tilted = Rings(np.array([0, 0.923, 0.385], np.float32), 1.1, 1.6, 5.0, np.ones(3, np.float32))
    scene = replace(arrange("ringed", np.random.default_rng(3)), light=np.array([0, 0, 1], np.float32))
    x, y = np.zeros((1, 2), np.float32), np.array([[0.5, -0.5]], np.float32)  # two points of the disc
    image = np.zeros((1, 2, 3), np.float32)
    add_rings(image, scene, tilted, x, y, x * x + y * y)
    assert image[0, 0].max() == 0  # behind the planet
    assert image[0, 1].min() > 0.5


def test_the_noise_is_normalised_periodic_and_smooth() -> None:
    field = volume()
    assert field.shape == (SIDE,) * 3
    assert abs(field.mean()) < 1e-5
    assert abs(field.std() - 1) < 1e-5
    step = np.abs(np.diff(field, axis=0, append=field[:1]))  # also across the border
    assert step[-1].mean() < 1.3 * step[:-1].mean()
    values = noise(generator(), on_sphere(generator(), 4000))
    assert 0.6 < values.std() < 1.4


def test_noise_at_a_voxel_is_the_volumes_value() -> None:
    """Interpolation at voxels, and between two voxels across the border."""
    corners = np.array([[3, 5, 7], [SIDE - 1, 0, 2], [SIDE + 3, 5 - SIDE, 7]], np.float32)
    field = volume()
    assert np.allclose(interpolate(field, corners), [field[3, 5, 7], field[-1, 0, 2], field[3, 5, 7]])
    between = interpolate(field, np.array([[SIDE - 0.5, 4, 4.0]], np.float32))
    assert np.allclose(between, (field[-1, 4, 4] + field[0, 4, 4]) / 2)


def test_cells_are_bounded_by_the_planes_between_their_centres() -> None:
    points = on_sphere(generator(), 500)
    border_distance, cell = cells(np.random.default_rng(1), points, 12)
    centres = spread(np.random.default_rng(1), 12).astype(np.float64)
    distance = np.linalg.norm(points[:, None] - centres, axis=2)
    assert np.array_equal(cell, distance.argmin(1))
    nearest, second = np.sort(distance, 1)[:, 0], np.sort(distance, 1)[:, 1]
    between_centres = np.linalg.norm(centres[cell] - centres[distance.argsort(1)[:, 1]], axis=1)
    assert np.allclose(border_distance, (second**2 - nearest**2) / (2 * between_centres), atol=1e-5)


def test_a_crater_is_a_bowl_with_a_rim() -> None:
    points = on_sphere(generator(), 20000)
    height = craters(np.random.default_rng(2), points, 1, 0.5)
    assert height.min() < -0.02
    assert height.max() > 0.01
    deepest = points[height.argmin()]
    distance = np.arccos(np.clip(points @ deepest, -1, 1))
    assert distance[height.argmax()] < 0.7
    assert np.abs(height[distance > 1.2]).max() < 1e-3


def test_rotations_are_proper() -> None:
    rng = generator()
    for _ in range(20):
        matrix = rotation(rng)
        assert np.allclose(matrix @ matrix.T, np.eye(3), atol=1e-6)
        assert np.linalg.det(matrix) > 0


def test_files_do_not_depend_on_the_number_of_processes_and_load_as_training_data(tmp_path: Path) -> None:
    counts = {1: tmp_path / "one", 2: tmp_path / "two"}
    for processes, out in counts.items():
        assert write_planets(out, PlanetsOptions(train=2, test=1, seed=4, processes=processes)) == 8 * 3 + 2
    for part in PARTS:
        for kind in SURFACES:
            names = sorted(file.name for file in (counts[1] / part / kind).iterdir())
            assert names == [f"{index:05}.png" for index in range(PlanetsOptions(2, 1).counts(part)[kind])]
            for name in names:
                one, two = (np.asarray(Image.open(out / part / kind / name)) for out in counts.values())
                assert np.array_equal(one, two)
                assert np.array_equal(one, planet(kind, part, int(name[:5]), 4))
    data = load_data(counts[1], 64)
    assert data.classes == tuple(sorted(SURFACES))
    assert (len(data.training), len(data.held_out)) == (18, 8)
    assert data.training.labels is not None
    assert np.array_equal(data.training.images[0], planet(data.classes[0], "train", 0, 4))


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "planets"
    few = ("--train", 1, "--test", 1, "--processes", 1)
    assert run("data", "planets", "--out", out, *few) == 0
    assert "17 images" in capsys.readouterr().out
    assert run("data", "planets", "--out", out, *few) == 1
    assert "exists" in capsys.readouterr().err
    assert run("data", "planets", "--out", tmp_path / "other", "--seed", -1) == 2
    assert "seed is -1" in capsys.readouterr().err
    assert run("data", "planets", "--out", tmp_path / "other", "--train", 10**12) == 2
    assert "train is 1000000000000, expected 1 to 1000000" in capsys.readouterr().err
    assert run("data", "planets", "--out", tmp_path / "other", "--size", 31) == 2
    assert "size is 31, expected 32 to 1024 pixels" in capsys.readouterr().err
    assert run("data", "planets", "--out", tmp_path / "large", "--size", 128, *few) == 0
    image = np.asarray(Image.open(tmp_path / "large" / "test" / "ice" / "00000.png"))
    assert np.array_equal(image, planet("ice", "test", 0, 0, 128))


def test_signals_leave_no_files_and_a_killed_process_no_children(tmp_path: Path) -> None:
    out = tmp_path / "many"
    command = [str(PROGRAM), "data", "planets", "--out", str(out), "--train", "400", "--processes", "2"]
    for sent, left in ((signal.SIGINT, 0), (signal.SIGTERM, 0), (signal.SIGKILL, 2)):
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
        deadline = time.monotonic() + 60
        while len(list(tmp_path.glob(".many*/train/*/*.png"))) < 10 and time.monotonic() < deadline:
            time.sleep(0.02)
        if sent == signal.SIGINT:
            os.killpg(process.pid, sent)  # a terminal sends Ctrl-C to all processes of the group
        else:
            process.send_signal(sent)
        stderr = process.communicate(timeout=60)[1]  # returns when every process has closed stderr
        assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}[sent]
        assert "Traceback" not in stderr
        assert sent == signal.SIGKILL or "leaked" not in stderr
        assert len(list(tmp_path.iterdir())) == left
    assert run("data", "planets", "--out", out, "--train", 1, "--test", 1, "--processes", 1) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["many"]  # the temporary folder of the killed run is removed
