"""The program on the page about Python runs, its values are the documented ones, and its examples do what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from documented_python import blocks, run_documented
from PIL import Image

PAGE = Path(__file__).parents[1] / "docs" / "python.md"
PUBLIC = ("Bundle", "Sampler", "keep_rows", "sample_best", "read_images", "write_image", "write_images", "grid")


@pytest.fixture(scope="module")
def variables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The program's variables when it has finished."""
    names: dict[str, Any] = {"__name__": "documented"}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("page"))
        compared = sum(run_documented(code, names) for code in blocks(PAGE, "python"))
        names["folder"] = Path.cwd()
    assert compared >= 20
    return names


def test_the_program_runs(variables: dict[str, Any]) -> None:
    assert all(variables[name] for name in PUBLIC)


def test_the_loops_step_over_all_seeds(variables: dict[str, Any]) -> None:
    assert variables["samples"].seeds.tolist() == list(range(9, 17))
    assert variables["seed"] == 9
    assert set(variables["best"].samples.seeds.tolist()) <= set(range(5, 9))


def test_the_files_hold_the_images(variables: dict[str, Any]) -> None:
    samples = variables["samples"]
    for image, seed in zip(samples.images, samples.seeds, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(variables["folder"] / "oceans" / f"seed{seed}.png")), image)
    with Image.open(variables["folder"] / "oceans.png") as picture:
        assert picture.size == (4 * 66 - 2, 2 * 66 - 2)


def test_the_upper_half_of_a_completed_image_is_kept(variables: dict[str, Any]) -> None:
    """Rows of pixels that are 16 from the border hardly differ from the reconstruction's; lower halves differ much."""
    completed, sampler, picture = variables["completed"], variables["sampler"], variables["pictures"][:1]
    codes = sampler.encode(picture)
    for name, kept in (("top", 4), ("bottom", 8)):
        np.testing.assert_array_equal(completed.codes[name][:, :kept], codes[name][:, :kept].repeat(4, 0))
    difference = np.abs(completed.images - sampler.decode(codes).astype(float)).mean((2, 3))  # [4, 64]
    assert difference[:, :16].max() < 0.5
    assert difference[:, 40:].mean(1).min() > 2
    assert len({image[40:].tobytes() for image in completed.images}) == 4


def test_variations_keep_the_arrangement_of_the_picture(variables: dict[str, Any]) -> None:
    """Squares of 8 x 8 pixels have colours nearer to the reconstruction's than in other draws, and all draws differ."""
    varied, sampler = variables["varied"].images, variables["sampler"]
    reconstructed = sampler.decode(sampler.encode(variables["pictures"][:1]))
    squares = [images.reshape(-1, 8, 8, 8, 8, 3).mean((2, 4)) for images in (varied, reconstructed)]
    others = sampler.sample(4, labels=variables["label"], seeds=1).images.reshape(4, 8, 8, 8, 8, 3).mean((2, 4))
    assert np.abs(squares[0] - squares[1]).mean() < 0.8 * np.abs(others - squares[1]).mean()
    assert len({image.tobytes() for image in varied}) == 4


def test_the_preview_shows_the_upper_half(variables: dict[str, Any]) -> None:
    preview, finished = variables["previews"][0].astype(float), variables["stopped"].images[:2]
    difference = np.abs(preview - finished).mean((2, 3))  # [2, 64]
    assert difference[:, :16].max() < 0.5
    assert difference[:, 40:].max() > 5


def test_threads_draw_what_one_thread_draws(variables: dict[str, Any]) -> None:
    alone = variables["Sampler"](variables["bundle"], threads=1).sample(4, labels="ocean", seeds=1, batch_size=2)
    np.testing.assert_array_equal(variables["images"], alone.images)
