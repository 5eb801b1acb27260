"""Data flows one way, and so do imports: who may import whom, and what sampling must never load."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {
    "runtime": "latentloop",
    "export": "latentloop.export",
    "kernels": "latentloop.kernels",
    "bench": "latentloop.bench",
}
MAY_IMPORT = {
    "runtime": {"runtime", "kernels"},
    "kernels": {"kernels"},
    "export": {"export", "runtime", "kernels"},
    "bench": {"bench", "export", "runtime", "kernels"},
}
HEAVY = ("torch", "onnx", "safetensors")


def imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def folder_of(module: str) -> str | None:
    """The top-level folder that a module of the package lies in."""
    if module.split(".")[0] != "latentloop":
        return None
    part = [*module.split("."), ""][1]
    return part if part in FOLDERS else "runtime"


@pytest.mark.parametrize("folder", FOLDERS)
def test_imports_flow_one_way(folder: str) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    for file in files:
        for module in imports(file):
            target = folder_of(module)
            assert target is None or target in MAY_IMPORT[folder], f"{file} imports {module}"
            if folder in ("runtime", "kernels"):
                assert module.split(".")[0] not in HEAVY, f"{file} imports {module}"


def test_importing_the_package_loads_nothing_that_sampling_does_not_need() -> None:
    code = (
        "import sys; from latentloop import Bundle, Sampler, Samples\n"
        f"print([m for m in {[*HEAVY, 'runtime', 'export', 'kernels', 'bench', 'PIL', 'tqdm']} if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    assert found.stdout.strip() == "[]"


def test_sampling_on_a_cpu_loads_nothing_for_gpus(tmp_path: Path) -> None:
    code = (
        "import sys; from latentloop.cli.program import main\n"
        f"assert main(['sample', '-n', '1', '--device', 'cpu', '--out', {str(tmp_path / 'a.png')!r}]) == 0\n"
        "late = ('latentloop.engines', 'latentloop.backends.gpu', 'latentloop.kernels.driver')\n"
        "print('late:', [m for m in sys.modules if m.startswith(late)])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    assert found.stdout.splitlines()[-1] == "late: []"
