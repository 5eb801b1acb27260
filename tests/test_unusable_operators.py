"""Operator libraries that cannot be loaded: a warning once, and the standard operators in their place."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from gpu_machines import Machines
from random_models import LIBRARY

from latentloop import Bundle, Sampler
from latentloop.backends.cpu.session import OrtSession
from latentloop.cli.commands import info
from latentloop.kernels import library
from latentloop.kernels.library import OperatorsWarning

if LIBRARY is None:
    pytest.skip("no library built", allow_module_level=True)
WHOLE = LIBRARY.read_bytes()


def renamed(old: bytes, new: bytes) -> bytes:
    assert old in WHOLE
    return WHOLE.replace(old, new)


BROKEN: dict[str, tuple[bytes, str]] = {
    "cut short": (WHOLE[:20000], "cut short, 20000 of"),
    "empty": (b"", "not a shared library"),
    "text": (b"hello " * 100, "not a shared library"),
    "zeros": (bytes(len(WHOLE)), "not a shared library"),
    "without a library that it needs": (renamed(b"libm.so.6\0", b"libx.so.6\0"), r"libx\.so\.6"),
    "of a newer system": (re.sub(rb"\0GLIBC_2\.\d\d\0", b"\0GLIBC_9.99\0", WHOLE), "GLIBC_9.99"),
    "of another processor": (WHOLE[:18] + b"\xb7\0" + WHOLE[20:], "cannot be loaded: "),
    "without its entry point": (renamed(b"\0RegisterCustomOps\0", b"\0RegisterCustomXps\0"), "RegisterCustomOps"),
}


@pytest.fixture(params=BROKEN)
def broken(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str]:
    content, reason = BROKEN[request.param]
    path = tmp_path / "operators.so"
    path.write_bytes(content)
    return path, reason


@pytest.fixture
def missing(tmp_path: Path) -> Path:
    """A library that needs one that is not there."""
    path = tmp_path / "operators.so"
    path.write_bytes(renamed(b"libm.so.6\0", b"libx.so.6\0"))
    return path


def test_a_graph_runs_without_a_library_that_cannot_be_loaded(small_bundle: Path, broken: tuple[Path, str]) -> None:
    path, reason = broken
    images = np.zeros((1, 32, 48, 3), np.uint8)
    expected = OrtSession(small_bundle / "encoder.onnx", 1).run({"images": images})
    with pytest.warns(OperatorsWarning, match=reason) as told:
        graph = OrtSession(small_bundle / "encoder.onnx", 1, path)
    (warning,) = told
    text = str(warning.message)
    assert "\n" not in text
    assert all(part in text for part in (str(path), "standard operators, more slowly", "reinstall latentloop"))
    again = OrtSession(small_bundle / "encoder.onnx", 1, path)  # says nothing
    for used in (graph, again):
        for name, codes in used.run({"images": images}).items():
            np.testing.assert_array_equal(codes, expected[name])


def test_info_says_why_and_does_not_warn(broken: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    path, _ = broken
    monkeypatch.setattr(library, "operators", lambda: path)
    said = info._operators()
    assert said.startswith(f"{path} cannot be loaded: ")
    assert "standard operators" in said


@pytest.mark.parametrize("kind", ["dangling link", "link to itself", "directory", "pipe"])
def test_what_is_no_file_is_not_called_unbuilt(
    small_bundle: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "__file__", str(tmp_path / "library.py"))
    assert library.operators() is None
    path = tmp_path / library.FILE_NAME
    if kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("moved.so" if kind == "dangling link" else path.name)
    reason = f"a link to {os.readlink(path)}, which is not there" if "link" in kind else "not a file"
    assert info._operators().startswith(f"{path} cannot be loaded: {reason}; ")
    with pytest.warns(OperatorsWarning, match=f"cannot be loaded: {reason}") as told:
        assert len(Sampler(Bundle.open(small_bundle), "cpu", 1).sample(2).images) == 2
    assert len(told) == 1


def test_info_says_what_sample_does_with_a_library_of_another_release(
    small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "operators.so"
    path.write_bytes(renamed(b"\0latentloop_instruction_set\0", b"\0latentloop_instruction_xxx\0"))
    monkeypatch.setattr(library, "operators", lambda: path)
    assert info._operators() == f"instruction set not known ({path})"
    OrtSession(small_bundle / "encoder.onnx", 1, path)  # without a warning


def test_a_warning_made_an_error_does_not_blame_the_bundle(
    small_bundle: Path, missing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("latentloop.backends.cpu.session.operators", lambda: missing)
    sampler = Sampler(Bundle.open(small_bundle), "cpu", 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(OperatorsWarning, match="libx"):
            sampler.sample(1)
    assert len(sampler.sample(1).images) == 1


def test_commands_say_it_in_one_line(small_bundle: Path, missing: Path, tmp_path: Path) -> None:
    script = f"""
import sys
from pathlib import Path
import latentloop.backends.cpu.session
latentloop.backends.cpu.session.operators = lambda: Path({str(missing)!r})
from latentloop.cli.program import main
sys.exit(main(sys.argv[1:]))
"""
    commands: list[list[object]] = [
        ["sample", "-n", "1", "--bundle", small_bundle, "--out", tmp_path / "x.png"],
        ["verify", small_bundle],
        ["encode", tmp_path / "x.png", "--resize", "--bundle", small_bundle, "--out", tmp_path / "x.npz"],
    ]
    for command in commands:
        started = [sys.executable, "-c", script, *map(str, command)]
        done = subprocess.run(started, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0
        assert done.stderr.startswith("latentloop: warning: the native operators cannot be loaded: libx.so.6: ")
        assert done.stderr.count("\n") == 1


def test_the_nearest_codeword_is_found_without_it(missing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "operators", lambda: missing)
    load: Callable[[], object] = library.load.__wrapped__
    with pytest.warns(OperatorsWarning, match="libx"):
        assert load() is None
    assert load() is None  # says nothing


def test_a_gpu_s_library_is_left_out_in_the_same_way(
    small_bundle: Path, missing: Path, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    machines()
    monkeypatch.setattr("latentloop.backends.gpu.onnxruntime_sessions.OPERATORS", missing)
    sampler = Sampler(Bundle.open(small_bundle), "cuda", 1)
    with pytest.warns(OperatorsWarning, match="libx") as told:
        sampler.sample(1)
    assert len(told) == 1
