"""bench/gpu_check.sh with fake tools: its results, its status, and the copy of the package that its programs use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "bench" / "gpu_check.sh"
RESULTS = {"device.txt", "sampling.txt", "ptxas.txt", "nearest.txt", "memcheck.txt", "racecheck.txt"}
OF_SEARCHES = {"nearest.txt", "memcheck.txt", "racecheck.txt"}
TOOL = f"""#!/bin/bash
# Prints its command, and for a module of Python the file that would run; fails if the command contains $FAILING.
command="$(basename "$0") $*"
[ "$1" = -c ] && echo 90
[ "$1" = -m ] && "{sys.executable}" -c "import importlib.util as u; print(u.find_spec('$2').origin)"
[ "$1" = -c ] || echo "$command"
[[ "$command" == *"$FAILING"* ]] && exit $STATUS
exit 0
"""


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    folder = tmp_path / "tools"
    folder.mkdir()
    for name in ("nvidia-smi", "nvcc", "c++", "python3", "compute-sanitizer"):
        (folder / name).write_text(TOOL)
        (folder / name).chmod(0o755)
    return folder


def check(
    tools: Path, failing: str = "nothing", status: int = 1
) -> tuple[subprocess.CompletedProcess[str], dict[str, str]]:
    """Runs the script; returns its process, and the content of its results by file name."""
    environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "PYTHONPATH": ""}
    environment |= {"FAILING": failing, "STATUS": str(status)}
    out = tools.parent / "out"
    process = subprocess.run(["bash", str(SCRIPT), str(out), "abc"], env=environment, capture_output=True, text=True)
    return process, {path.name: path.read_text() for path in out.iterdir()}


def test_programs_use_a_copy_of_the_package_and_write_to_the_folder(tools: Path) -> None:
    process, results = check(tools)
    assert process.returncode == 0, process.stdout + process.stderr
    assert results.keys() == RESULTS
    for file, module in (("sampling.txt", "gpu.check.sampling"), ("nearest.txt", "nearest.gpu")):
        origin, command = results[file].splitlines()
        assert origin.endswith(f"/latentloop/bench/{module.replace('.', '/')}.py")
        assert not Path(origin).is_relative_to(ROOT)
        assert not Path(origin).exists(), "the copy is deleted at the end"
        assert f"-m latentloop.bench.{module} --out {tools.parent / 'out'} --commit abc" in command


@pytest.mark.parametrize(
    ("failing", "failed", "missing"),
    [
        ("gpu.check.sampling", "sampling", set()),
        ("nvcc", "build of the kernels", OF_SEARCHES),
        ("python3 -m latentloop.bench.nearest.gpu_smoke", "small searches", OF_SEARCHES),
        ("nearest.gpu ", "searches: checks and times", set()),
        ("memcheck", "compute-sanitizer, memcheck", set()),
        ("nvidia-smi", "device", set()),
    ],
)
def test_a_failure_is_reported_and_the_other_parts_run(
    failing: str, failed: str, missing: set[str], tools: Path
) -> None:
    process, results = check(tools, failing)
    assert process.returncode == 1
    assert [line for line in process.stdout.splitlines() if "FAILED" in line] == [f"FAILED: {failed}"]
    assert results.keys() == RESULTS - missing


def test_a_time_out_of_the_sanitizer_is_no_failure(tools: Path) -> None:
    process, results = check(tools, "racecheck", 124)
    assert process.returncode == 0
    assert "racecheck did not finish in time" in process.stdout
    assert "racecheck did not finish in time" in results["racecheck.txt"]
