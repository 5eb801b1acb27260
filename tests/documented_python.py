"""Runs documented Python code, and compares the comments behind its expressions with their values."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any


def blocks(page: Path, language: str) -> list[str]:
    """Returns the blocks of code of a page."""
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def run_documented(code: str, names: dict[str, Any]) -> int:
    """Runs a block with the variables ``names``, and returns how many comments it has compared.

    Behind an expression, a comment must hold the dtype and shape of arrays, and begin with any other value.
    """
    exec(code, names)
    compared = 0
    for line in code.splitlines():
        source, _, comment = line.partition("#")
        if not source.strip() or not comment or line[0] == " " or re.match(r"from |[\w, ]+ = ", source):
            continue
        result = eval(source.strip(), names)
        is_arrays = isinstance(result, tuple) and all(hasattr(value, "shape") for value in result)
        for value in result if is_arrays else (result,):
            if getattr(value, "shape", ()):
                assert str(value.dtype) in comment, line
                assert str(list(value.shape)) in comment, line
            elif not isinstance(value, float):
                assert re.match(rf"{re.escape(str(value))}(\W|$)", comment.strip()), line
            compared += 1
    return compared
