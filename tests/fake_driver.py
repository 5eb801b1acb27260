"""A GPU on the host, as the launcher sees one: late, in any order that the streams allow, and strict.

Memory is the host's, filled with NaN and never used again. Work is kept until something waits for it, and then done in
a random order that streams and marks permit; kernels are the real ones, compiled for the host. What two pieces of work
do to the same memory, its allocation and its end included, must be in an order that streams, marks and the waiting host
settle: else FakeGpuError, whatever order they ran in. Streams that are not the legacy default stream never wait for it,
as PyTorch's do not.
"""

from __future__ import annotations

import ctypes
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentloop.kernels.driver.stream import LEGACY, Stream
from latentloop.kernels.nearest_codebook.launcher import IMAGE, Arguments

POISON = np.frombuffer(b"\xfe\xff", np.uint8)  # NaN as float32, float16 and bfloat16, and no index
GUARD = 256  # bytes on each side of every allocation
PARTIAL = 16  # bytes
SIZES = {"f32": 4, "f16": 2, "bf16": 2}

Run = Callable[[], object]


class FakeGpuError(AssertionError):
    """The launcher did what a GPU would not forgive."""


@dataclass(eq=False)
class Work:
    """One piece of work and all that is certain to be done before it."""

    text: str
    run: Run
    before: frozenset[Work]
    done: bool = False


@dataclass(eq=False)
class Block:
    """An allocation."""

    data: NDArray[np.uint8]
    size: int
    device: int
    stream: Stream | None  # None: the test's own, not to be freed
    accesses: list[tuple[Work, bool]] = field(default_factory=list)  # True: changes the memory
    freed: bool = False

    @property
    def pointer(self) -> int:
        return int(self.data.ctypes.data) + GUARD


@dataclass(frozen=True)
class Range:
    """Bytes that a piece of work touches; what it ``changes`` it may read too."""

    name: str
    pointer: int | None
    size: int
    changes: bool = False


