"""The CPU kernels of every instruction set: their C++ test program, and faults that it must detect."""

from __future__ import annotations

import platform
import shlex
import shutil
import subprocess
import sysconfig
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from build_setting import build_setting
from cpu_kernel_mutants import HOST, MUTANTS
from mutants import Mutant

ROOT = Path(__file__).parents[1]
KERNELS = ROOT / "kernels"
PROGRAM = ROOT / "tests" / "native" / "cpu_kernels" / "main.cpp"
JOBS = 2  # parallel compilers
X86 = platform.machine() in ("x86_64", "AMD64")
AVX2 = ["-mavx2", "-mfma"]
# Fills uninitialised variables with a pattern, so that sums that were never set to 0 are detected.
NOISE = ["-ftrivial-auto-var-init=pattern"]
SANITIZERS = ["-O1", "-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


def processor_has(flags: Iterable[str]) -> bool:
    """Returns whether this processor supports the instruction sets of these -m compiler flags."""
    try:
        processor = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:
        return not flags
    return all(flag.removeprefix("-m") in processor for flag in flags)


@dataclass(frozen=True)
class Compiler:
    """The compiler that setup.py uses, with a folder for its outputs."""

    command: list[str]
    folder: Path

    def run(self, *arguments: str | Path) -> None:
        done = subprocess.run([*self.command, *map(str, arguments)], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr

    def program(self, name: str, flags: list[str], kernels: Path = KERNELS) -> Path:
        """Compiles the test program, without the kernels."""
        out = self.folder / f"{name}.o"
        define = "-DLATENTLOOP_KERNELS=kernels_tested"
        self.run("-std=c++17", *flags, f"-I{kernels}", define, "-c", PROGRAM, "-o", out)
        return out

    def kernels(self, name: str, size: int, flags: list[str], kernels: Path = KERNELS) -> Path:
        """Compiles the kernels for SIMD vectors of ``size`` bytes."""
        out = self.folder / f"{name}.o"
        defines = [f"-DLATENTLOOP_VECTOR_BYTES={size}", "-DLATENTLOOP_KERNELS=kernels_tested"]
        source = kernels / "instruction_set.cpp"
        self.run("-std=c++17", *flags, *defines, f'-DLATENTLOOP_NAME="{name}"', "-c", source, "-o", out)
        return out

    def link(self, name: str, objects: Iterable[Path], flags: Iterable[str] = ()) -> Path:
        out = self.folder / name
        self.run(*flags, *objects, "-o", out, "-pthread")
        return out


def run_program(program: Path, *tests: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, *tests], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)


@pytest.fixture(scope="module")
def compiler(tmp_path_factory: pytest.TempPathFactory) -> Compiler:
    command = shlex.split(sysconfig.get_config_var("CXX") or "g++")[:1]
    if shutil.which(command[0]) is None:
        pytest.skip(f"no compiler {command[0]}")
    return Compiler(command, tmp_path_factory.mktemp("native"))


@pytest.fixture(scope="module")
def jobs() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(JOBS) as pool:
        yield pool


# Without AVX-512 the compiler splits vectors of 64 bytes, so that wide panels are tested on every processor.
WIDTHS = {16: [], 32: AVX2 if X86 else [], 64: ["-Wno-psabi"]}


@pytest.fixture(scope="module")
def sanitized(compiler: Compiler, jobs: ThreadPoolExecutor) -> dict[int, Future[Path]]:
    """Compiles with sanitizers: the test program (key 0), and the kernels for every vector width."""
    probe = compiler.folder / "probe.cpp"
    probe.write_text("int main() {}\n")
    try:
        compiler.run(*SANITIZERS, *NOISE, probe, "-o", compiler.folder / "probe")
    except AssertionError as error:
        pytest.skip(f"the compiler has no sanitizers: {error}")
    assert run_program(compiler.folder / "probe").returncode == 0
    compiled = {0: jobs.submit(compiler.program, "sanitized", SANITIZERS)}
    for size, flags in WIDTHS.items():
        name = f"sanitized-{size}"
        compiled[size] = jobs.submit(compiler.kernels, name, size, [*SANITIZERS, *NOISE, *flags])
    return compiled


@pytest.mark.slow
@pytest.mark.parametrize("size", WIDTHS)
def test_kernels_equal_plain_loops(size: int, compiler: Compiler, sanitized: dict[int, Future[Path]]) -> None:
    if not processor_has(flag for flag in WIDTHS[size] if flag.startswith("-m")):
        pytest.skip("this processor has no AVX2")
    program = compiler.link(f"test-{size}", [sanitized[0].result(), sanitized[size].result()], SANITIZERS)
    done = run_program(program)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_phases_have_no_data_races(compiler: Compiler) -> None:
    flags = ["-O1", "-g1", "-fsanitize=thread"]
    try:
        objects = [compiler.program("threads", flags), compiler.kernels("threads-16", 16, flags)]
        program = compiler.link("threads", objects, flags)
    except AssertionError as error:
        pytest.skip(f"the compiler has no ThreadSanitizer: {error}")
    done = run_program(program, "prior")
    assert done.returncode == 0, done.stdout


@pytest.fixture(scope="module")
def plain_program(compiler: Compiler, jobs: ThreadPoolExecutor) -> Future[Path]:
    return jobs.submit(compiler.program, "plain", ["-O1"])


BUILT = {name: (size, flags) for name, size, flags in build_setting("PORTABLE") + build_setting("X86") * X86}


@pytest.fixture(scope="module")
def as_built(compiler: Compiler, jobs: ThreadPoolExecutor) -> dict[str, Future[Path]]:
    """Compiles the kernels of every instruction set with the flags of setup.py; warnings are errors."""
    compiled = {}
    for name, (size, flags) in BUILT.items():
        # GCC 12's AVX-512 headers use uninitialised values.
        exceptions = ["-Wno-error=uninitialized", "-Wno-error=maybe-uninitialized"] if name.startswith("avx512") else []
        all_flags = [*build_setting("FLAGS"), "-Werror", *exceptions, *flags]
        compiled[name] = jobs.submit(compiler.kernels, name, size, all_flags)
    return compiled


@pytest.mark.slow
@pytest.mark.parametrize("name", BUILT)
def test_kernels_as_built(
    name: str, compiler: Compiler, plain_program: Future[Path], as_built: dict[str, Future[Path]]
) -> None:
    """Optimised code, in which the compiler fuses and reorders more than with sanitizers."""
    kernels = as_built[name].result()
    if not processor_has(BUILT[name][1]):
        pytest.skip(f"compiled, but this processor has no {name}")
    done = run_program(compiler.link(f"test-{name}", [plain_program.result(), kernels]))
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_faulty_kernels_are_detected(
    compiler: Compiler, jobs: ThreadPoolExecutor, plain_program: Future[Path], tmp_path: Path
) -> None:
    plain = plain_program.result()
    size, flags = (32, AVX2) if X86 and processor_has(AVX2) else (16, [])

    def undetected(test: str, mutant: Mutant) -> str | None:
        """Returns the program's output if its test did not fail."""
        folder = tmp_path / mutant.fault
        shutil.copytree(KERNELS, folder, ignore=shutil.ignore_patterns("*.py", "*.so", "__pycache__"))
        is_in_program = mutant.insert(folder).name in HOST
        own = Compiler(compiler.command, folder)
        program = own.program("program", ["-O0"], folder) if is_in_program else plain
        kernels = own.kernels("kernels", size, ["-O0", "-w", *NOISE, *flags], folder)
        done = run_program(own.link("test", [program, kernels]), test)
        is_detected = done.returncode == 1 and done.stdout.startswith(f"{test}: ")
        return None if is_detected else f"status {done.returncode}: {done.stdout}"

    faults = [(test, mutant) for test, mutants in MUTANTS.items() for mutant in mutants]
    running = {mutant.fault: jobs.submit(undetected, test, mutant) for test, mutant in faults}
    survivors = {fault: output for fault, done in running.items() if (output := done.result()) is not None}
    assert not survivors
