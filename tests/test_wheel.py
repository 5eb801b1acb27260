"""The wheel: it has every module, the right tag, and libraries that request no executable stack."""

from __future__ import annotations

import platform
import re
import shutil
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GNU_STACK, EXECUTABLE = 0x6474E551, 1


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Builds the wheel from a copy of the sources, without files of earlier builds."""
    pytest.importorskip("setuptools", "77")
    source, target = tmp_path_factory.mktemp("source") / "latentloop", tmp_path_factory.mktemp("wheel")
    ignored = shutil.ignore_patterns(".*", "build", "*.egg-info", "*.so", "*.fatbin", "__pycache__", "tests", "docs")
    shutil.copytree(ROOT, source, ignore=ignored)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    subprocess.run([*command, target, source], check=True, timeout=600)
    (path,) = target.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def libraries(wheel: Path) -> dict[str, bytes]:
    """Returns the content of the wheel's shared libraries, by name."""
    with zipfile.ZipFile(wheel) as archive:
        content = {name: archive.read(name) for name in archive.namelist() if ".so" in name}
    if not content:
        pytest.skip("no library was built")
    return content


@pytest.mark.slow
def test_it_has_every_module(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    for folder, package in {"runtime": "", "export": "export/", "kernels": "kernels/", "bench": "bench/"}.items():
        modules = {f"latentloop/{package}{file.relative_to(ROOT / folder)}" for file in (ROOT / folder).rglob("*.py")}
        assert modules <= packed, "is its folder listed in pyproject.toml, tool.setuptools.packages?"


@pytest.mark.slow
def test_the_tag_names_the_required_glibc(wheel: Path, libraries: dict[str, bytes]) -> None:
    content = b"".join(libraries.values())
    versions = {int(minor) for minor in re.findall(rb"\0GLIBC_2\.(\d+)", content)}
    self_contained = versions and b"libstdc++.so" not in content
    system = f"manylinux_2_{max(17, *versions)}" if self_contained else "linux"
    assert wheel.name.rpartition("-")[2] == f"{system}_{platform.machine()}.whl"
    assert wheel.name.split("-")[2:4] == ["py3", "none"]


@pytest.mark.slow
def test_libraries_do_not_request_an_executable_stack(libraries: dict[str, bytes]) -> None:
    for name, content in libraries.items():
        (offset,) = struct.unpack_from("<Q", content, 0x20)
        size, count = struct.unpack_from("<HH", content, 0x36)
        headers = [struct.unpack_from("<II", content, offset + size * index) for index in range(count)]
        flags = [flags for kind, flags in headers if kind == GNU_STACK]
        assert len(flags) == 1, name  # without this header, the default is an executable stack
        assert not flags[0] & EXECUTABLE, name


@pytest.mark.slow
def test_the_wheel_installs_and_its_operators_load(wheel: Path, libraries: dict[str, bytes], tmp_path: Path) -> None:
    assert libraries
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(tmp_path)]
    subprocess.run([*install, str(wheel)], check=True, timeout=600)
    script = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
from latentloop.kernels.library import instruction_set, operators
print(operators(), instruction_set(operators()))
"""
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith(str(tmp_path))
