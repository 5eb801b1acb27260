"""The program: commands, exit statuses and imports; and `latentloop info`."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import PROGRAM, RGB, pixels, program, run

from latentloop.cli import program as cli
from latentloop.cli.commands import info, sample
from latentloop.environment import machine
from latentloop.export.planets.dataset import SIZES
from latentloop.images.animation import LONGEST, SHORTEST


def test_help_lists_the_commands_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    out = capsys.readouterr().out
    positions = [out.index(f"\n  {name} ") for name in cli.ORDER]
    assert positions == sorted(positions)
    assert f"  {'sample':<13} {sample.HELP}\n" in out


@pytest.mark.parametrize("name", cli.ORDER)
def test_every_command_shows_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(name, "--help") == 0
    out = capsys.readouterr().out
    assert out.startswith(f"usage: latentloop {name}")
    assert "--debug" in out


@pytest.mark.parametrize(
    ("command", "limits"),
    [(("sample",), (SHORTEST, LONGEST)), (("complete",), (SHORTEST, LONGEST)), (("data", "planets"), SIZES)],
)
def test_the_help_states_ranges(
    command: tuple[str, ...], limits: tuple[int, int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*command, "--help") == 0
    assert f", {limits[0]} to {limits[1]}" in " ".join(capsys.readouterr().out.split())


def test_no_command_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 2
    assert capsys.readouterr().err.startswith("usage: latentloop")


def test_unknown_commands_and_options(fails: Callable[..., str]) -> None:
    assert "did you mean sample?" in fails(2, "smaple")
    assert "see `latentloop --help`" in fails(2, "qqq")
    assert "no option --quick" in fails(2, "--quick", "sample")
    assert "no option --colour; see `latentloop sample --help`" in fails(2, "sample", "--out", "a.png", "--colour")
    assert "--out" in fails(2, "sample")
    assert "'many' is not a positive integer" in fails(2, "sample", "-n", "many", "--out", "a.png")


def test_a_command_that_cannot_be_imported_breaks_no_other(
    monkeypatch: pytest.MonkeyPatch, fails: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    installed = {
        **cli.commands(),
        "broken": "no_such_package.command",
        "empty": "latentloop.errors",
    }
    monkeypatch.setattr(cli, "commands", lambda: installed)
    assert "'broken' (no_such_package.command) cannot be loaded: ModuleNotFoundError" in fails(1, "broken")
    assert "'empty' (latentloop.errors) has no HELP" in fails(1, "empty")
    assert run("--help") == 0
    out = capsys.readouterr().out
    assert "broken        (not usable: " in out
    assert f"  info          {info.HELP}\n" in out


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


def test_text_of_a_bundle_cannot_control_the_terminal(
    small_bundle: Path, tmp_path: Path, fails: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(small_bundle, tmp_path / "copy")
    manifest = json.loads((copy / "manifest.json").read_text())
    hostile = "\x1b[2J\r\n\u202e\ud800"
    manifest["exporter"] = manifest["classes"][0] = hostile
    manifest["provenance"]["models"] = {hostile: {"file": hostile, "sha256": 3}, "top": {"file": [], "sha256": {}}}
    (copy / "manifest.json").write_text(json.dumps(manifest))
    assert run("info", "--bundle", copy) == 0
    out = capsys.readouterr().out
    escaped = r"\x1b[2J\r\n\u202e\ud800"
    assert [line for line in out.splitlines() if not line.isprintable()] == []
    assert f"exported by {escaped}" in out
    assert f"  {escaped}'s file " in out
    assert f"{escaped}, SHA-256 not recorded" in out
    assert "name not recorded, SHA-256 not recorded" in out
    assert run("info", "--bundle", copy, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["bundle"]["checkpoints"]["top"] == {"file": None, "sha256": None, "inplace": False}
    error = fails(2, "sample", "--bundle", copy, "--label", "moon", "--out", tmp_path / "a.png")
    assert r"\x1b[2J" in error
    assert error.removesuffix("\n").isprintable()


@pytest.mark.parametrize(
    ("further", "text"), [(3_000, "3 kB"), (480_000, "480 kB"), (999_999, "1 MB"), (2_400_000, "2 MB")]
)
def test_info_rounds_the_memory_of_a_further_image_to_no_zero(further: int, text: str) -> None:
    needed = {"bytes": 2e8, "bytes_per_further_image": further, "levels": {"top": 1}, "one_level_at_a_time": False}
    assert f", {text} for each more at once" in info._needed(needed)


def test_info_says_what_the_memory_is_for(
    small_bundle: Path, grey_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for bundle, use in ((small_bundle, "to sample an image"), (grey_bundle, "to encode or decode an image")):
        assert run("info", "--bundle", bundle) == 0
        assert use in capsys.readouterr().out


@pytest.mark.parametrize("command", ["--help", "--version", "info", "info --json", "info --help", "verify"])
def test_a_full_disk_for_stdout_is_named(small_bundle: Path, command: str) -> None:
    arguments = [*command.split(), *([str(small_bundle)] if command == "verify" else [])]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([str(PROGRAM), *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "latentloop: error: stdout cannot be written: No space left on device\n"


def test_ctrl_c_prints_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(info, "run", lambda _: signal.raise_signal(signal.SIGINT))
    assert run("info") == 130
    assert capsys.readouterr().err == "latentloop: interrupted\n"


def test_installed_program(small_bundle: Path, tmp_path: Path) -> None:
    version = program("--version")
    assert (version.returncode, version.stderr) == (0, "")
    assert version.stdout.startswith("latentloop ")
    failed = program("sample", "--bundle", tmp_path / "nothing", "--out", tmp_path / "a.png")
    assert failed.returncode == 1
    assert failed.stderr.count("\n") == 1
    assert "Traceback" not in failed.stderr
    assert "Traceback" in program("verify", tmp_path / "nothing", "--debug").stderr


@pytest.mark.parametrize(
    ("arguments", "absent"),
    [
        (
            "['sample', '--out', 'a.png', '-n', '1', '--bundle', BUNDLE]",
            ("latentloop.cli.commands.info", "torch", "onnx", "importlib.metadata"),
        ),
        ("['--help']", ("numpy", "onnxruntime", "torch", "PIL")),
        ("['--version']", ("numpy", "onnxruntime", "torch", "latentloop.cli.commands.sample")),
    ],
)
def test_a_command_does_not_import_what_it_does_not_need(
    small_bundle: Path, tmp_path: Path, arguments: str, absent: tuple[str, ...]
) -> None:
    script = f"""
