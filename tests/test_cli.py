"""The program: what its commands write and print, and how they fail."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from latentloop import cli
from latentloop.commands import info, sample
from latentloop.images import read_images
from latentloop.sampler import Sampler
from latentloop.samples import Progress, Samples

PROGRAM = Path(sysconfig.get_path("scripts")) / "latentloop"
RGB = (32, 48, 3)


def run(*arguments: object) -> int:
    return cli.main([str(argument) for argument in arguments])


@pytest.fixture
def fails(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command that must end with the status given first, one line on stderr and nothing on stdout."""

    def check(status: int, *arguments: object) -> str:
        assert run(*arguments) == status
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("latentloop: error: ")
        assert err.count("\n") == 1
        return err

    return check


def program(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [str(PROGRAM), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **options)


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def codes(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as archive:
        return {name: archive[name] for name in archive.files}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three RGB images of 32 x 48."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(3):
        noise = np.random.default_rng(index).integers(0, 256, RGB, np.uint8)
        Image.fromarray(noise).save(folder / f"{index}.png")
    return folder


# The program itself


def test_help_lists_the_commands_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    out = capsys.readouterr().out
    places = [out.index(f"\n  {name} ") for name in cli.ORDER]
    assert places == sorted(places)
    assert f"  sample       {sample.HELP}\n" in out


@pytest.mark.parametrize("name", cli.ORDER)
def test_every_command_shows_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(name, "--help") == 0
    out = capsys.readouterr().out
    assert out.startswith(f"usage: latentloop {name}")
    assert "--debug" in out


def test_no_command_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 2
    assert capsys.readouterr().err.startswith("usage: latentloop")


def test_unknown_commands_and_options(fails: Callable[..., str]) -> None:
    assert "did you mean sample?" in fails(2, "smaple")
    assert "see `latentloop --help`" in fails(2, "qqq")
    assert "no option --quick" in fails(2, "--quick", "sample")
    assert "--colour; see `latentloop sample --help`" in fails(2, "sample", "--out", "a.png", "--colour")
    assert "--out" in fails(2, "sample")
    assert "'many' is not a positive integer" in fails(2, "sample", "-n", "many", "--out", "a.png")


def test_a_command_that_cannot_be_imported_breaks_no_other(
    monkeypatch: pytest.MonkeyPatch, fails: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    found = {
        **cli.commands(),
        "broken": EntryPoint("broken", "no_such_package.command", cli.GROUP),
        "hollow": EntryPoint("hollow", "latentloop.errors", cli.GROUP),
    }
    monkeypatch.setattr(cli, "commands", lambda: found)
    assert "'broken' (no_such_package.command) cannot be loaded: ModuleNotFoundError" in fails(1, "broken")
    assert "'hollow' (latentloop.errors) has no HELP" in fails(1, "hollow")
    assert run("--help") == 0
    out = capsys.readouterr().out
    assert "broken       (not usable: " in out
    assert f"  info         {info.HELP}\n" in out


def test_unexpected_errors_are_one_line_unless_debug(
    monkeypatch: pytest.MonkeyPatch, fails: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_: object) -> int:
        raise ZeroDivisionError("two\nlines")

    monkeypatch.setattr(info, "run", broken)
    assert fails(1, "info") == "latentloop: error: ZeroDivisionError: two lines (--debug shows the traceback)\n"
    for arguments in (("info", "--debug"), ("--debug", "info")):
        assert run(*arguments) == 1
        assert "Traceback" in capsys.readouterr().err


def test_interrupt_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(info, "run", lambda _: signal.raise_signal(signal.SIGINT))
    assert run("info") == 130
    assert capsys.readouterr().err == "latentloop: interrupted\n"


def test_installed_program(small_bundle: Path, tmp_path: Path) -> None:
    version = program("--version")
    assert (version.returncode, version.stderr) == (0, "")
    assert version.stdout.startswith("latentloop ")
    wrong = program("sample", "--bundle", tmp_path / "nothing", "--out", tmp_path / "a.png")
    assert wrong.returncode == 1
    assert wrong.stderr.count("\n") == 1
    assert "Traceback" not in wrong.stderr
    assert "Traceback" in program("info", "--bundle", tmp_path / "nothing", "--debug").stderr


@pytest.mark.parametrize(
    ("arguments", "absent"),
    [
        ("['sample', '--out', 'a.png', '-n', '1', '--bundle', BUNDLE]", ("latentloop.commands.info", "torch", "onnx")),
        ("['--help']", ("numpy", "onnxruntime", "torch", "PIL")),
        ("['--version']", ("numpy", "onnxruntime", "torch", "latentloop.commands")),
    ],
)
def test_only_what_is_needed_is_imported(
    small_bundle: Path, tmp_path: Path, arguments: str, absent: tuple[str, ...]
) -> None:
    script = f"""
import sys
from latentloop.cli import main
status = main({arguments.replace("BUNDLE", repr(str(small_bundle)))})
sys.exit(status or " ".join(name for name in {absent!r} if name in sys.modules))
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert result.stderr.strip() == ""


def test_closed_and_full_stdout() -> None:
    with subprocess.Popen([PROGRAM, "info"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141
    with open("/dev/full", "w") as full:
        result = subprocess.run([PROGRAM, "--version"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert result.returncode == 1
    assert result.stderr.startswith("latentloop: error: OSError: ")
    assert result.stderr.count("\n") == 1


# sample


def test_a_seed_gives_the_same_grid(small_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        arguments = ("-n", 4, "--seed", 7, "--label", "bag", "--columns", 3, "--scale", 3)
        assert run("sample", "--bundle", small_bundle, *arguments, "--out", tmp_path / f"{name}.png") == 0
        assert "4 images in " in (line := capsys.readouterr().out)
        assert line.endswith("seeds 7 to 10\n")
    assert pixels(tmp_path / "a.png").shape == (2 * 32 * 3 + 2, 3 * 48 * 3 + 2 * 2, 3)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_folder_names_labels_and_seeds_and_each_can_be_drawn_again(small_bundle: Path, tmp_path: Path) -> None:
    common = ("sample", "--bundle", small_bundle, "--batch-size", 3)
    assert run(*common, "-n", 5, "--seed", 5, "--label", "boot, coat", "--label", "1", "--out", f"{tmp_path}/all/") == 0
    names = sorted(file.name for file in (tmp_path / "all").iterdir())
    expected = ["boot-seed5", "coat-seed6", "bag-seed7", "boot-seed8", "coat-seed9"]
    assert names == [f"{index:05}-{name}.png" for index, name in enumerate(expected)]
    assert run(*common, "-n", 1, "--seed", 9, "--label", "coat", "--out", f"{tmp_path}/one/") == 0
    one, again = tmp_path / "one" / "00000-coat-seed9.png", tmp_path / "all" / names[4]
    assert pixels(one).shape == RGB
    assert np.array_equal(pixels(one), pixels(again))


def test_per_class_puts_a_class_in_a_row(
    small_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a.webp"
    assert run("sample", "--bundle", small_bundle, "--per-class", 2, "--seed", 0, "--out", out, "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["labels"] == ["coat", "coat", "bag", "bag", "boot", "boot"]
    assert summary["seeds"] == list(range(6))
    assert summary["file"] == str(out)
    assert summary["images_per_second"] == pytest.approx(6 / summary["seconds"])
    assert pixels(out).shape == (3 * 66 - 2, 2 * 98 - 2, 3)  # enlarged twice, to 64 rows


def test_given_codes_are_kept(small_bundle: Path, tmp_path: Path) -> None:
    common = ("sample", "--bundle", small_bundle)
    first, second = tmp_path / "first.npz", tmp_path / "second.npz"
    assert run(*common, "-n", 3, "--seed", 1, "--out", tmp_path / "a.png", "--codes", first) == 0
    given = ("--given", first, "--keep", "top")
    assert run(*common, *given, "--seed", 50, "--out", tmp_path / "b.png", "--codes", second) == 0
    before, after = codes(first), codes(second)
    assert before["seeds"].tolist() == [1, 2, 3]
    assert before["labels"].tolist() == [0, 1, 2]
    assert np.array_equal(before["top"], after["top"])
    assert not np.array_equal(before["bottom"], after["bottom"])
    assert run("decode", first, "--bundle", small_bundle, "--out", tmp_path / "c.png") == 0
    assert np.array_equal(pixels(tmp_path / "a.png"), pixels(tmp_path / "c.png"))
    np.savez(tmp_path / "one.npz", top=before["top"][:1])
    assert (
        run(
            *common, "-n", 2, "--given", tmp_path / "one.npz", "--out", tmp_path / "d.png", "--codes", second, "--force"
        )
        == 0
    )
    assert np.array_equal(codes(second)["top"], before["top"][[0, 0]])


def test_given_codes_that_do_not_fit(small_bundle: Path, tmp_path: Path, fails: Callable[..., str]) -> None:
    given = tmp_path / "codes.npz"
    np.savez(given, top=np.zeros((3, 4, 6), np.int64))
    common = ("sample", "--bundle", small_bundle, "--out", tmp_path / "a.png", "--given", given)
    assert "codes.npz holds codes of 3 images, expected 2" in fails(2, *common, "-n", 2)
    assert "codes.npz has no codes [N, h, w] of 'bottom', it holds: top" in fails(2, *common, "--keep", "top,bottom")


def test_settings_reach_the_sampler(small_bundle: Path, tmp_path: Path) -> None:
    drawn = []
    for seed in (1, 2):  # the most probable code is the same for every seed
        out = tmp_path / f"{seed}.npz"
        settings = ("--top-k", "top=1", "--temperature", "top=0.5,bottom=2", "--top-p", "0.9999", "--label", "coat")
        arguments = ("-n", 2, "--seed", seed, "--codes", out, "--out", tmp_path / f"{seed}.png")
        assert run("sample", "--bundle", small_bundle, *settings, *arguments) == 0
        drawn.append(codes(out))
    assert np.array_equal(drawn[0]["top"], drawn[1]["top"])
    assert not np.array_equal(drawn[0]["bottom"], drawn[1]["bottom"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--label hat", "label 'hat' is none of the 3 classes: coat, bag, boot"),
        ("--label coat,3", "label 3 is none"),
        ("--temperature 0", "temperature for top is 0.0, expected over 0"),
        ("--temperature nan", "temperature for top is nan"),
        ("--temperature hot", "neither a number nor level=number"),
        ("--temperature top=1,top=2", "names a level twice"),
        ("--top-p middle=0.5", "top_p: there is no level 'middle', the bundle has: top, bottom"),
        ("--top-p 1.5", "at most 1"),
        ("--top-k 2.5", "expected an integer"),
        ("--seed -1", "from 0 to 2**64 - 1"),
        ("--threads 0", "not a positive integer"),
        ("--device tpu", "expected auto or cpu"),
        ("--count 3 --per-class 3", "not allowed with"),
        ("--keep top", "--given, which is missing"),
        ("--codes codes.txt", "expected .npz"),
    ],
)
def test_wrong_requests(
    small_bundle: Path, tmp_path: Path, fails: Callable[..., str], arguments: str, message: str
) -> None:
    common = ("sample", "--bundle", small_bundle, "--out", tmp_path / "a.png")
    assert message in fails(2, *common, *arguments.split())
    assert not list(tmp_path.iterdir())


def test_a_device_that_is_not_there_is_a_failure(fails: Callable[..., str], small_bundle: Path, tmp_path: Path) -> None:
    common = ("sample", "--bundle", small_bundle, "--out", tmp_path / "a.png")
    assert "runs on the CPU only" in fails(1, *common, "--device", "cuda")


def test_outputs_are_checked_before_any_work(tmp_path: Path, fails: Callable[..., str]) -> None:
    (tmp_path / "a.png").write_text("mine")
    (tmp_path / "a.npz").write_text("mine")
    (tmp_path / "a").mkdir()
    common = ("sample", "--bundle", tmp_path / "nothing")  # would fail, had the work begun
    for out in ("a.png", "a/"):
        assert "exists; pass --force" in fails(1, *common, "--out", f"{tmp_path}/{out}")
    assert "exists" in fails(1, *common, "--out", tmp_path / "b.png", "--codes", tmp_path / "a.npz")
    assert "move it" in fails(2, *common, "--out", f"{tmp_path}/b/", "--codes", tmp_path / "b" / "b.npz")
    assert "expected one of .png" in fails(2, *common, "--out", tmp_path / "b.gif")
    assert "exists" in fails(1, "encode", tmp_path, "--out", tmp_path / "a.npz")
    assert "exists" in fails(1, "decode", "no.npz", "--out", tmp_path / "a.png")
    assert "exists" in fails(1, "reconstruct", tmp_path, "--out", tmp_path / "a.png")
    assert (tmp_path / "a.png").read_text() == "mine"


def test_force_replaces(small_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("old")
    assert run("sample", "--bundle", small_bundle, "-n", 1, "--out", tmp_path / "a.png", "--force") == 0
    assert pixels(tmp_path / "a.png").shape == (64, 96, 3)


def test_a_grid_too_large_for_its_format_is_refused_before_the_work(
    small_bundle: Path, tmp_path: Path, fails: Callable[..., str]
) -> None:
    arguments = ("sample", "--bundle", small_bundle, "-n", 10**6, "--columns", 1, "--out", tmp_path / "a.webp")
    assert ".webp holds 16383 at most" in fails(2, *arguments)


def test_a_corrupt_bundle_names_the_file(small_bundle: Path, tmp_path: Path, fails: Callable[..., str]) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(small_bundle, bundle)
    whole = (bundle / "decoder.onnx").read_bytes()
    (bundle / "decoder.onnx").write_bytes(whole[:-1])
    assert "decoder.onnx has " in fails(1, "sample", "--bundle", bundle, "--out", tmp_path / "a.png")
    assert "decoder.onnx has " in fails(1, "info", "--bundle", bundle)
    assert not (tmp_path / "a.png").exists()


def test_a_bundle_without_priors_or_classes(
    grey_bundle: Path, tmp_path: Path, fails: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    common = ("sample", "--bundle", grey_bundle, "--out", tmp_path / "a.png")
    assert "no prior for the level 'top'" in fails(2, *common)
    assert "--per-class needs a bundle with classes" in fails(2, *common, "--per-class", 2)
    Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).save(tmp_path / "grey.png")
    pairs = tmp_path / "pairs.png"
    assert run("reconstruct", tmp_path / "grey.png", "--bundle", grey_bundle, "--out", pairs, "--scale", 1) == 0
    assert pixels(pairs).shape == (2 * 18 - 2, 16)


@pytest.mark.parametrize("output", [["--out", "a.png"], ["--out", "a/"], ["--out", "a.png", "--codes", "a.npz"]])
def test_a_write_that_fails_leaves_nothing(small_bundle: Path, tmp_path: Path, output: list[str]) -> None:
    limited = ["sh", "-c", 'ulimit -f 1; exec "$@"', "sh"]  # files of at most 512 bytes: a real failure half-way
    command = [*limited, str(PROGRAM), "sample", "--bundle", str(small_bundle), "-n", "9", "--seed", "1", *output]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert result.returncode == 1
    assert result.stderr.startswith("latentloop: error: cannot write ")
    assert result.stderr.endswith(f"{output[-1].rstrip('/')}: File too large\n")
    assert result.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


# Ctrl-C while sampling


def interrupt_after(monkeypatch: pytest.MonkeyPatch, images: int, times: int = 1) -> None:
    """Ctrl-C, as often as said, in every row drawn once that many images are finished."""
    original = Sampler.sample

    def patched(self: Sampler, n: int, *, callback: Callable[[Progress], bool], **options: Any) -> Samples:
        def after_row(progress: Progress) -> bool:
            if progress.images_done >= images:
                for _ in range(times):
                    signal.raise_signal(signal.SIGINT)
            return callback(progress)

        return original(self, n, callback=after_row, **options)

    monkeypatch.setattr(Sampler, "sample", patched)


def test_interrupt_writes_finished_images(
    small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = signal.getsignal(signal.SIGINT)
    common = ("sample", "--bundle", small_bundle, "--batch-size", 2, "--seed", 4)
    assert run(*common, "-n", 8, "--out", f"{tmp_path}/all/") == 0
    interrupt_after(monkeypatch, images=4)
    assert run(*common, "-n", 8, "--out", f"{tmp_path}/some/", "--codes", tmp_path / "some.npz") == 130
    assert capsys.readouterr().err == "latentloop: interrupted, 4 of 8 images were finished and written\n"
    some = sorted((tmp_path / "some").iterdir())
    assert [file.name for file in some] == sorted(file.name for file in (tmp_path / "all").iterdir())[:4]
    assert np.array_equal(read_images(some, RGB), read_images([tmp_path / "all"], RGB)[:4])
    assert codes(tmp_path / "some.npz")["seeds"].tolist() == [4, 5, 6, 7]
    assert signal.getsignal(signal.SIGINT) == handler


@pytest.mark.parametrize("times", [1, 2])
def test_interrupt_before_the_first_image_writes_nothing(
    small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], times: int
) -> None:
    handler = signal.getsignal(signal.SIGINT)
    interrupt_after(monkeypatch, images=0, times=times)
    assert run("sample", "--bundle", small_bundle, "-n", 2, "--out", tmp_path / "a.png") == 130
    out, err = capsys.readouterr()
    assert out == ""
    assert err == ("latentloop: interrupted, no image was finished\n" if times == 1 else "latentloop: interrupted\n")
    assert not list(tmp_path.iterdir())
    assert signal.getsignal(signal.SIGINT) == handler


# encode, decode, reconstruct


def test_encode_then_decode(
    small_bundle: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "codes.npz"
    assert run("encode", photos, photos / "0.png", "--bundle", small_bundle, "--out", out) == 0
    assert "codes of 4 images (top 4 x 6, bottom 8 x 12)" in capsys.readouterr().out
    found = codes(out)
    assert found["files"].tolist() == [str(photos / name) for name in ("0.png", "1.png", "2.png", "0.png")]
    assert found["top"].shape == (4, 4, 6)
    assert found["bottom"].shape == (4, 8, 12)
    assert np.array_equal(found["bottom"][0], found["bottom"][3])
    assert run("decode", out, "--bundle", small_bundle, "--out", f"{tmp_path}/decoded/", "--json") == 0
    assert json.loads(capsys.readouterr().out)["images"] == 4
    assert len(list((tmp_path / "decoded").iterdir())) == 4
    assert run("reconstruct", photos, "--bundle", small_bundle, "--out", f"{tmp_path}/rebuilt/") == 0
    for name in ("00000.png", "00001.png", "00002.png"):
        assert np.array_equal(pixels(tmp_path / "decoded" / name), pixels(tmp_path / "rebuilt" / name))


def test_reconstruct_measures_and_shows_pairs(
    small_bundle: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "pairs.png"
    arguments = ("--columns", 2, "--scale", 1, "--out", out, "--json")
    assert run("reconstruct", photos, "--bundle", small_bundle, *arguments) == 0
    summary = json.loads(capsys.readouterr().out)
    found = pixels(out)
    assert found.shape == (4 * 34 - 2, 2 * 50 - 2, 3)
    originals, rebuilt = read_images([photos], RGB), []
    for index in range(3):
        top, left = index // 2 * 2 * 34, index % 2 * 50
        assert np.array_equal(found[top : top + 32, left : left + 48], originals[index])
        rebuilt.append(found[top + 34 : top + 66, left : left + 48])
    error = np.mean((originals / 255 - np.array(rebuilt) / 255) ** 2)
    assert summary["mean_squared_error"] == pytest.approx(error)
    assert summary["psnr_db"] == pytest.approx(-10 * np.log10(error))
    assert run("reconstruct", photos, "--bundle", small_bundle) == 0
    assert f"mean squared error {error:.6f}, PSNR" in capsys.readouterr().out


def test_wrong_image_size(small_bundle: Path, tmp_path: Path, fails: Callable[..., str]) -> None:
    Image.new("RGB", (10, 20)).save(tmp_path / "a.png")
    out = tmp_path / "a.npz"
    for command in (("encode", "--out", out), ("reconstruct",)):
        message = fails(2, *command, tmp_path / "a.png", "--bundle", small_bundle)
        assert "a.png has 20 x 10 pixels (height x width), expected 32 x 48; --resize" in message
    assert not out.exists()
    assert run("encode", tmp_path / "a.png", "--bundle", small_bundle, "--resize", "--out", out) == 0


class Hostile:
    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return Path.touch, ("pickled-code-ran",)  # type: ignore[return-value]


TOP, BOTTOM = np.zeros((2, 4, 6), np.int64), np.zeros((2, 8, 12), np.int64)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"top": np.array([Hostile()]), "bottom": BOTTOM}, "cannot be read as an .npz file"),
        ({"top": TOP}, "codes of the level 'bottom' are missing"),
        ({"top": TOP, "bottom": BOTTOM, "middle": TOP}, "there is no level 'middle'"),
        ({"top": TOP + 0.5, "bottom": BOTTOM}, "dtype float64, expected integers"),
        ({"top": TOP + 11, "bottom": BOTTOM}, "range from 11 to 11, expected 0 to 10"),
        ({"top": TOP[:1], "bottom": BOTTOM}, "codes of bottom have shape [2, 8, 12], expected [1, 8, 12]"),
        ({"top": TOP[0], "bottom": BOTTOM}, "codes of top have shape [4, 6]"),
        ({"top": TOP[:0], "bottom": BOTTOM[:0]}, "holds codes of no image"),
        (None, "cannot be read: No such file"),
        (b"", "cannot be read as an .npz file"),
        (b"PK\x03\x04 and then nonsense", "cannot be read as an .npz file"),
        (np.zeros(3, np.int64), "holds one array, expected an .npz file"),
        (b"\x93NUMPY", "cannot be read as an .npz file"),
    ],
)
def test_hostile_codes(
    small_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fails: Callable[..., str],
    arrays: dict[str, np.ndarray] | np.ndarray | bytes | None,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "codes.npz"
    if isinstance(arrays, bytes):
        path.write_bytes(arrays)
    elif isinstance(arrays, np.ndarray):
        with path.open("wb") as file:
            np.save(file, arrays)
    elif arrays is not None:
        np.savez(path, **arrays)  # type: ignore[arg-type]
    found = fails(2, "decode", path, "--bundle", small_bundle, "--out", "a.png")
    assert message in found
    assert "codes.npz" in found
    assert {file.name for file in tmp_path.iterdir()} <= {"codes.npz"}


# info and the bundle that ships


def test_info_describes_a_bundle(
    small_bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("info", "--bundle", small_bundle) == 0
    text = capsys.readouterr().out
    assert "device cpu        yes\n" in text
    assert "device cuda       no: " in text
    assert "  top             4 x 6 codes of 11, a prior\n" in text
    assert "coat, bag, boot" in text
    monkeypatch.setattr(info, "_version", lambda _: "1.0")
    assert run("info", "--bundle", small_bundle, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["bundle"]["image"] == list(RGB)
    assert "CPUExecutionProvider" in found["providers"]
    assert "onnxruntime and onnxruntime-gpu are both installed" in found["warning"]


def test_the_bundle_that_ships_is_the_default(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("info", "--json") == 0
    described = json.loads(capsys.readouterr().out)["bundle"]
    assert described["default"]
    assert len(described["classes"]) == 10
    assert run("sample", "-n", 2, "--seed", 1, "--out", f"{tmp_path}/samples/") == 0
    written = list((tmp_path / "samples").iterdir())
    assert len(written) == 2
    assert pixels(written[0]).shape[:2] == tuple(described["image"][:2])
