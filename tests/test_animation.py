"""`--animate` of `sample` and `complete`: its frames, what goes with it, and what it leaves behind."""

from __future__ import annotations

import json
import shlex
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import pixels, run
from documented_python import blocks
from PIL import Image, ImageSequence

from latentloop import Bundle, InputError, Sampler
from latentloop.images import grid, write_animation
from latentloop.sampling.results import Progress
from latentloop.sampling.runs import Runs

ROWS = 4 + 8  # of both levels of the small bundle
DRAW = ("-n", 3, "--seed", 5, "--temperature", 50, "--threads", 1, "--columns", 2, "--scale", 1)
# The small bundle's random priors are nearly certain of their codes, but not at this temperature.


def frames_of(path: Path) -> list[np.ndarray]:
    with Image.open(path) as image:
        return [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(image)]


def durations_of(path: Path) -> list[float]:
    with Image.open(path) as image:
        durations = []
        for frame in ImageSequence.Iterator(image):
            frame.load()
            durations.append(frame.info["duration"])
        return durations


def test_an_animation_has_a_frame_after_every_row(
    small_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, animation = tmp_path / "a.png", tmp_path / "a-drawn.png"
    assert run("sample", "--bundle", small_bundle, *DRAW, "--out", out, "--animate", animation, "--json") == 0
    assert json.loads(capsys.readouterr().out)["animation"] == str(animation)
    previews = []

    def callback(progress: Progress) -> None:
        previews.append(grid(progress.preview(), 2))

    Sampler(Bundle.open(small_bundle), threads=1).sample(3, seeds=5, temperature=50, callback=callback)
    found = frames_of(animation)
    assert len(found) == len(previews) == ROWS
    for frame, preview in zip(found, previews, strict=True):
        np.testing.assert_array_equal(frame, preview)
    np.testing.assert_array_equal(found[-1], pixels(out))
    assert durations_of(animation) == [100] * (ROWS - 1) + [2000]


def test_an_animation_does_not_change_the_images(small_bundle: Path, tmp_path: Path) -> None:
    common = ("sample", "--bundle", small_bundle, *DRAW)
    assert run(*common, "--out", tmp_path / "a.png") == 0
    assert run(*common, "--out", tmp_path / "b.png", "--animate", tmp_path / "b.webp") == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize("suffix", [".webp", ".gif", ".png"])
def test_every_format_has_the_frames_and_their_times(small_bundle: Path, tmp_path: Path, suffix: str) -> None:
    out, animation = tmp_path / "a.png", tmp_path / f"b{suffix}"
    arguments = ("--out", out, "--animate", animation, "--frame-ms", 50)
    assert run("sample", "--bundle", small_bundle, *DRAW, *arguments) == 0
    assert len(frames_of(animation)) == ROWS
    assert durations_of(animation) == [50] * (ROWS - 1) + [2000]


@pytest.mark.parametrize(("suffix", "tolerance"), [(".webp", 2.0), (".gif", 4.0), (".png", 0.0)])
@pytest.mark.parametrize("channels", [1, 3])
def test_formats_keep_smooth_pictures(tmp_path: Path, suffix: str, tolerance: float, channels: int) -> None:
    y, x = np.mgrid[:40, :60]
    smooth = np.stack([3 * x + y, 4 * y + x, 2 * x], 2).astype(np.uint8)[:, :, :channels]
    pictures = [smooth, smooth[::-1], smooth[:, ::-1]]
    write_animation(tmp_path / f"a{suffix}", pictures, frame_ms=40, hold_ms=500)
    assert durations_of(tmp_path / f"a{suffix}") == [40, 40, 500]
    for frame, picture in zip(frames_of(tmp_path / f"a{suffix}"), pictures, strict=True):
        assert np.abs(frame.astype(float) - picture).mean() <= tolerance


def test_batches_are_drawn_one_after_the_other_in_the_grid(small_bundle: Path, tmp_path: Path) -> None:
    out, animation = tmp_path / "a.png", tmp_path / "b.png"
    common = ("sample", "--bundle", small_bundle, *DRAW, "--batch-size", 2)
    assert run(*common, "--out", out, "--animate", animation) == 0
    found, finished = frames_of(animation), pixels(out)
    assert len(found) == 2 * ROWS
    for frame in found[:ROWS]:
        assert (frame[34:] == 255).all()  # the second batch is not begun
    for frame in found[ROWS - 1 :]:
        np.testing.assert_array_equal(frame[:32], finished[:32])
    np.testing.assert_array_equal(found[-1], finished)


def test_given_rows_make_no_frames(small_bundle: Path, photos: Path, tmp_path: Path) -> None:
    common = ("complete", photos, "--bundle", small_bundle, "-n", 2, "--label", "bag", "--temperature", 50)
    out, animation = tmp_path / "a.png", tmp_path / "b.png"
    assert run(*common, "--rows", 0.5, "--seed", 1, "--out", out, "--animate", animation) == 0
    found = frames_of(animation)
    assert len(found) == ROWS // 2
    np.testing.assert_array_equal(found[-1], pixels(out))
    for frame in found:  # the original and what is kept
        np.testing.assert_array_equal(frame[:, : 2 * 98], pixels(out)[:, : 2 * 98])
    assert run(*common, "--rows", "top=1", "--out", tmp_path / "c.png", "--animate", tmp_path / "d.png") == 0
    assert len(frames_of(tmp_path / "d.png")) == 8


def test_an_interrupted_run_animates_the_finished_images(
    small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preview = Runs._preview
    count = 0

    def interrupted(self: Runs, *arguments: object) -> object:
        nonlocal count
        count += 1
        if count == 2 * ROWS + 3:
            signal.raise_signal(signal.SIGINT)
        return preview(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Runs, "_preview", interrupted)
    out, animation = tmp_path / "a.png", tmp_path / "b.png"
    common = ("sample", "--bundle", small_bundle, "-n", 6, "--temperature", 50, "--batch-size", 2)
    assert run(*common, "--out", out, "--animate", animation) == 130
    assert len(frames_of(animation)) == ROWS * 2
    np.testing.assert_array_equal(frames_of(animation)[-1], pixels(out))
    count = 2 * ROWS  # in the first batch
    assert run(*common, "--out", tmp_path / "c.png", "--animate", tmp_path / "d.png") == 130
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--out a.png --animate b.jpg", "b.jpg ends in '.jpg', expected an animation's suffix: .webp, .gif, .png"),
        ("--out a.png --animate taken.png", "taken.png exists; pass --force"),
        ("--out a.webp --animate ./a.webp", "--out and --animate both name a.webp"),
        ("--out a.png --animate taken.png/b.png", "cannot write taken.png/b.png"),
        ("--out a/ --animate b.webp", "--animate watches a grid, but --out a/ is a folder"),
        ("--out a.png --animate b.webp --best 0.5", "--best chooses among many"),
        ("--out a.png --frame-ms 50", "--frame-ms applies to --animate, which is missing"),
        ("--out a.png --animate b.webp --frame-ms 5", "'5' is not an integer from 20 to 60000"),
        ("--out a.png --animate b.png --codes b.png/c.npz", "--animate b.png and --codes b.png/c.npz are below"),
        ("--out a.png --animate b.png -n 4096 --scale 4", "at most 1073741824: animate fewer images"),
        ("--out a.png --show", "--show draws in a terminal, but stderr is none"),
    ],
)
def test_what_does_not_go_together_is_refused_before_any_work(
    small_bundle: Path,
    tmp_path: Path,
    fails: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: str,
    message: str,
) -> None:
    def fail(*_: object) -> None:
        raise AssertionError

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Runs, "draw", fail)
    Path("taken.png").write_bytes(b"mine")
    status = 1 if "exists" in message or "cannot write" in message else 2
    assert message in fails(status, "sample", "--bundle", small_bundle, *arguments.split())
    assert [path.name for path in tmp_path.iterdir()] == ["taken.png"]
    assert Path("taken.png").read_bytes() == b"mine"


