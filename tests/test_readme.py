"""The README's Python code runs, its results have the documented shapes, and its commands exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from latentloop.cli.program import main

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("code", blocks("python"), ids=["sampling", "nearest codeword"])
def test_the_python_runs(code: str) -> None:
    documented = {}
    for line in code.splitlines():
        source, _, comment = line.partition("#")
        if not source.strip():
            continue
        if comment and not re.match(r"from |\w+ = ", source):
            documented[source.strip()] = comment.strip()
    names: dict[str, object] = {}
    exec(code, names)
    for source, comment in documented.items():
        result = eval(source, names)
        for value in result if isinstance(result, tuple) else (result,):
            if hasattr(value, "shape") and value.shape:
                assert str(value.dtype) in comment
                assert str(list(value.shape)) in comment


def test_the_commands_exist(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [line.split("&&")[-1].strip() for block in blocks("sh") for line in block.splitlines()]
    inline = re.findall(r"`(latentloop [^`]+)`", README)
    commands = {shlex.split(line, comments=True)[1] for line in [*lines, *inline] if line.startswith("latentloop")}
    assert {"sample", "export", "verify"} <= commands
    for command in commands:
        assert main([command, "--help"]) == 0
        assert f"latentloop {command}" in capsys.readouterr().out
