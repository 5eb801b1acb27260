"""``latentloop bench``: one preset, all implementations in turn. ``summary`` computes figures from the records."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tqdm import tqdm

from latentloop.bench.baselines.agreement import logit_differences
from latentloop.bench.baselines.implementation import IMPLEMENTATIONS, TITLES, Implementation
from latentloop.bench.baselines.registry import create
from latentloop.bench.figures.result_files import new_result
from latentloop.bench.machine.child_process import in_child
from latentloop.bench.machine.environment import environment
from latentloop.bench.machine.roofline import measure_roofline
from latentloop.bench.sampling.peak_memory import peak_memory
from latentloop.bench.sampling.records import Record
from latentloop.bench.sampling.summary import summarise
from latentloop.bench.workload.codec import random_codes, random_images
from latentloop.bench.workload.models import build, split
from latentloop.bench.workload.part import Part, TimedLevel
from latentloop.errors import LatentLoopError, MissingError
from latentloop.io.files import scratch_directory

PAUSE = 0.3  # seconds between implementations: OpenMP's threads keep spinning that long and would occupy the cores
BATCHES = (1, 4, 16, 64)
REDUCED_BATCHES = (1, 4, 16)  # of hierarchies that are timed in parts
MAX_CODEC = 16  # images at once
BUDGET = 120.0  # seconds: a level that takes longer is extrapolated


@dataclass(frozen=True)
class Settings:
    """What to measure. ``budget``: the most seconds of drawing per implementation, level, batch and round."""

    preset: str
    threads: int
    rounds: int = 3
    budget: float = BUDGET
    batches: tuple[int, ...] = ()  # () for the default
    implementations: tuple[str, ...] = IMPLEMENTATIONS
    memory: bool = True  # whether to measure peak memory, in processes of their own


def measure(settings: Settings) -> dict[str, Any]:
    """Returns the figures of one preset or of the default bundle as plain JSON types. Raises LatentLoopError."""
    torch.set_num_threads(settings.threads)
    divided = split(settings.preset)
    batches = settings.batches or (BATCHES if len(divided) == 1 else REDUCED_BATCHES)
    roofline = measure_roofline(settings.threads)
    records = {name: Record(TITLES[name]) for name in IMPLEMENTATIONS if name in settings.implementations}
    parts = []
    with scratch_directory() as folder:
        for index, levels in enumerate(divided):
            part = build(settings.preset, levels, folder / str(index))
            parts.append(part)
            _measure_part(part, records, batches, settings, codec=index == 0)
            shutil.rmtree(part.folder)
    return new_result(
        "sampling",
        environment(settings.threads),
        preset=settings.preset,
        settings={"rounds": settings.rounds, "budget": settings.budget, "batches": list(batches)},
        roofline=roofline,
        **summarise(parts, records, batches, roofline),
    )


def _measure_part(
    part: Part, records: dict[str, Record], batches: Sequence[int], settings: Settings, codec: bool
) -> None:
    if settings.memory:
        _measure_memory(part, records, settings.threads)  # first: this process holds no weights yet
    loaded: dict[str, Implementation] = {}
    for name, record in records.items():
        if record.unavailable:
            continue
        implementation = create(name, settings.threads)
        try:
            record.load += implementation.load(part)
            loaded[name] = implementation
        except MissingError as error:
            record.unavailable = str(error)
        record.compile_seconds |= implementation.compile_seconds
    if part.same_weights:
        differences = logit_differences(loaded.values(), part)
        for name, implementation in loaded.items():
            records[name].difference = max(differences[implementation.title], records[name].difference or 0.0)
    if codec:
        _time_codec(part, loaded, records, settings)
    with tqdm(desc=settings.preset, unit="timing", leave=False, disable=None) as bar:
        for batch in batches:
            for _ in range(settings.rounds):
                for name, implementation in loaded.items():
                    if implementation.batches is None or batch in implementation.batches:
                        time.sleep(PAUSE)
                        _time_levels(part.levels, implementation, records[name], batch, settings.budget)
                        bar.update()


def _time_levels(
    levels: Sequence[TimedLevel], implementation: Implementation, record: Record, batch: int, budget: float
) -> None:
    for level in levels:
        timings = record.timings.setdefault((level.name, batch), [])
        timings.append(implementation.time(level, batch, budget))


def _time_codec(part: Part, loaded: dict[str, Implementation], records: dict[str, Record], settings: Settings) -> None:
    """Times one image, then as many at once as the budget allows, up to ``MAX_CODEC``."""
    _codec_rounds(part, loaded, records, 1, settings.rounds)
    slowest = max(max(records[name].decode[1] + records[name].encode[1]) for name in loaded)
    count = min(MAX_CODEC, int(settings.budget / 4 / slowest))
    if count > 1:
        _codec_rounds(part, loaded, records, count, settings.rounds)


def _codec_rounds(
    part: Part, loaded: dict[str, Implementation], records: dict[str, Record], count: int, rounds: int
) -> None:
    codes, images = random_codes(part, count), random_images(part, count)
    for number in range(rounds + 1):  # the first is a warm-up
        for name, implementation in loaded.items():
            time.sleep(PAUSE / 3)
            decoded, encoded = implementation.decode(codes), implementation.encode(images)
            if number:
                records[name].decode.setdefault(count, []).append(decoded)
                records[name].encode.setdefault(count, []).append(encoded)


def _measure_memory(part: Part, records: dict[str, Record], threads: int) -> None:
    for name, record in records.items():
        if name == "compiled" or record.unavailable:
            continue  # compiling again would take minutes; its memory is that of eager plus the compiler's
        arguments = {"name": name, "folder": str(part.folder), "threads": threads}
        try:
            peak = in_child(peak_memory, arguments, threads)
        except LatentLoopError as error:
            record.peak = {"bytes": 0, "reason": str(error)}
            continue
        if peak["bytes"] > record.peak.get("bytes", 0):
            record.peak = peak