def test_force_replaces_an_animation_but_not_an_input(
    small_bundle: Path, photos: Path, tmp_path: Path, fails: Callable[..., str]
) -> None:
    common = ("complete", photos, "--bundle", small_bundle, "--label", "bag", "--force")
    message = fails(2, *common, "--rows", 0.5, "--out", tmp_path / "a.png", "--animate", photos / "1.png")
    assert "--animate" in message
    assert "would replace" in message
    taken = tmp_path / "b.gif"
    taken.write_bytes(b"mine")
    assert run(*common, "--rows", 0.5, "--out", tmp_path / "a.png", "--animate", taken) == 0
    assert len(frames_of(taken)) > 1


def test_nothing_to_draw_is_refused(small_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = tmp_path / "codes.npz"
    np.savez(given, top=np.zeros((1, 4, 6), np.int64), bottom=np.zeros((1, 8, 12), np.int64))
    common = ("sample", "--bundle", small_bundle, "--given", given, "--label", "bag", "-n", 1)
    assert run(*common, "--out", tmp_path / "a.png") == 0
    assert run(*common, "--out", tmp_path / "b.png", "--animate", tmp_path / "c.png") == 2
    assert "--animate watches images being drawn, but every code is given" in capsys.readouterr().err
    assert not (tmp_path / "b.png").exists()


def test_a_bundle_without_a_codeword_for_undrawn_codes_is_refused(
    small_bundle: Path, tmp_path: Path, fails: Callable[..., str]
) -> None:
    earlier = shutil.copytree(small_bundle, tmp_path / "earlier")
    manifest = json.loads((earlier / "manifest.json").read_text())
    del manifest["undrawn_codeword"]
    (earlier / "manifest.json").write_text(json.dumps(manifest | {"version": 5}))
    message = fails(2, "sample", "--bundle", earlier, "--out", tmp_path / "a.png", "--animate", tmp_path / "b.png")
    assert "--animate shows images of which codes are not drawn yet, but an earlier release exported" in message
    assert "export it again" in message

    def callback(progress: Progress) -> None:
        progress.preview()

    with pytest.raises(InputError, match="hold -1, which is not drawn"):
        Sampler(Bundle.open(earlier)).sample(1, callback=callback)


def test_pictures_that_make_no_animation(tmp_path: Path) -> None:
    picture = np.zeros((4, 5, 3), np.uint8)
    with pytest.raises(InputError, match="frames are empty"):
        write_animation(tmp_path / "a.png", [])
    with pytest.raises(InputError, match=r"frame 1 has shape \[4, 4, 3\], expected \[4, 5, 3\]"):
        write_animation(tmp_path / "a.png", [picture, picture[:, :4]])
    for wrong in (5, 70_000, True, 50.0, np.timedelta64(100, "ms"), np.float32(50)):
        with pytest.raises(InputError, match="frame_ms is"):
            write_animation(tmp_path / "a.png", [picture], frame_ms=wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r".webp holds 16383 at most"):
        write_animation(tmp_path / "a.webp", [np.zeros((1, 16384, 1), np.uint8)])
    assert not list(tmp_path.iterdir())
    for suffix in (".png", ".webp", ".gif"):
        write_animation(tmp_path / f"one{suffix}", [picture])
        assert frames_of(tmp_path / f"one{suffix}")[0].shape == (4, 5, 3)


@pytest.mark.parametrize("suffix", [".png", ".webp", ".gif"])
def test_times_may_be_integers_of_numpy(tmp_path: Path, suffix: str) -> None:
    pictures = [np.full((4, 5, 3), value, np.uint8) for value in (0, 128, 255)]
    kinds: dict[str, Any] = {"python": int, "numpy": np.int64}
    for name, integer in kinds.items():
        path = tmp_path / f"{name}{suffix}"
        write_animation(path, pictures, frame_ms=integer(80), hold_ms=integer(500))
    assert (tmp_path / f"numpy{suffix}").read_bytes() == (tmp_path / f"python{suffix}").read_bytes()


@pytest.mark.slow
def test_the_commands_of_the_page_write_what_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = Path(__file__).parents[1] / "docs" / "watching.md"
    for command in "".join(blocks(page, "sh")).splitlines():
        assert run(*shlex.split(command)[1:]) == 0
    assert len(frames_of(Path("completing.webp"))) == 4 + 8
    found, shown = frames_of(Path("drawn.webp")), frames_of(page.with_name("drawn.webp"))
    assert len(found) == len(shown) == 8 + 16
    assert np.abs(found[0].astype(float) - shown[0]).mean() < 2  # little is drawn: the same on every processor
    assert np.abs(found[-1].astype(float) - pixels(Path("drawn.png"))).mean() < 3
    assert page.with_name("drawn.webp").stat().st_size < 300_000
