"""bench/gpu_check.sh with fake tools: the programs that it runs, their directories, and its status."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "bench" / "gpu_check.sh"


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """Writes fake programs that record their calls, and fail if FAILING names them."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name in ("nvidia-smi", "nvcc", "c++", "python3", "compute-sanitizer"):
        tool = folder / name
        tool.write_text(
            f"""#!/bin/bash
echo "{name} $* [$(pwd)] [${{PYTHONPATH:-}}]" >>"$CALLS"
[ "{name} $1" = "python3 -c" ] && echo 90
if [ "$2" = latentloop.bench.gpu.check.sampling ]; then
  for path in ${{PYTHONPATH//:/ }}; do ls $path $path/latentloop; done >"$CALLS.tree" 2>/dev/null
fi
[[ "{name} $*" == *"${{FAILING:-nothing}}"* ]] && exit ${{STATUS:-1}}
exit 0
"""
        )
        tool.chmod(0o755)
    return folder


def check(tools: Path, failing: str = "nothing", status: int = 1) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Runs the script; returns its process, and the calls that it made."""
    calls = tools.parent / "calls"
    environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "CALLS": str(calls), "FAILING": failing}
    environment |= {"STATUS": str(status), "PYTHONPATH": ""}
    process = subprocess.run(
        ["bash", str(SCRIPT), str(tools.parent / "out"), "abc"], env=environment, capture_output=True, text=True
    )
    return process, calls.read_text().splitlines()


def test_everything_runs_outside_the_tree(tools: Path) -> None:
    process, calls = check(tools)
    assert process.returncode == 0, process.stdout + process.stderr
    out = tools.parent / "out"
    programs = [call.split(" [")[0] for call in calls if "latentloop.bench" in call]
    assert programs == [
        f"python3 -m latentloop.bench.gpu.check.sampling --out {out} --commit abc",
        "python3 -m latentloop.bench.nearest.gpu_smoke",
        f"python3 -m latentloop.bench.nearest.gpu --out {out} --commit abc --minutes 1",
        "compute-sanitizer --tool memcheck --error-exitcode 3 python3 -m latentloop.bench.nearest.gpu_smoke",
        "compute-sanitizer --tool racecheck --error-exitcode 3 python3 -m latentloop.bench.nearest.gpu_smoke",
    ]
    assert not any(f"[{ROOT}]" in call for call in calls if "latentloop.bench" in call)
    tree = (tools.parent / "calls.tree").read_text().split()
    assert {"latentloop", "kernels", "bench", "export", "bundles"} <= set(tree)
    assert (out / "device.txt").exists()
    assert (out / "sampling.txt").exists()


@pytest.mark.parametrize(
    ("failing", "failed", "skipped"),
    [
        ("gpu.check.sampling", "sampling", ""),
        ("nvcc", "build of the kernels", "nearest.gpu_smoke"),
        ("python3 -m latentloop.bench.nearest.gpu_smoke", "small searches", "nearest.gpu "),
        ("nearest.gpu ", "searches: checks and times", ""),
        ("memcheck", "compute-sanitizer, memcheck", ""),
        ("nvidia-smi", "device", ""),
    ],
)
def test_a_failure_is_reported_and_the_other_parts_run(failing: str, failed: str, skipped: str, tools: Path) -> None:
    process, calls = check(tools, failing)
    assert process.returncode == 1
    assert f"FAILED: {failed}" in process.stdout
    assert process.stdout.count("FAILED: ") == 1
    assert any("gpu.check.sampling" in call for call in calls)
    for module in ("nearest.gpu_smoke", "nearest.gpu "):
        is_skipped = skipped in (module, "nearest.gpu_smoke") and skipped != ""
        assert any(f"-m latentloop.bench.{module}" in call for call in calls) != is_skipped


def test_a_time_out_of_the_sanitizer_is_no_failure(tools: Path) -> None:
    process, _ = check(tools, "racecheck", 124)
    assert process.returncode == 0
    assert "racecheck did not finish in time" in process.stdout
