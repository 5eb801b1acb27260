"""One preset, all peers, in turn: what ``latentloop bench`` runs. ``summary`` makes figures of the records."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tqdm import tqdm

from latentloop.bench.baselines.baseline import PEER_NAMES, PEERS, Peer, agreement
from latentloop.bench.baselines.by_name import make_peer
from latentloop.bench.baselines.timed_calls import CallClock, timed_calls
from latentloop.bench.machine.child_process import in_child
from latentloop.bench.machine.environment import environment
from latentloop.bench.machine.memory import peak_memory
from latentloop.bench.machine.roofline import measure_roofline
from latentloop.bench.sampling.codec import random_codes, random_images
from latentloop.bench.sampling.models import build, split
from latentloop.bench.sampling.parts import Part, TimedLevel
from latentloop.bench.sampling.records import Record
from latentloop.bench.sampling.summary import summarise
from latentloop.errors import LatentLoopError, MissingError
from latentloop.io.files import scratch_directory

PAUSE = 0.3  # seconds between peers: OpenMP's threads spin that long after their last work, on the others' cores
BATCHES = (1, 4, 16, 64)
REDUCED_BATCHES = (1, 4, 16)  # of hierarchies that are timed in part
MOST_CODEC = 16  # images at once


@dataclass(frozen=True)
class Settings:
    """What to measure: ``budget`` is the seconds that a peer may draw for, per level and round at batch 1."""

    preset: str
    threads: int
    rounds: int = 3
    budget: float = 15.0
    batches: tuple[int, ...] = ()  # () for the default
    peers: tuple[str, ...] = PEERS
    memory: bool = True  # whether to measure peak memory, in processes of their own


def measure(settings: Settings) -> dict[str, Any]:
    """The figures of one preset, or of the default bundle, as plain JSON types. Raises LatentLoopError."""
    torch.set_num_threads(settings.threads)
    parts = split(settings.preset)
    batches = settings.batches or (BATCHES if len(parts) == 1 else REDUCED_BATCHES)
    roofline = measure_roofline(settings.threads)
    records = {kind: Record(PEER_NAMES[kind]) for kind in PEERS if kind in settings.peers}
    built = []
    with scratch_directory() as folder, timed_calls() as clock:
        for index, levels in enumerate(parts):
            part = build(settings.preset, levels, folder / str(index))
            built.append(part)
            _measure_part(part, clock, records, batches, settings, codec=index == 0)
            shutil.rmtree(part.folder)
    return {
        "schema": 1,
        "kind": "sampling",
        "preset": settings.preset,
        "environment": environment(settings.threads),
        "settings": {"rounds": settings.rounds, "budget": settings.budget, "batches": list(batches)},
        "roofline": roofline,
        **summarise(built, records, batches, roofline),
    }


def _measure_part(
    part: Part, clock: CallClock, records: dict[str, Record], batches: Sequence[int], settings: Settings, codec: bool
) -> None:
    if settings.memory:
        _peaks(part, records, settings.threads)  # first: this process holds no weights yet
    ready: dict[str, Peer] = {}
    for kind, record in records.items():
        if record.reason:
            continue
        peer = make_peer(kind, settings.threads, clock)
        try:
            record.load += peer.load(part)
            ready[kind] = peer
        except MissingError as error:
            record.reason = str(error)
        record.compile_seconds |= peer.compile_seconds
    if part.same_weights:
        differences = agreement(ready.values(), part)
        for kind, peer in ready.items():
            records[kind].difference = max(differences[peer.name], records[kind].difference or 0.0)
    if codec:
        _time_codec(part, ready, records, settings)
    with tqdm(desc=settings.preset, unit="timing", leave=False, disable=None) as bar:
        for batch in batches:
            for _ in range(settings.rounds):
                for kind, peer in ready.items():
                    if peer.batches is None or batch in peer.batches:
                        time.sleep(PAUSE)
                        budget = settings.budget if batch == 1 else settings.budget / 4
                        _time_levels(part.levels, peer, records[kind], batch, budget)
                        bar.update()


def _time_levels(levels: Sequence[TimedLevel], peer: Peer, record: Record, batch: int, budget: float) -> None:
    for level in levels:
        timings = record.timings.setdefault((level.name, batch), [])
        timings.append(peer.time(level, batch, budget))


def _time_codec(part: Part, peers: dict[str, Peer], records: dict[str, Record], settings: Settings) -> None:
    """One image, and as many at once as the budget allows, up to 16."""
    _codec_rounds(part, peers, records, 1, settings.rounds)
    slowest = max(max(records[kind].decode[1] + records[kind].encode[1]) for kind in peers)
    count = min(MOST_CODEC, int(settings.budget / 4 / slowest))
    if count > 1:
        _codec_rounds(part, peers, records, count, settings.rounds)


def _codec_rounds(part: Part, peers: dict[str, Peer], records: dict[str, Record], count: int, rounds: int) -> None:
    codes, images = random_codes(part, count), random_images(part, count)
    for number in range(rounds + 1):  # the first warms up
        for kind, peer in peers.items():
            time.sleep(PAUSE / 3)
            decoded, encoded = peer.decode(codes), peer.encode(images)
            if number:
                records[kind].decode.setdefault(count, []).append(decoded)
                records[kind].encode.setdefault(count, []).append(encoded)


def _peaks(part: Part, records: dict[str, Record], threads: int) -> None:
    for kind, record in records.items():
        if kind == "compiled" or record.reason:
            continue  # compiling anew would take minutes; it holds what eager holds, and the compiler
        arguments = {"kind": kind, "folder": str(part.folder), "threads": threads}
        try:
            found = in_child("machine.memory", peak_memory.__name__, arguments, threads)
        except LatentLoopError as error:
            record.peak = {"bytes": 0, "reason": str(error)}
            continue
        if found["bytes"] > record.peak.get("bytes", 0):
            record.peak = found
