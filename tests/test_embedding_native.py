"""The native programs of tests/native/embedding under sanitizers, and bundles with random manifests.

test_embedding_package.py runs these programs without sanitizers, and `.ci/run --long` under the thread sanitizer and
valgrind.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from bench_bundles import write_square_bundle
from example_counts import FACTOR
from fuzz_seeds import write_seeds
from test_embedding_package import required

from latentloop.environment.c_library import onnxruntime_library

ROOT = Path(__file__).parents[1]
PROGRAMS = ROOT / "tests" / "native" / "embedding"
DEFAULT = ROOT / "runtime" / "data" / "planets"
SANITIZERS = "-fsanitize=address,undefined -fno-sanitize-recover=all -g1 -O1"
# Static, so that the sanitizers' libraries are loaded with the program.
OPTIONS = ("-DCMAKE_BUILD_TYPE=None", "-DBUILD_SHARED_LIBS=OFF", "-DLATENTLOOP_OPERATORS=OFF")
FUZZ_RUNS = 1_000 * FACTOR
in_long_runs = pytest.mark.skipif(FACTOR == 1, reason="`.ci/run --long` runs it: it compiles the whole library")


def run(*command: object, **environment: str) -> str:
    words = [str(word) for word in command]
    done = subprocess.run(
        words,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=1800,
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}"
    return done.stdout


def build(folder: Path, flags: str, *options: str, target: str = "all") -> Path:
    """Builds the library and the programs with these flags. Skips the test if a tool or a library is missing."""
    required("cmake", "c++")
    flags_of = (f"-DCMAKE_{language}_FLAGS={flags}" for language in ("C", "CXX"))
    command = ["cmake", "-S", str(ROOT / "runtime" / "cpp"), "-B", str(folder), *OPTIONS, *flags_of, *options]
    configured = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if re.search(r"nlohmann_json|OpenSSL", configured.stderr):
        pytest.skip("nlohmann-json3-dev or libssl-dev is not installed")
    assert configured.returncode == 0, configured.stderr
    run("cmake", "--build", folder, "--parallel", "2", "--target", target)
    return folder


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs and the library, compiled with the address and undefined-behaviour sanitizers."""
    return build(tmp_path_factory.mktemp("sanitized"), SANITIZERS)


@pytest.mark.slow
def test_the_programs_pass_under_the_address_and_undefined_behaviour_sanitizers(sanitized: Path) -> None:
    environment = {"LATENTLOOP_ONNXRUNTIME": str(onnxruntime_library()), "ASAN_OPTIONS": "detect_leaks=1"}
    output = run("ctest", "--test-dir", sanitized, "--output-on-failure", "--timeout", "300", "-j2", **environment)
    programs = len([*PROGRAMS.glob("*_test.c"), *PROGRAMS.glob("*_test.cpp")])
    assert programs >= 13
    assert f"100% tests passed, 0 tests failed out of {programs}" in output
    assert "Skipped" not in output


@pytest.mark.slow
def test_without_onnxruntime_the_programs_are_skipped_with_a_message(sanitized: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sanitized / "tests" / "busy_test", DEFAULT],
        env={"LATENTLOOP_ONNXRUNTIME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 77
    assert done.stdout.startswith(f"skipped: {tmp_path} has no libonnxruntime.so: call ll_set_onnxruntime, or set")


def clang() -> str:
    """Returns the path of clang++, of any version. Skips the test if there is none."""
    for name in ("clang++", *(f"clang++-{version}" for version in range(30, 11, -1))):
        if path := shutil.which(name):
            return path
    pytest.skip("clang is not installed")


@pytest.mark.slow
@in_long_runs
def test_a_bundle_with_a_random_manifest_is_opened_or_refused(small_bundle: Path, tmp_path: Path) -> None:
    compiler = clang()
    program = "int LLVMFuzzerTestOneInput(const char*, unsigned long) { return 0; }"
    command = [compiler, "-x", "c", "-", "-fsanitize=fuzzer", "-o", str(tmp_path / "empty")]
    if subprocess.run(command, input=program, text=True, capture_output=True, timeout=60).returncode != 0:
        pytest.skip("libFuzzer is not installed: libclang-rt-dev of the version of clang")
    write_square_bundle(tmp_path / "square", classifier=True)
    write_seeds(tmp_path / "fuzz", (tmp_path / "square", small_bundle, DEFAULT))
    compilers = (f"-DCMAKE_CXX_COMPILER={compiler}", f"-DCMAKE_C_COMPILER={compiler.replace('clang++', 'clang')}")
    flags = f"{SANITIZERS} -fsanitize=fuzzer-no-link"
    built = build(tmp_path / "build", flags, *compilers, "-DLATENTLOOP_FUZZ=ON", target="open_bundle")
    seeds = tmp_path / "fuzz" / "seeds"
    options = (f"-runs={FUZZ_RUNS}", f"-dict={tmp_path / 'fuzz' / 'words'}", f"-artifact_prefix={tmp_path}/")
    output = run(built / "tests" / "open_bundle", *options, seeds, LATENTLOOP_FUZZ=str(tmp_path / "fuzz"))
    assert f"Done {FUZZ_RUNS} runs" in output
