"""One image of a preset, batch 1: naive re-forward against LatentLoop, on the same random weights in one run."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from latentloop import Bundle, Sampler
from latentloop.bench.environment import environment
from latentloop.bench.naive import time_naive
from latentloop.export.bundle import BundleSource, write_bundle
from latentloop.export.checkpoint import Checkpoint, Weights
from latentloop.export.models.pixelsnail import PixelSnail
from latentloop.export.models.presets import preset
from latentloop.export.models.vqvae import Vqvae


def measure(name: str, threads: int, repeats: int = 3) -> dict[str, Any]:
    """Figures of one preset as plain JSON types; raises InputError for an unknown one."""
    chosen = preset(name)
    torch.manual_seed(0)
    torch.set_num_threads(threads)
    priors = [PixelSnail(config).eval() for config in chosen.priors]
    vqvae = Vqvae(chosen.vqvae).eval()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bundle"
        checkpoints = [Checkpoint(model.config, _weights(model)) for model in priors]
        write_bundle(path, BundleSource(Checkpoint(chosen.vqvae, _weights(vqvae)), checkpoints))
        bundle = Bundle.open(path)
        sampler = Sampler(bundle, threads=threads)
        sampler.sample(1, seeds=0)  # loads the graphs, and warms up
        seconds = []
        for seed in tqdm(range(repeats), desc="LatentLoop", unit="image", leave=False, disable=None):
            begin = time.perf_counter()
            sampler.sample(1, seeds=seed + 1)
            seconds.append(time.perf_counter() - begin)
    naive = {}
    for level, model in zip(bundle.manifest.levels, tqdm(priors, desc="naive", leave=False, disable=None), strict=True):
        naive[level.name] = time_naive(model)
    naive_seconds = sum(taken.level for taken in naive.values())
    ours = statistics.median(seconds)
    return {
        "preset": name,
        "environment": environment(threads),
        "latentloop_seconds": seconds,
        "naive_timed_forwards": {level: taken.timed for level, taken in naive.items()},
        "naive_seconds_extrapolated": naive_seconds,
        "ratio": naive_seconds / ours,
    }


def table(result: dict[str, Any]) -> str:
    """The figures as a Markdown table, with what they were taken on."""
    env = result["environment"]
    seconds = result["latentloop_seconds"]
    spread = (max(seconds) - min(seconds)) / statistics.median(seconds)
    timed = sum(len(rows) for rows in result["naive_timed_forwards"].values())
    return "\n".join(
        [
            f"`{result['preset']}`, random weights, batch 1, {env['threads']} threads, {env['processor']}, "
            f"PyTorch {env['torch']}, ONNX Runtime {env['onnxruntime']}, {env['date']}, commit {env['commit']}:",
            "",
            "| | one image | |",
            "|---|---|---|",
            f"| PyTorch, the whole network for every code | {result['naive_seconds_extrapolated'] / 60:.0f} min "
            f"(extrapolated from {timed} timed forwards) | 1 × |",
            f"| LatentLoop, float32 | {statistics.median(seconds):.1f} s (median of {len(seconds)}, spread "
            f"{spread:.0%}{', unstable' if spread > 0.1 else ''}) | {result['ratio']:.0f} × |",
        ]
    )


def _weights(model: nn.Module) -> Weights:
    return {name: value.numpy() for name, value in model.state_dict().items()}
