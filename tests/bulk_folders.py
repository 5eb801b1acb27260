"""Commands that sample into a folder, and what the folder then holds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import RGB, codes, run

from latentloop import Sampler, Samples
from latentloop.images import read_images

N, SHARD, BATCH = 7, 4, 2
Sample = Callable[..., Path]  # the fixture ``sample``


def command(bundle: Path, folder: Path, n: int = N) -> tuple[object, ...]:
    sizes = ("--shard-size", SHARD, "--batch-size", BATCH, "--threads", 1)
    return "sample", bundle, "-n", n, "--seed", 7, *sizes, "--out", f"{folder}/"


def drawn(sampler: Sampler, n: int = N, **changes: Any) -> Samples:
    return sampler.sample(n, **{"seeds": 7, "batch_size": BATCH, **changes})


def journal(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]


def png_images(folder: Path) -> np.ndarray:
    return read_images(sorted(folder.rglob("*.png")), RGB)


def npz_images(folder: Path) -> dict[str, np.ndarray]:
    shards = [codes(path) for path in sorted(folder.glob("shard-*.npz"))]
    return {name: np.concatenate([shard[name] for shard in shards]) for name in shards[0]}


@pytest.fixture
def sample(small_bundle: Path, tmp_path: Path) -> Sample:
    """Runs `latentloop sample` into a folder, which must end with ``status``, and returns the folder."""

    def call(*options: object, n: int = N, name: str = "a", status: int = 0) -> Path:
        folder = tmp_path / name
        assert run(*command(small_bundle, folder, n), *options) == status
        return folder

    return call
