"""The programs of docs/scaling.md run, and its calculation is right."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from bulk_folders import journal
from command_line import PROGRAM, run
from documented_python import blocks

from latentloop import Bundle, Sampler

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "scaling.md"


def test_the_slurm_script_and_the_merge(tmp_path: Path) -> None:
    job, merge = blocks(PAGE, "sh")[:2]
    few = job.replace("-n 1000000", "-n 48 --shard-size 16")
    assert few != job
    path = f"{PROGRAM.parent}:{os.environ['PATH']}"
    for index in range(2):
        variables = {"SLURM_ARRAY_TASK_ID": str(index), "SLURM_ARRAY_TASK_COUNT": "2", "PATH": path}
        subprocess.run(["sh", "-c", few], cwd=tmp_path, env={**os.environ, **variables}, check=True, timeout=120)
    subprocess.run(["sh", "-c", merge], cwd=tmp_path, env={**os.environ, "PATH": path}, check=True, timeout=120)
    assert [record["images"] for record in journal(tmp_path / "samples")[1:]] == [16, 16, 16]
    whole = ("-n", 48, "--shard-size", 16, "--seed", 1, "--format", "npz", "--threads", 2)
    assert run("sample", *whole, "--out", f"{tmp_path / 'samples'}/") == 0
    assert len(journal(tmp_path / "samples")) == 4


def test_the_calculation() -> None:
    text = PAGE.read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| (\d+) \| (.*) \|$", text, re.MULTILINE)
    assert [row[0] for row in rows] == ["1", "8", "64"]
    units = {"min": 60, "h": 3600, "days": 86400}
    seconds = (1 / 114, 3.99, 2.83, 2.05)  # an image
    for machines, shards, times in rows:
        assert math.ceil(math.ceil(10**6 / 1024) / int(machines)) == int(shards)
        for shown, each in zip(times.split(" | "), seconds, strict=True):
            number, unit = shown.split()
            exact = min(10**6, int(shards) * 1024) * each / units[unit]
            assert float(number) == pytest.approx(exact, rel=0.03)


def test_the_example_is_that_of_the_page() -> None:
    example = (ROOT / "examples" / "ray_data.py").read_text(encoding="utf-8")
    assert example.partition("\n\n")[2] == blocks(PAGE, "python")[0]


@pytest.mark.slow
@pytest.mark.skipif(
    find_spec("ray") is None or find_spec("pyarrow") is None or find_spec("pandas") is None,
    reason='Ray Data is not installed: pip install "ray[data]"',
)
def test_samples_as_a_ray_dataset(tmp_path: Path) -> None:
    example = (ROOT / "examples" / "ray_data.py").read_text(encoding="utf-8").replace("range(64)", "range(24)")
    save = """
rows = sorted(samples.take_all(), key=lambda row: row["seed"])
np.savez(sys.argv[1], **{name: np.stack([row[name] for row in rows]) for name in ("image", "seed", "label")})
"""
    variables = {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    code = f"import sys\nimport numpy as np\n{example}\n{save}"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "rows.npz")],
        env=variables,
        capture_output=True,
        text=True,
        timeout=180,
        check=True,
    )
    assert done.stdout.splitlines()[0].startswith("(")
    expected = Sampler(Bundle.default(), threads=1).sample(24, seeds=0, batch_size=16)
    with np.load(tmp_path / "rows.npz") as rows:
        np.testing.assert_array_equal(rows["image"], expected.images)
        np.testing.assert_array_equal(rows["seed"], expected.seeds)
        np.testing.assert_array_equal(rows["label"], expected.labels)