import sys
from latentloop.cli.program import main
status = main({arguments.replace("BUNDLE", repr(str(small_bundle)))})
sys.exit(status or " ".join(name for name in {absent!r} if name in sys.modules))
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert result.stderr.strip() == ""


def test_closed_stdout(small_bundle: Path) -> None:
    with subprocess.Popen(
        [PROGRAM, "verify", small_bundle], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141
    closed = subprocess.run(["sh", "-c", '"$0" --version >&-', PROGRAM], capture_output=True, text=True)
    assert (closed.returncode, closed.stderr) == (0, "")


def test_info_describes_a_bundle(
    small_bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("info", "--bundle", small_bundle) == 0
    text = capsys.readouterr().out
    assert re.search(r"^device cpu +yes$", text, re.MULTILINE)
    for device in ("cuda", "tensorrt", "onnxruntime-tensorrt"):
        assert re.search(rf"^device {device} +no: ", text, re.MULTILINE)
    assert re.search(r"^  top +4 x 6 codes of 11, a prior$", text, re.MULTILINE)
    assert "coat, bag, boot" in text
    monkeypatch.setattr(machine, "package_version", lambda _: "1.0")
    assert run("info", "--bundle", small_bundle, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["bundle"]["image"] == list(RGB)
    assert report["bundle"]["bytes"] == sum(file.stat().st_size for file in small_bundle.iterdir())
    assert "CPUExecutionProvider" in report["providers"]
    assert "onnxruntime and onnxruntime-gpu are both installed" in report["warning"]


def test_the_included_bundle_is_the_default(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("info", "--json") == 0
    bundle = json.loads(capsys.readouterr().out)["bundle"]
    assert bundle["default"]
    assert len(bundle["classes"]) == 8
    assert run("sample", "-n", 2, "--seed", 1, "--out", f"{tmp_path}/samples/") == 0
    written = list((tmp_path / "samples").glob("*.png"))
    assert len(written) == 2
    assert pixels(written[0]).shape[:2] == tuple(bundle["image"][:2])


@pytest.mark.parametrize("command", [("encode", ""), ("verify", ""), ("sample", "--bundle="), ("decode", "")])
def test_an_empty_path_is_not_the_working_directory(command: tuple[str, ...], fails: Callable[..., str]) -> None:
    out = ("--out", "x.npz" if command[0] == "encode" else "x.png")
    assert "is empty, expected a path" in fails(2, *command, *(() if command[0] == "verify" else out))
