"""The wheel: it has every module, the right tag, and libraries that request no executable stack."""

from __future__ import annotations

import platform
import re
import struct
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from build_setting import build_setting
from built_wheel import built_wheel, copy_sources, installed_wheel

ROOT = Path(__file__).parents[1]
GNU_STACK, EXECUTABLE = 0x6474E551, 1


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built_wheel(tmp_path_factory)


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
def test_it_has_the_c_library_with_its_headers_and_packages(wheel: Path, libraries: dict[str, bytes]) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.startswith("latentloop/cpp/")}
    headers = {"include/latentloop/latentloop.h", "include/latentloop/latentloop.hpp", "include/latentloop/values.hpp"}
    built = {"lib/liblatentloop.so", *(f"lib/{file}" for file in build_setting("C_PACKAGE"))}
    library = "latentloop/cpp/lib/liblatentloop.so"
    assert packed == {f"latentloop/cpp/{file}" for file in headers | (built if library in libraries else set())}


@pytest.mark.slow
def test_the_wheel_installs_and_its_operators_load(
    libraries: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert libraries
    folder = installed_wheel(tmp_path_factory)
    script = f"""
import sys
sys.path.insert(0, {str(folder)!r})
from latentloop.kernels.library import instruction_set, operators
print(operators(), instruction_set(operators()))
"""
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith(str(folder))


def test_the_source_archive_has_every_source(tmp_path: Path) -> None:
    pytest.importorskip("setuptools", "77")
    copy_sources(tmp_path / "copy", with_tests=True)
    script = f"from setuptools.build_meta import build_sdist; build_sdist({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path / "copy", check=True, capture_output=True, timeout=100)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as files:
        packed = {name.partition("/")[2] for name in files.getnames()}
    kinds = (".py", ".h", ".hpp", ".c", ".cpp", ".cu", ".cuh", ".rs", ".in", ".map", ".txt")
    folders = ("runtime", "export", "kernels", "bench", "tests", "examples")
    sources = {file.relative_to(ROOT) for folder in folders for file in (ROOT / folder).rglob("*")}
    assert {str(file) for file in sources if file.suffix in kinds} <= packed, "is it in MANIFEST.in?"
