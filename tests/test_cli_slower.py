"""`latentloop sample` says in its summary that it ran slower than it could, and nothing if all is well."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import program, run
from random_models import LIBRARY

from latentloop.backends.cpu import session
from latentloop.cli import slower
from latentloop.environment import machine
from latentloop.kernels import library

needs_library = pytest.mark.skipif(not LIBRARY, reason="no library built")


@needs_library
def test_nothing_is_said_if_all_is_well(
    small_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(slower.VARIABLE, raising=False)
    assert run("sample", small_bundle, "-n", 1, "--device", "cpu", "--threads", 1, "--out", tmp_path / "a.png") == 0
    assert "slower" not in capsys.readouterr().out


def test_the_summary_says_that_operators_are_missing(
    small_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "operators", lambda: None)
    monkeypatch.setattr(session, "operators", lambda: None)
    command = ("sample", small_bundle, "-n", 1, "--device", "cpu", "--force", "--out", tmp_path / "a.png")
    reason = "the native operators are not built: install a C++ compiler and reinstall latentloop"
    assert run(*command) == 0
    assert capsys.readouterr().out.endswith(f"; slower than possible here: {reason}\n")
    assert run(*command, "--json") == 0
    assert json.loads(capsys.readouterr().out)["slower_because"] == [reason]


def test_operators_that_cannot_be_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "operators.so"
    monkeypatch.setattr(library, "operators", lambda: path)
    monkeypatch.setattr(library, "_unusable", {path})
    assert slower.slower_because("cpu", "cpu", "") == ["the native operators cannot be loaded: reinstall latentloop"]


@needs_library
@pytest.mark.parametrize(
    ("used", "instructions", "better"),
    [
        ("portable", ["avx2", "fma"], "avx2"),
        ("portable", ["avx2", "fma", "avx512f"], "avx512"),
        ("avx2", ["avx2", "fma", "avx512f"], "avx512"),
        ("avx2", ["avx2", "fma"], ""),
        ("portable", ["asimd"], ""),
        ("avx512", ["avx2", "fma", "avx512f"], ""),
    ],
)
def test_a_lesser_instruction_set_is_named_only_if_the_environment_chose_it(
    used: str, instructions: list[str], better: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "instruction_set", lambda _: used)
    monkeypatch.setattr(machine, "processor", lambda: {"instructions": instructions})
    monkeypatch.delenv(slower.VARIABLE, raising=False)
    assert slower.slower_because("cpu", "cpu", "") == []
    monkeypatch.setenv(slower.VARIABLE, used)
    expected = f"LATENTLOOP_INSTRUCTION_SET is {used}, this processor has {better}: unset it"
    assert slower.slower_because("cpu", "cpu", "") == ([expected] if better else [])


@needs_library
def test_a_run_with_portable_kernels(small_bundle: Path, tmp_path: Path) -> None:
    if not {"avx2", "fma"} <= set(machine.processor()["instructions"]):
        pytest.skip("this processor has portable kernels only")
    environment = {"PATH": "/usr/bin:/bin", slower.VARIABLE: "portable"}
    result = program("sample", small_bundle, "-n", 1, "--device", "cpu", "--out", tmp_path / "a.png", env=environment)
    assert "slower than possible here: LATENTLOOP_INSTRUCTION_SET is portable, this processor has avx" in result.stdout


@needs_library
def test_a_gpu_that_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slower, "GPU", tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    reason = "cuda-bindings is not installed"
    assert slower.slower_because("cpu", "auto", reason) == [f"the GPU is not used: {reason}"]
    assert slower.slower_because("cpu", "cpu", "as requested") == []
    assert slower.slower_because("cuda:0", "auto", "") == []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert slower.slower_because("cpu", "auto", reason) == []
