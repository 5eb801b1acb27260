"""The CUDA kernels of the nearest codeword, executed on the host: their build, and a process that runs searches."""

from __future__ import annotations

import shutil
import struct
import subprocess
import sysconfig
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).parents[1]
NATIVE = ROOT / "tests" / "native"
KERNELS = ROOT / "kernels"
# Variables that nobody set hold noise.
SANITIZERS = ["-O1", "-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
NOISE = ["-ftrivial-auto-var-init=pattern"]

Values = NDArray[Any]
Floats = NDArray[np.float32]
TYPES = {"f32": 4, "f16": 2, "bf16": 2}  # bytes


def compiler() -> str | None:
    """The C++ compiler that Python was built with, where there is one."""
    return shutil.which((sysconfig.get_config_var("CXX") or "g++").split()[0])


def compile_native(sources: Sequence[Path], out: Path, flags: Sequence[str] = (), kernels: Path = KERNELS) -> Path:
    """Compiles and links ``sources`` with the grid and the kernels of that folder to find."""
    includes = [f"-I{NATIVE / 'grid'}", f"-I{kernels}"]
    command = [str(compiler()), "-std=c++17", *flags, *includes, *map(str, sources), "-o", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return out


def build_server(folder: Path, flags: Sequence[str], kernels: Path = KERNELS) -> Path:
    sources = [NATIVE / "nearest_server.cpp", NATIVE / "grid" / "nearest.cpp"]
    return compile_native(sources, folder / "nearest_server", flags, kernels)


# ---- Numbers of 16 bits, as NumPy arrays of their bits where it has no such type.


def narrow(values: Values, kind: str) -> Values:
    """float32 values rounded to that type: float32, float16, or bfloat16 as uint16."""
    wide = np.asarray(values, np.float32)
    if kind == "f32":
        return wide
    if kind == "f16":
        with np.errstate(over="ignore"):
            return wide.astype(np.float16)
    bits = wide.view(np.uint32)
    rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
    return np.where(np.isnan(wide), 0x7FC0, rounded).astype(np.uint16)


def widen(values: Values) -> Floats:
    """What ``narrow`` gave, as float32: exact."""
    if values.dtype == np.uint16:
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float32)


# ---- Searches.


@dataclass(frozen=True)
class Search:
    """z [N, D] and codebook [K, D] as ``narrow`` gives them, and how to search."""

    z: Values
    codebook: Values
    kind: str = "f32"
    tensor_cores: bool = False
    positions: int = 0  # of an image, N a multiple of it; 0: rows
    multiprocessors: int = 1
    offset: int = 0  # bytes that every array lies beyond an aligned address
    seed: int = 0
    distance: bool = True
    codeword: bool = True
    invalid: bool = True

    def request(self) -> bytes:
        n, d = self.z.shape
        head = struct.pack(
            "<qqQ10i",
            *(n, self.positions, self.seed, d, len(self.codebook), list(TYPES).index(self.kind)),
            *(self.tensor_cores, self.multiprocessors, self.offset, self.distance, self.codeword, self.invalid, 0),
        )
        return head + self.laid_out(self.z).tobytes() + self.codebook.tobytes()

    def laid_out(self, rows: Values) -> Values:
        """[N, D] as images [N / positions, D, positions]."""
        if not self.positions:
            return rows
        return np.ascontiguousarray(rows.reshape(-1, self.positions, rows.shape[1]).transpose(0, 2, 1))

    def taken_back(self, values: Values) -> Values:
        """What lies as ``laid_out`` says, as [N, D]."""
        n, d = self.z.shape
        return values.reshape(-1, d, self.positions).transpose(0, 2, 1).reshape(n, d) if self.positions else values


@dataclass(frozen=True)
class Found:
    """half_norms [K], largest [1]; index and distance [N], codeword [N, D] and invalid [1], noise where not asked."""

    half_norms: Floats
    largest: Floats
    index: NDArray[np.int64]
    distance: Floats
    codeword: Values
    invalid: NDArray[np.int32]


class GridError(Exception):
    """A kernel did what CUDA leaves undefined; the message names kernel, block and thread."""


class Server:
    """A process of nearest_server; one that a sanitizer stopped is started again."""

    def __init__(self, program: Path) -> None:
        self.program = program
        self.report = (program.parent / "report").open("w+b")
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Server:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()
        self.report.close()

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            for stream in (self.process.stdin, self.process.stdout):
                assert stream is not None
                with suppress(BrokenPipeError):
                    stream.close()
            self.process.wait()
            self.process = None

    def search(self, search: Search) -> Found:
        """Raises GridError, with the sanitizer's report where there is one."""
        if self.process is None:
            self.report.seek(0)
            self.report.truncate()
            self.process = subprocess.Popen(
                [self.program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.report
            )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        out = self.process.stdout
        try:
            self.process.stdin.write(search.request())
            self.process.stdin.flush()
            (error_bytes,) = struct.unpack("<i", take(out, 4))
            error = take(out, error_bytes).decode()
            if error:
                raise GridError(error)
            (n, d), k = search.z.shape, len(search.codebook)
            half_norms, largest = np.frombuffer(take(out, 4 * k), "<f4"), np.frombuffer(take(out, 4), "<f4")
            index, distance = np.frombuffer(take(out, 8 * n), "<i8"), np.frombuffer(take(out, 4 * n), "<f4")
            codeword = np.frombuffer(take(out, n * d * search.z.itemsize), search.z.dtype).reshape(n, d)
            invalid = np.frombuffer(take(out, 4), "<i4")
        except (BrokenPipeError, EOFError):
            status = self.process.wait()
            self.report.seek(0)
            report = self.report.read().decode(errors="replace")
            self.stop()
            raise GridError(f"the server ended with status {status}:\n{report}") from None
        return Found(half_norms, largest, index, distance, search.taken_back(codeword), invalid)


def take(stream: IO[bytes], count: int) -> bytes:
    taken = stream.read(count)
    if len(taken) < count:
        raise EOFError
    return taken


def rows_of(search: Search, rows: slice) -> Search:
    """The same search of some of its vectors, in rows."""
    return replace(search, z=search.z[rows], positions=0)
