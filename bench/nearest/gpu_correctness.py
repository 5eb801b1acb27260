"""Whether searches on a GPU are right: against float64 there, for every type and layout, and for odd values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.utils.dlpack import from_dlpack

from latentloop.kernels.driver.driver import Driver
from latentloop.kernels.driver.with_cuda_python import CudaPython
from latentloop.kernels.nearest_codebook.codebook import Layout
from latentloop.kernels.nearest_codebook.on_gpu import Nearest, nearest_on_gpu

TYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
LAYOUTS: tuple[Layout, ...] = ("rows", "channels_first")
SHAPES = [(1, 1, 1), (99, 989, 19), (4096, 512, 64), (5000, 700, 64), (1025, 16384, 64), (700, 300, 512)]  # N, K, D
VALUES = ("normal", "near codewords", "between codewords", "large", "codewords twice", "not finite")
EPS = 2.0**-23
_BLOCK = 2**25  # differences held at once


class WithoutTensorCores(CudaPython):
    """Searches 16-bit vectors by FMA chains: the indices must be the same."""

    def function(self, image: Path, name: str) -> Any:
        """The exact search in place of the approximate one."""
        return super().function(image, name.replace("nearest_search_tensor", "nearest_search"))


def values(kind: str, n: int, k: int, d: int, dtype: torch.dtype, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """z [N, D] and codebook [K, D], drawn anew."""
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
    """The index [N] that was found for z [N, D], laid out as asked. AssertionError where it cannot be."""
    n, d = z.shape
    images = 5 if n % 5 == 0 else 1
    given = z if layout == "rows" else z.reshape(images, n // images, d).transpose(1, 2).contiguous()
    found = nearest_on_gpu(given, codebook, layout=layout, distance=True, codeword=True, stream=stream, driver=driver)
    index, distance, codeword = adopt(found)
    if layout != "rows":
        codeword = codeword.transpose(1, 2)
    index, distance, codeword = index.reshape(n), distance.reshape(n), codeword.reshape(n, d)
    wide, words = z.double(), codebook.double()
    best = nearest_in_float64(wide, words)
    none = ~wide.square().sum(1).isfinite()
    assert torch.equal(index < 0, none | (best < 0)), "another set of vectors without a nearest codeword"
    assert found.invalid == int((index < 0).sum()), "a wrong count of vectors without a nearest codeword"
    assert distance[index < 0].isnan().all(), "a distance where there is none"
    assert codeword[index < 0].isnan().all(), "a codeword where there is none"
    there = index >= 0
    chosen, best, wide = index[there], best[there], wide[there]
    assert torch.equal(codeword[there], codebook[chosen]), "a codeword that is not the index's"
    exact = (wide - words[chosen]).square().sum(1)
    assert bool(((distance[there] - exact).abs() <= (d + 2) * EPS / 2 * 1.001 * exact + 1e-38).all()), (
        "a wrong distance"
    )
    # The bound of arguments.h.
    of_z, a, b = wide.norm(dim=1), words[chosen].norm(dim=1), words[best].norm(dim=1)
    allowed = (d / 2 + 2) * EPS * (a.square() + 2 * of_z * a + b.square() + 2 * of_z * b)
    excess = exact - (wide - words[best]).square().sum(1)
    assert bool((excess <= allowed).all()), "a codeword farther than rounding explains"
    return index


def adopt(found: Nearest) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Index, distance and codeword as PyTorch's, without a copy."""
    index, distance, codeword = (from_dlpack(a) for a in (found.index, found.distance, found.codeword))
    return index, distance, codeword


def nearest_in_float64(z: torch.Tensor, codebook: torch.Tensor) -> torch.Tensor:
    """argmin by differences, lowest index first, -1 where no codeword is finite."""
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


def run(driver: Driver, exact: Driver | None, device: str = "cuda", most_vectors: int = 5000) -> int:
    """How many searches were right; AssertionError, with what was searched, for the first that is wrong."""
    searches = 0
    for name, dtype in TYPES.items():
        for n, k, d in SHAPES:
            if n > most_vectors:
                continue
            for kind in VALUES:
                z, codebook = values(kind, n, k, d, dtype, device)
                indices = []
                for layout in LAYOUTS:
                    try:
                        indices.append(check(z, codebook, layout, driver))
                        if exact is not None and name != "float32":
                            indices.append(check(z, codebook, layout, exact))
                        assert all(torch.equal(index, indices[0]) for index in indices), "not one index for all layouts"
                        if kind == "codewords twice":
                            assert bool((indices[0] < max(1, k // 2)).all()), "not the lowest of equal codewords"
                    except AssertionError as error:
                        raise AssertionError(f"{name} [{n}, {d}], K = {k}, {kind}, {layout}: {error}") from error
                    searches += 1
    return searches


def run_on_a_stream(driver: Driver) -> None:
    """Inputs made, searched and adopted on a stream that does not wait for the default one, again and again."""
    stream: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    with torch.cuda.stream(stream):
        for _ in range(20):
            z, codebook = values("normal", 4096, 512, 64, torch.float32, "cuda")
            check(z, codebook, "rows", driver, stream)
    for _ in range(20):  # made on the default stream, searched on another, adopted on the default one
        z, codebook = values("normal", 4096, 512, 64, torch.float16, "cuda")
        check(z, codebook, "rows", driver, stream)
