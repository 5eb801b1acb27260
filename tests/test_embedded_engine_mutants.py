"""Tests on the simulated GPU detect every fault that is inserted into liblatentloop's engines."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cuda_build import tensorrt_headers
from engine_library import SOURCES, build_folder, link_variant
from engine_mutants import EAGER, MUTANTS, VERSIONS, Detected
from example_counts import FACTOR
from fake_engines import TENSORRT
from mutants import Mutant
from test_embedded_engines import CHILDREN, FIXTURES, TESTS, bundle, create, environment, simulated

__all__ = ["bundle", "simulated"]  # fixtures


def build_mutant(base: Path, headers: Path, folder: Path, mutant: Mutant | None) -> Path:
    """Returns the library of a build with a mutant, or None: of the same sources, compiled by the same path."""
    root = folder / "cpp"
    shutil.copytree(SOURCES, root)
    changed = root / "gpu" / "loop.cpp" if mutant is None else mutant.insert(root)
    return link_variant(base, includers(root, changed), headers, folder / "liblatentloop.so", root)


def includers(root: Path, changed: Path) -> list[Path]:
    """Returns the source, or the sources that include the header, also indirectly."""
    files, known = [*root.rglob("*.h"), *root.rglob("*.cpp")], {changed}
    included = {file: {_included(root, file, name) for name in _names(file)} for file in files}
    while new := {file for file in files if included[file] & known} - known:
        known |= new
    return sorted(file for file in known if file.suffix == ".cpp")


def _names(file: Path) -> list[str]:
    return re.findall(r'^#include "(.*)"', file.read_text(encoding="utf-8"), re.MULTILINE)


def _included(root: Path, file: Path, name: str) -> Path:
    beside = (file.parent / name).resolve()
    return beside if beside.exists() else root.resolve() / name


def run_tests(library: Path, bundle: Path, simulated: Path, tests: str, **others: str) -> tuple[int, str]:
    """Runs tests of the child processes up to the first failure. Returns the exit status and the output."""
    variables = {
        "LATENTLOOP_TEST_LIBRARY": str(library),
        "LATENTLOOP_TEST_BUNDLE": str(bundle),
        "LATENTLOOP_TEST_TENSORRT": str(simulated / TENSORRT),
    }
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--noconftest", "-p", FIXTURES]
    done = subprocess.run(
        [*command, *CHILDREN, "-m", "not slow", "-k", tests],
        cwd=TESTS,
        env=environment(simulated, **variables, **others),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    return done.returncode, done.stdout


def is_detected(status: int, output: str, reason: str) -> bool:
    """Returns whether tests have failed for a reason, or the process has ended with a signal."""
    return status < 0 or (status == 1 and reason in output)


ALL = {**MUTANTS, "on an eager GPU": [mutant for mutants in EAGER.values() for mutant in mutants]}


@pytest.mark.parametrize("tests", ALL)
def test_mutants_fit_the_sources(tests: str) -> None:
    for detected in ALL[tests]:
        detected.mutant.find(SOURCES)
    for detected in VERSIONS:
        detected.mutant.find(SOURCES)


def test_the_sources_that_include_a_header() -> None:
    found = {str(source.relative_to(SOURCES)) for source in includers(SOURCES, SOURCES / "gpu" / "codec.h")}
    assert {"gpu/backend.cpp", "gpu/codec.cpp", "tensorrt/opening.cpp", "api/devices.cpp"} <= found
    assert "gpu/loop.cpp" not in found
    assert includers(SOURCES, SOURCES / "gpu" / "loop.cpp") == [SOURCES / "gpu" / "loop.cpp"]


class Machine:
    """Where mutants are compiled and run."""

    def __init__(self, folders: pytest.TempPathFactory, bundle: Path, simulated: Path) -> None:
        headers = tensorrt_headers()
        assert headers is not None
        self.base, self.bundle, self.simulated, self.headers = build_folder(folders), bundle, simulated, headers
        self.folders = folders

    def build(self, mutant: Mutant | None) -> Path:
        return build_mutant(self.base, self.headers, self.folders.mktemp("mutant"), mutant)

    def survives(self, tests: str, detected: Detected, **others: str) -> str:
        """Returns "" if the tests fail for the reason, else the fault and the end of their output."""
        library = self.build(detected.mutant)
        status, output = run_tests(library, self.bundle, self.simulated, tests, **others)
        if is_detected(status, output, detected.reason):
            return ""
        return f"{detected.mutant.fault}: {tests}: status {status}: {output[-500:]}"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, bundle: Path, simulated: Path) -> Machine:
    return Machine(tmp_path_factory, bundle, simulated)


@pytest.mark.slow
def test_without_a_fault_the_same_tests_pass(machine: Machine) -> None:
    library = machine.build(None)
    for tests, others in ((MUTANTS, {}), (EAGER, {"LATENTLOOP_TEST_EAGER": "1"})):
        names = " or ".join(f"({name})" for name in tests)
        status, output = run_tests(library, machine.bundle, machine.simulated, names, **others)
        assert status == 0, output


@pytest.mark.slow
def test_every_fault_is_detected(machine: Machine) -> None:
    """`.ci/run --long` tries all, other runs every fifth."""
    eager = {"LATENTLOOP_TEST_EAGER": "1"}
    faults: list[tuple[str, Detected, dict[str, str]]] = [
        (tests, each, {}) for tests, mutants in MUTANTS.items() for each in mutants
    ]
    faults += [(tests, each, eager) for tests, mutants in EAGER.items() for each in mutants]
    with ThreadPoolExecutor(2) as pool:
        chosen = faults[:: 5 if FACTOR == 1 else 1]
        results = [pool.submit(machine.survives, tests, each, **others) for tests, each, others in chosen]
        assert [text for result in results if (text := result.result())] == []


@pytest.mark.slow
def test_faults_in_the_comparison_of_versions_are_detected(machine: Machine) -> None:
    other = environment(machine.simulated, LATENTLOOP_TEST_TENSORRT_VERSION="10.13.9.1")
    expected = "but this library was built for TensorRT 10.14"
    assert expected in create(machine.build(None), machine.bundle, "tensorrt", other)["text"]
    for detected in VERSIONS:
        text = create(machine.build(detected.mutant), machine.bundle, "tensorrt", other)["text"]
        assert expected not in text, detected.mutant.fault