class FakeDriver:
    """A Driver; see there. ``kernels`` is the library of tests/native/grid/nearest.cpp; None: kernels do nothing."""

    def __init__(self, kernels: ctypes.CDLL | None, seed: int = 0, multiprocessors: int = 3, devices: int = 1) -> None:
        self.kernels, self.processors, self.devices = kernels, multiprocessors, devices
        self.random = random.Random(seed)
        self.blocks: list[Block] = []
        self.pending: list[Work] = []
        self.last: dict[Stream, Work] = {}
        self.awaited: dict[Stream, list[Work]] = {}
        self.current: list[int] = []
        self.over: frozenset[Work] = frozenset()  # what the host has waited for
        self.launched: list[str] = []

    @property
    def name(self) -> str:
        return "fake"

    # ---- For tests.

    def put(self, values: NDArray[Any], stream: Stream = LEGACY, device: int = 0, offset: int = 0) -> int:
        """Memory of the test's own that work on that stream fills with the values, ``offset`` bytes into it."""
        block = self._block(values.nbytes + offset, device, None)
        copied = np.ascontiguousarray(values).tobytes()
        pointer = block.pointer + offset
        filled = Range("a test's array", pointer, values.nbytes, True)
        self.current.append(device)
        self._enqueue("put", stream, lambda: ctypes.memmove(pointer, copied, len(copied)), [filled])
        self.current.pop()
        return pointer

    def synchronize(self) -> None:
        while self.pending:
            self.over |= {self._step()}

    def live(self) -> int:
        """Allocations not yet freed."""
        return sum(block.stream is not None and not block.freed for block in self.blocks)

    # ---- Driver.

    def device_of(self, pointer: int) -> int:
        block = self._find(pointer, 1)
        if block is None:
            raise ValueError(f"{pointer:#x} is not memory of a GPU")
        return block.device

    @contextmanager
    def use(self, device: int) -> Iterator[None]:
        if not 0 <= device < self.devices:
            raise FakeGpuError(f"device {device} of {self.devices}")
        self.current.append(device)
        try:
            yield
        finally:
            self.current.pop()

    def multiprocessors(self) -> int:
        self._device()
        return self.processors

    def function(self, image: Path, name: str) -> Any:
        self._device()
        if image != IMAGE:
            raise FakeGpuError(f"image {image}, expected {IMAGE}")
        return name

    def launch(self, function: Any, grid: tuple[int, int], threads: int, argument: bytes, stream: Stream) -> None:
        if len(argument) != ctypes.sizeof(Arguments):
            raise FakeGpuError(f"{function}: {len(argument)} bytes of arguments, expected {ctypes.sizeof(Arguments)}")
        if not (0 < grid[0] < 2**31 and 0 < grid[1] < 2**16):
            raise FakeGpuError(f"{function}: a grid of {grid}")
        self.launched.append(function)
        seed = self.random.getrandbits(32)

        def run() -> None:
            if self.kernels is None:
                return
            error = ctypes.create_string_buffer(1024)
            sizes = ctypes.c_int64(grid[0]), ctypes.c_int(grid[1]), ctypes.c_int(threads)
            status = self.kernels.latentloop_grid_launch(
                function.encode(), *sizes, argument, ctypes.c_uint64(seed), error, ctypes.c_size_t(len(error))
            )
            if status:
                raise FakeGpuError(f"{function}: {error.value.decode()}")

        self._enqueue(function, stream, run, _touched(function, Arguments.from_buffer_copy(argument)))

    def allocate(self, size: int, stream: Stream) -> int:
        if size <= 0:
            raise FakeGpuError(f"an allocation of {size} bytes")
        block = self._block(size, self._device(), stream)
        self._enqueue("allocate", stream, lambda: None, [Range("it", block.pointer, size, True)])
        return block.pointer

    def free(self, pointer: int, stream: Stream) -> None:
        block = self._find(pointer, 1)
        if block is None or block.pointer != pointer or block.stream is None:
            raise FakeGpuError(f"free of {pointer:#x}, which was never allocated")
        if block.stream != stream:
            raise FakeGpuError("free on another stream than the allocation's")
        self._enqueue("free", stream, lambda: _end(block), [Range("it", pointer, block.size, True)])
        block.freed = True

    def zero(self, pointer: int, size: int, stream: Stream) -> None:
        touched = [Range("zeroed", pointer, size, True)]
        self._enqueue("zero", stream, lambda: ctypes.memset(pointer, 0, size), touched)

    def to_host(self, pointer: int, size: int, stream: Stream) -> bytes:
        copied = bytearray()
        touched = [Range("copied", pointer, size)]
        work = self._enqueue("copy", stream, lambda: copied.extend(ctypes.string_at(pointer, size)), touched)
        while not work.done:
            self._step()
        self.over |= work.before | {work}
        return bytes(copied)

    def record(self, stream: Stream) -> Any:
        self._device()
        return [*self.awaited.get(stream, []), *([self.last[stream]] if stream in self.last else [])]

    def wait(self, stream: Stream, mark: Any) -> None:
        self._device()
        self.awaited.setdefault(stream, []).extend(mark)

    # ---- Within.

    def _device(self) -> int:
        if not self.current:
            raise FakeGpuError("no device is current")
        return self.current[-1]

    def _block(self, size: int, device: int, stream: Stream | None) -> Block:
        data = np.resize(POISON, size + 2 * GUARD)
        self.blocks.append(Block(data, size, device, stream))
        return self.blocks[-1]

    def _find(self, pointer: int, size: int) -> Block | None:
        return next((b for b in self.blocks if b.pointer <= pointer and pointer + size <= b.pointer + b.size), None)

    def _enqueue(self, text: str, stream: Stream, run: Run, touched: list[Range]) -> Work:
        device = self._device()
        waited = self.awaited.pop(stream, [])
        if stream in self.last:
            waited.append(self.last[stream])
        work = Work(text, run, self.over.union(waited, *(w.before for w in waited)))
        touches = []
        for part in touched:
            block = self._find(part.pointer or 0, part.size)
            if block is None:
                raise FakeGpuError(f"{text}: {part.name} of {part.size} bytes does not lie in one allocation")
            if block.freed:
                raise FakeGpuError(f"{text}: {part.name} was freed")
            if block.device != device:
                raise FakeGpuError(f"{text}: {part.name} is on device {block.device}, current is {device}")
            for other, changes in block.accesses:
                if (changes or part.changes) and other not in work.before and other is not work:
                    raise FakeGpuError(f"{text}: {part.name} may be used before or after {other.text} is done with it")
            touches.append((block, part.changes))
        for block, changes in touches:
            block.accesses.append((work, changes))
        self.last[stream] = work
        self.pending.append(work)
        return work

    def _step(self) -> Work:
        work = self.random.choice([w for w in self.pending if all(before.done for before in w.before)])
        self.pending.remove(work)
        work.run()
        work.done = True
        return work


def _end(block: Block) -> None:
    poison = np.resize(POISON, block.data.size)
    guards = np.ones(block.data.size, np.bool_)
    guards[GUARD:-GUARD] = False
    if (block.data != poison)[guards].any():
        raise FakeGpuError("written beside an allocation")
    block.data[:] = poison


def _touched(function: str, a: Arguments) -> list[Range]:
    """What a kernel touches, by arguments.h."""
    size = SIZES[function.rsplit("_", 1)[1]]
    z = Range("z", a.z, a.vectors * a.dimensions * size)
    codebook = Range("codebook", a.codebook, a.codewords * a.dimensions * size)
    norms = 4 * a.codewords
    partials = PARTIAL * a.splits * a.vectors
    if function.startswith("nearest_prepare"):
        return [codebook, Range("half_norms", a.half_norms, norms, True), Range("largest", a.largest, 4, True)]
    inputs = [z, codebook, Range("half_norms", a.half_norms, norms)]
    if function.startswith("nearest_search"):
        return [*inputs, Range("partials", a.partials, partials, True)]
    outputs = [
        Range("index", a.index, 8 * a.vectors, True),
        Range("distance", a.distance, 4 * a.vectors, True),
        Range("codeword", a.codeword, z.size, True),
        Range("invalid", a.invalid, 4, True),
    ]
    given = [out for out in outputs if out.pointer is not None or out.name == "index"]
    return [*inputs, Range("largest", a.largest, 4), Range("partials", a.partials, partials), *given]
