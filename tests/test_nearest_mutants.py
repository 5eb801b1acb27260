"""The CPU simulation detects every fault that is inserted into the CUDA kernels."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mutants import Mutant
from nearest_checks import Oracle, check, difficult_inputs, truncated_products
from nearest_grid import KERNELS, NATIVE, GridError, Search, Server, build_server, compile_native, compiler, narrow
from nearest_mutants import MUTANTS

pytestmark = [pytest.mark.skipif(compiler() is None, reason="no C++ compiler"), pytest.mark.slow]

JOBS = 2  # parallel compilers
FLAGS = ["-O0", "-fsanitize=address"]


def search(n: int, k: int, d: int, *input_kinds: str, kind: str = "f32") -> Search:
    random = np.random.default_rng(n + k + d)
    z, codebook = (narrow(values, kind) for values in difficult_inputs(random, kind, n, k, d, set(input_kinds)))
    return Search(z, codebook, kind, kind != "f32")


def searches(changed: str = "") -> Iterator[Search]:
    """Small searches that together detect every fault. 16-bit searches use tensor cores; ``changed``: a file's name."""
    for kind in ("f32", "bf16"):
        if changed == {"f32": "search_tensor_cores", "bf16": "search_fma"}[kind]:
            continue
        yield search(3, 7, 24, kind=kind)
        yield replace(search(20, 9, 16, kind=kind), offset=4)
        yield replace(search(24, 64, 40, "equal distances", kind=kind), positions=6)
        yield search(40, 70, 40, "special vectors", "special codewords", kind=kind)
        yield replace(search(40, 70, 5, "special vectors", kind=kind), invalid=False)
        yield replace(search(40, 300, 5, "few values", kind=kind), multiprocessors=132)
        yield search(20, 127, 20, kind=kind)
        yield replace(search(130, 130, 20, kind=kind), multiprocessors=2)
        yield search(128, 128, 80, "equal distances", kind=kind)
        yield replace(search(120, 4300, 2, "vectors are codewords", kind=kind), multiprocessors=132)
        if kind == "bf16":
            yield Search(*truncated_products(kind, 512), kind, True)


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Oracle:
    return Oracle.build(tmp_path_factory)


def first_failure(program: Path, searches: Iterable[Search], oracle: Oracle) -> str:
    """Returns the error of the first search that fails, or ""."""
    with Server(program) as server:
        for number, each in enumerate(searches):
            try:
                check(each, server.search(each), oracle)
            except (GridError, AssertionError) as error:
                return f"search {number}: {error}"
    return ""


def test_unmodified_kernels_have_no_fault(oracle: Oracle, tmp_path: Path) -> None:
    assert first_failure(build_server(tmp_path / "nearest_server", FLAGS), searches(), oracle) == ""


def test_every_fault_is_detected(oracle: Oracle, tmp_path: Path) -> None:
    flags = [*FLAGS, "-c"]
    server = compile_native([NATIVE / "nearest_server.cpp"], tmp_path / "server.o", flags)

    def failure(mutant: Mutant, folder: Path) -> str:
        name = "nearest_codebook"
        shutil.copytree(KERNELS / name, folder / name, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
        changed = mutant.insert(folder / name / "cuda").stem
        kernels = compile_native([NATIVE / "grid" / "nearest.cpp"], folder / "kernels.o", flags, folder)
        program = compile_native([server, kernels], folder / "nearest_server", FLAGS)
        return first_failure(program, searches(changed), oracle)

    with ThreadPoolExecutor(JOBS) as pool:
        results = list(pool.map(failure, MUTANTS, [tmp_path / str(number) for number in range(len(MUTANTS))]))
    survivors = [
        f"{mutant.function}: {mutant.fault}" for mutant, result in zip(MUTANTS, results, strict=True) if not result
    ]
    assert not survivors
