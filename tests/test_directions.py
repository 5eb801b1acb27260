"""Imports follow the direction of data: which module may import which, and what sampling must not load."""

from __future__ import annotations

import ast
import re
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
SOURCES = (".py", ".h", ".cpp", ".cu", ".cuh", ".sh")
MAX_FILES = 16  # directly in a folder
HEAVY = ("torch", "onnx", "safetensors")
# The rooms of each folder, from the highest to the lowest: a module imports from its own room and from lower ones only.
ROOMS = {
    "runtime": [
        ("cli",),
        ("bulk", "evaluation"),
        ("sampling",),
        ("backends",),
        ("engines",),
        ("bundles",),
        ("images",),
        ("io",),
        ("draws", "environment"),
        ("errors", "_version"),
    ],
    "export": [
        ("commands",),
        ("bundle", "tensorrt", "train"),
        ("onnx_classifiers",),
        ("inplace", "graphs", "planets"),
        ("evaluation", "specification"),
        ("data", "layouts"),
        ("models", "state_dicts", "rounding"),
        ("checkpoints",),
        ("configuration",),
    ],
    "kernels": [("nearest_codebook",), ("driver", "library", "array_like"), ("element_types",)],
    "bench": [
        ("commands",),
        ("embedding", "gpu", "nearest", "quality", "report", "sampling", "throughput"),
        ("hosts",),
        ("baselines",),
        ("workload",),
        ("machine",),
        ("figures",),
    ],
}
# The rooms of runtime/cpp, in the same order; files beside the rooms are below all. Of the kernels only declarations
# of the C interface of ONNX Runtime are included.
CPP_ROOMS = [
    ("api",),
    ("sampling", "cpu", "tensorrt"),
    ("gpu",),
    ("onnxruntime", "engines", "cuda"),
    ("bundles", "libraries"),
    ("draws", "io"),
    ("include",),
]
CPP_KERNELS = "kernels/operators/onnxruntime"


def imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: a relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def folder_of(module: str) -> str | None:
    """Returns the top-level folder of a module of the package; None for other modules."""
    if module.split(".")[0] != "latentloop":
        return None
    name = [*module.split("."), ""][1]
    return name if name in FOLDERS else "runtime"


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


def room_of(module: str, folder: str) -> str | None:
    """Returns the room of a module in ``folder``; None for the folder's package itself and for modules elsewhere."""
    if folder_of(module) != folder:
        return None
    parts = module.split(".")[FOLDERS[folder].count(".") + 1 :]
    return parts[0] if parts else None


@pytest.mark.parametrize("folder", FOLDERS)
def test_rooms_import_only_from_lower_rooms(folder: str) -> None:
    height = {room: -index for index, rooms in enumerate(ROOMS[folder]) for room in rooms}
    package = {f"{folder}/__init__.py", f"{folder}/__main__.py"}
    found = set()
    for file in sorted((ROOT / folder).rglob("*.py")):
        path = file.relative_to(ROOT)
        if str(path) in package:
            continue
        own = path.parts[1].removesuffix(".py")
        found.add(own)
        for module in imports(file):
            room = room_of(module, folder)
            if room is not None:  # `from latentloop import name` counts as an import from a room that does not exist
                assert room in height, f"{path} imports {module} from the package instead of its room"
                assert room == own or height[room] < height[own], f"{path} imports {module}"
    assert found == set(height)


def test_the_c_library_includes_only_lower_rooms() -> None:
    root = ROOT / "runtime" / "cpp"
    height = {room: -index for index, rooms in enumerate(CPP_ROOMS) for room in rooms}
    found = set()
    for file in sorted(path for path in root.rglob("*") if path.suffix in (".h", ".cpp")):
        own = file.relative_to(root).parts[0] if file.parent != root else None
        for name in re.findall(r'#include "(.*)"', file.read_text(encoding="utf-8")):
            target = (file.parent / name).resolve().relative_to(ROOT)
            if target.parts[0] == "kernels":
                assert own == "onnxruntime", f"{file} includes {name}"
                assert str(target.parent) == CPP_KERNELS, f"{file} includes {name}"
                continue
            room = target.parts[2] if len(target.parts) == 4 else None
            if own is not None and room is not None:
                assert room == own or height[room] < height[own], f"{file} includes {name}"
        found.add(own)
    assert found == {*height, None}


@pytest.mark.parametrize("folder", FOLDERS)
def test_shipped_code_imports_no_tests_and_patches_nothing(folder: str) -> None:
    tests = {path.stem for path in (ROOT / "tests").iterdir()}
    for file in sorted((ROOT / folder).rglob("*.py")):
        for module in imports(file):
            assert module.split(".")[0] not in {*tests, "tests", "pytest", "unittest"}, f"{file} imports {module}"
        assert "setattr(" not in file.read_text(encoding="utf-8"), f"{file} sets attributes by name"


def test_folders_have_few_files() -> None:
    for folder in FOLDERS:
        for directory in [ROOT / folder, *(path for path in (ROOT / folder).rglob("*") if path.is_dir())]:
            files = [path for path in directory.iterdir() if path.suffix in SOURCES]
            assert len(files) <= MAX_FILES, f"{directory} has {len(files)} files"


def test_importing_the_package_loads_only_what_sampling_needs() -> None:
    code = (
        "import sys; from latentloop import Bundle, Sampler, Samples\n"
        f"print([m for m in {[*HEAVY, 'runtime', 'export', 'kernels', 'bench', 'PIL', 'tqdm']} if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    assert result.stdout.strip() == "[]"


def test_sampling_on_a_cpu_loads_nothing_for_gpus(tmp_path: Path) -> None:
    code = (
        "import sys; from latentloop.cli.program import main\n"
        f"assert main(['sample', '-n', '1', '--device', 'cpu', '--out', {str(tmp_path / 'a.png')!r}]) == 0\n"
        "late = ('latentloop.engines', 'latentloop.backends.gpu', 'latentloop.kernels.driver')\n"
        "print('late:', [m for m in sys.modules if m.startswith(late)])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    assert result.stdout.splitlines()[-1] == "late: []"
