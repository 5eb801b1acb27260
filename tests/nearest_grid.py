"""The CUDA kernels of the nearest codeword in the CPU simulation: their build, and a process that runs searches."""

from __future__ import annotations

import shutil
import struct
import subprocess
import sysconfig
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).parents[1]
NATIVE = ROOT / "tests" / "native"
KERNELS = ROOT / "kernels"
SANITIZERS = ["-O1", "-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
NOISE = ["-ftrivial-auto-var-init=pattern"]  # fills uninitialised variables

Values = NDArray[Any]
Floats = NDArray[np.float32]
TYPES = {"f32": 4, "f16": 2, "bf16": 2}  # bytes


def compiler() -> str | None:
    """Returns the path of the C++ compiler that Python was built with, or None."""
    return shutil.which((sysconfig.get_config_var("CXX") or "g++").split()[0])


def compile_native(sources: Sequence[Path], out: Path, flags: Sequence[str] = (), kernels: Path = KERNELS) -> Path:
    """Compiles and links ``sources``; tests/native/grid and ``kernels`` are in the include path."""
    includes = [f"-I{NATIVE / 'grid'}", f"-I{kernels}"]
    command = [str(compiler()), "-std=c++17", *flags, *includes, *map(str, sources), "-o", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return out


def build_server(out: Path, flags: Sequence[str]) -> Path:
    sources = [NATIVE / "nearest_server.cpp", NATIVE / "grid" / "nearest.cpp"]
    return compile_native(sources, out, flags)


# ---- 16-bit numbers; bfloat16, which NumPy lacks, as its bits in uint16.


def narrow(values: Values, kind: str) -> Values:
    """Rounds float32 values to float32, float16 or bfloat16 (as uint16)."""
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
    """Converts the result of ``narrow`` to float32, exactly."""
    if values.dtype == np.uint16:
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float32)


# ---- Searches.


@dataclass(frozen=True)
class Search:
    """A search: z [N, D] and codebook [K, D] in the representation of ``narrow``, and its options."""

    z: Values
    codebook: Values
    kind: str = "f32"
    tensor_cores: bool = False
    positions: int = 0  # per image, a divisor of N; 0: rows
    multiprocessors: int = 1
    offset: int = 0  # of every array from an aligned address, in bytes
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
        return head + self.to_images(self.z).tobytes() + self.codebook.tobytes()

    def to_images(self, rows: Values) -> Values:
        """Converts [N, D] to images [N / positions, D, positions]."""
        if not self.positions:
            return rows
        return np.ascontiguousarray(rows.reshape(-1, self.positions, rows.shape[1]).transpose(0, 2, 1))

    def to_rows(self, values: Values) -> Values:
        """The inverse of ``to_images``."""
        n, d = self.z.shape
        return values.reshape(-1, d, self.positions).transpose(0, 2, 1).reshape(n, d) if self.positions else values


@dataclass(frozen=True)
class SearchResult:
    """The prepared codebook and the outputs; outputs that were not requested are noise."""

    half_norms: Floats  # [K]
    largest: Floats  # [1]
    index: NDArray[np.int64]  # [N]
    distance: Floats  # [N]
    codeword: Values  # [N, D]
    invalid: NDArray[np.int32]  # [1]


class GridError(Exception):
    """A kernel's behaviour is undefined in CUDA. The message names kernel, block and thread."""


class Server:
    """A process of nearest_server. It is restarted after a sanitizer has stopped it."""

    def __init__(self, program: Path) -> None:
        self.program = program
        self.report = TemporaryFile()  # noqa: SIM115, closed by __exit__
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

    def search(self, search: Search) -> SearchResult:
        """Runs a search. Raises GridError, with the sanitizer's report if there is one."""
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
            (error_bytes,) = struct.unpack("<i", read_exactly(out, 4))
            error = read_exactly(out, error_bytes).decode()
            if error:
                raise GridError(error)
            (n, d), k = search.z.shape, len(search.codebook)
            half_norms, largest = read_array(out, k, "<f4"), read_array(out, 1, "<f4")
            index, distance = read_array(out, n, "<i8"), read_array(out, n, "<f4")
            codeword = read_array(out, n * d, search.z.dtype).reshape(n, d)
            invalid = read_array(out, 1, "<i4")
        except (BrokenPipeError, EOFError):
            status = self.process.wait()
            self.report.seek(0)
            report = self.report.read().decode(errors="replace")
            self.stop()
            raise GridError(f"the server ended with status {status}:\n{report}") from None
        return SearchResult(half_norms, largest, index, distance, search.to_rows(codeword), invalid)


def read_exactly(stream: IO[bytes], count: int) -> bytes:
    content = stream.read(count)
    if len(content) < count:
        raise EOFError
    return content


def read_array(stream: IO[bytes], count: int, dtype: Any) -> NDArray[Any]:
    return np.frombuffer(read_exactly(stream, count * np.dtype(dtype).itemsize), dtype)


def rows_of(search: Search, rows: slice) -> Search:
    """Returns the same search for some of its vectors, in the row layout."""
    return replace(search, z=search.z[rows], positions=0)
