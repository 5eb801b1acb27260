"""Correctness of searches on a GPU: compared with float64, for every type and layout, and for unusual values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.utils.dlpack import from_dlpack

from latentloop.kernels.driver.driver import Driver
from latentloop.kernels.driver.with_cuda_python import CudaPython
from latentloop.kernels.element_types import FLOATS
from latentloop.kernels.nearest_codebook.on_gpu import Nearest, nearest_on_gpu
from latentloop.kernels.nearest_codebook.shapes import Layout

TYPES: dict[str, torch.dtype] = {each.name: getattr(torch, each.name) for each in FLOATS}
LAYOUTS: tuple[Layout, ...] = ("rows", "channels_first")
SHAPES = [(1, 1, 1), (99, 989, 19), (4096, 512, 64), (5000, 700, 64), (1025, 16384, 64), (700, 300, 512)]  # N, K, D
VALUES = ("normal", "near codewords", "between codewords", "large", "codewords twice", "not finite")
EPS = 2.0**-23
_BLOCK = 2**25  # differences in memory at once


class WithoutTensorCores(CudaPython):
    """A driver that searches 16-bit vectors by FMA chains; the indices must equal those of the tensor cores."""

    def function(self, image: Path, name: str) -> Any:
        """Returns the FMA kernel instead of the tensor-core kernel."""
        return super().function(image, name.replace("nearest_search_tensor", "nearest_search"))


def values(kind: str, n: int, k: int, d: int, dtype: torch.dtype, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns random z [N, D] and codebook [K, D]."""
    codebook = torch.randn(k, d, device=device)
    z = torch.randn(n, d, device=device)
    some, others = (codebook[torch.randint(0, k, (n,), device=device)] for _ in range(2))
    if kind == "near codewords":
        z = some + 1e-3 * z
    elif kind == "between codewords":
        z = (some + others) / 2
    elif kind == "large":
        z, codebook = 50 * z, 50 * codebook
    elif kind == "codewords twice":
        codebook[k // 2 :] = codebook[: k - k // 2].clone()
    elif kind == "not finite":
        z[::7, d // 2], z[3::11, 0] = torch.nan, torch.inf
        codebook[1::5, d - 1] = torch.nan
    return z.to(dtype), codebook.to(dtype)


def check(z: torch.Tensor, codebook: torch.Tensor, layout: Layout, driver: Driver, stream: Any = None) -> torch.Tensor:
    """Searches for z [N, D] in one layout; returns the index [N]. Raises AssertionError for a wrong result."""
    n, d = z.shape
    images = 5 if n % 5 == 0 else 1
    vectors = z if layout == "rows" else z.reshape(images, n // images, d).transpose(1, 2).contiguous()
    result = nearest_on_gpu(
        vectors, codebook, layout=layout, distance=True, codeword=True, stream=stream, driver=driver
    )
    index, distance, codeword = to_torch(result)
    if layout != "rows":
        codeword = codeword.transpose(1, 2)
    index, distance, codeword = index.reshape(n), distance.reshape(n), codeword.reshape(n, d)
    wide, words = z.double(), codebook.double()
    best = nearest_in_float64(wide, words)
    not_finite = ~wide.square().sum(1).isfinite()
    assert torch.equal(index < 0, not_finite | (best < 0)), "wrong set of vectors without a nearest codeword"
    assert result.invalid == int((index < 0).sum()), "wrong count of vectors without a nearest codeword"
    assert distance[index < 0].isnan().all(), "distance of a vector without a nearest codeword is not NaN"
    assert codeword[index < 0].isnan().all(), "codeword of a vector without a nearest codeword is not NaN"
    valid = index >= 0
    chosen, best, wide = index[valid], best[valid], wide[valid]
    assert torch.equal(codeword[valid], codebook[chosen]), "codeword differs from the index's"
    exact = (wide - words[chosen]).square().sum(1)
    assert bool(((distance[valid] - exact).abs() <= (d + 2) * EPS / 2 * 1.001 * exact + 1e-38).all()), "wrong distance"
    # The bound in arguments.h.
    of_z, a, b = wide.norm(dim=1), words[chosen].norm(dim=1), words[best].norm(dim=1)
    allowed = (d / 2 + 2) * EPS * (a.square() + 2 * of_z * a + b.square() + 2 * of_z * b)
    excess = exact - (wide - words[best]).square().sum(1)
    assert bool((excess <= allowed).all()), "codeword farther than rounding explains"
    return index


def to_torch(result: Nearest) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Returns index, distance and codeword as PyTorch tensors, without a copy."""
    index, distance, codeword = (from_dlpack(a) for a in (result.index, result.distance, result.codeword))
    return index, distance, codeword


def nearest_in_float64(z: torch.Tensor, codebook: torch.Tensor) -> torch.Tensor:
    """Returns argmin of squared differences, the lowest index of equal ones, -1 if no codeword is finite."""
    n, k = len(z), len(codebook)
    best = torch.full((n,), -1, device=z.device)
    step = max(1, _BLOCK // (k * z.shape[1]))
    for begin in range(0, n, step):
        squared = (z[begin : begin + step, None] - codebook).square().sum(2)
        squared[~squared.isfinite()] = torch.inf
        least, _ = squared.min(1, keepdim=True)
        first = (squared == least).int().argmax(1)
        best[begin : begin + step] = torch.where(least[:, 0].isfinite(), first, -1)
    return best


def run(driver: Driver, exact: Driver) -> int:
    """Checks every type, shape, kind of values and layout; returns the number of searches.

    ``exact`` is a second driver, whose indices must be equal. Raises AssertionError that names the first wrong search.
    """
    searches = 0
    for name, dtype in TYPES.items():
        for n, k, d in SHAPES:
            for kind in VALUES:
                z, codebook = values(kind, n, k, d, dtype, "cuda")
                indices = []
                for layout in LAYOUTS:
                    try:
                        indices.append(check(z, codebook, layout, driver))
                        if name != "float32":
                            indices.append(check(z, codebook, layout, exact))
                        assert all(torch.equal(index, indices[0]) for index in indices), "indices differ by layout"
                        if kind == "codewords twice":
                            assert bool((indices[0] < max(1, k // 2)).all()), "not the lowest of equal codewords"
                    except AssertionError as error:
                        raise AssertionError(f"{name} [{n}, {d}], K = {k}, {kind}, {layout}: {error}") from error
                    searches += 1
    return searches


def run_on_a_stream(driver: Driver) -> None:
    """Checks searches on a stream that does not wait for the default stream. Raises AssertionError."""
    stream: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    with torch.cuda.stream(stream):
        for _ in range(20):
            z, codebook = values("normal", 4096, 512, 64, torch.float32, "cuda")
            check(z, codebook, "rows", driver, stream)
    for _ in range(20):  # inputs created on the default stream, searched on another, read on the default one
        z, codebook = values("normal", 4096, 512, 64, torch.float16, "cuda")
        check(z, codebook, "rows", driver, stream)
