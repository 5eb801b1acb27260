"""The settings of the native build, as setup.py assigns them."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def build_setting(name: str) -> Any:
    """Returns the value that setup.py assigns to ``name``."""
    for statement in ast.parse((ROOT / "setup.py").read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign) and [ast.unparse(target) for target in statement.targets] == [name]:
            return ast.literal_eval(statement.value)
    raise AssertionError(f"setup.py: no {name}")
