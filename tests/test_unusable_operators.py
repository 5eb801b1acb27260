"""Operator libraries that cannot be loaded: LatentLoop warns once, and runs graphs with standard operators."""

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
from cpu_sessions import cpu_session
from gpu_machines import Machines
from random_models import LIBRARY

from latentloop import Bundle, Sampler
from latentloop.cli.commands import info
from latentloop.kernels import library
from latentloop.kernels.library import OperatorsWarning

if LIBRARY is None:
    pytest.skip("no library built", allow_module_level=True)
CONTENT = LIBRARY.read_bytes()


def library_with(old: bytes, new: bytes) -> bytes:
    """Returns the operator library's content with ``old`` replaced by ``new``."""
    assert old in CONTENT
    return CONTENT.replace(old, new)


BROKEN: dict[str, tuple[bytes, str]] = {
    "truncated": (CONTENT[:20000], "truncated, 20000 of"),
    "empty": (b"", "not a shared library"),
    "text": (b"hello " * 100, "not a shared library"),
    "zeros": (bytes(len(CONTENT)), "not a shared library"),
    "missing dependency": (library_with(b"libm.so.6\0", b"libx.so.6\0"), r"libx\.so\.6"),
    "newer glibc": (re.sub(rb"\0GLIBC_2\.\d\d\0", b"\0GLIBC_9.99\0", CONTENT), "GLIBC_9.99"),
    "other processor architecture": (CONTENT[:18] + b"\xb7\0" + CONTENT[20:], "cannot be loaded: "),
    "no entry point": (library_with(b"\0RegisterCustomOps\0", b"\0RegisterCustomXps\0"), "RegisterCustomOps"),
}


@pytest.fixture(params=BROKEN)
def broken(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str]:
    content, reason = BROKEN[request.param]
    path = tmp_path / "operators.so"
    path.write_bytes(content)
    return path, reason


@pytest.fixture
def unloadable(tmp_path: Path) -> Path:
    """Returns the path of an operator library that depends on a missing library."""
    path = tmp_path / "operators.so"
    path.write_bytes(library_with(b"libm.so.6\0", b"libx.so.6\0"))
    return path


def test_graphs_run_without_an_unusable_library(small_bundle: Path, broken: tuple[Path, str]) -> None:
    path, reason = broken
    images = np.zeros((1, 32, 48, 3), np.uint8)
    expected = cpu_session(small_bundle / "encoder.onnx", 1).run({"images": images})
    with pytest.warns(OperatorsWarning, match=reason) as warned:
        graph = cpu_session(small_bundle / "encoder.onnx", 1, path)
    (warning,) = warned
    text = str(warning.message)
    assert "\n" not in text
    assert all(part in text for part in (str(path), "standard ONNX operators, more slowly", "reinstall latentloop"))
    again = cpu_session(small_bundle / "encoder.onnx", 1, path)  # does not warn again
    for session in (graph, again):
        for name, codes in session.run({"images": images}).items():
            np.testing.assert_array_equal(codes, expected[name])


def test_info_reports_the_reason_without_a_warning(broken: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    path, _ = broken
    monkeypatch.setattr(library, "operators", lambda: path)
    text = info._operators()
    assert text.startswith(f"{path} cannot be loaded: ")
    assert "standard ONNX operators" in text


@pytest.mark.parametrize("kind", ["dangling link", "link to itself", "directory", "pipe"])
def test_paths_that_are_not_files_are_reported(
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
    reason = f"a link to {os.readlink(path)}, which does not exist" if "link" in kind else "not a file"
    assert info._operators().startswith(f"{path} cannot be loaded: {reason}; ")
    with pytest.warns(OperatorsWarning, match=f"cannot be loaded: {reason}") as warned:
        assert len(Sampler(Bundle.open(small_bundle), "cpu", 1).sample(2).images) == 2
    assert len(warned) == 1


def test_a_library_without_instruction_set_is_used(
    small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "operators.so"
    path.write_bytes(library_with(b"\0latentloop_instruction_set\0", b"\0latentloop_instruction_xxx\0"))
    monkeypatch.setattr(library, "operators", lambda: path)
    assert info._operators() == f"instruction set not known ({path})"
    cpu_session(small_bundle / "encoder.onnx", 1, path)  # does not warn


def test_warnings_as_errors_are_not_bundle_errors(
    small_bundle: Path, unloadable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("latentloop.backends.cpu.session.operators", lambda: unloadable)
    sampler = Sampler(Bundle.open(small_bundle), "cpu", 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(OperatorsWarning, match="libx"):
            sampler.sample(1)
    assert len(sampler.sample(1).images) == 1


def test_commands_print_the_warning_in_one_line(small_bundle: Path, unloadable: Path, tmp_path: Path) -> None:
    script = f"""
import sys
from pathlib import Path
import latentloop.backends.cpu.session
latentloop.backends.cpu.session.operators = lambda: Path({str(unloadable)!r})
from latentloop.cli.program import main
sys.exit(main(sys.argv[1:]))
"""
    commands: list[list[object]] = [
        ["sample", "-n", "1", "--bundle", small_bundle, "--out", tmp_path / "x.png"],
        ["verify", small_bundle],
        ["encode", tmp_path / "x.png", "--resize", "--bundle", small_bundle, "--out", tmp_path / "x.npz"],
    ]
    for command in commands:
        program = [sys.executable, "-c", script, *map(str, command)]
        process = subprocess.run(program, capture_output=True, text=True, timeout=60)
        assert process.returncode == 0
        assert process.stderr.startswith("latentloop: warning: the native operators cannot be loaded: libx.so.6: ")
        assert process.stderr.count("\n") == 1


def test_nearest_codebook_works_without_the_library(unloadable: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "operators", lambda: unloadable)
    load: Callable[[], object] = library.load.__wrapped__
    with pytest.warns(OperatorsWarning, match="libx"):
        assert load() is None
    assert load() is None  # does not warn again


def test_an_unusable_gpu_library_causes_one_warning(
    small_bundle: Path, unloadable: Path, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    machines()
    monkeypatch.setattr("latentloop.backends.gpu.onnxruntime_sessions.OPERATORS", unloadable)
    sampler = Sampler(Bundle.open(small_bundle), "cuda", 1)
    with pytest.warns(OperatorsWarning, match="libx") as warned:
        sampler.sample(1)
    assert len(warned) == 1
