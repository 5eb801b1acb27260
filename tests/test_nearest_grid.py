"""The CUDA kernels of the nearest codeword in the CPU simulation, with sanitizers.

Results are bit-identical to float32 FMA chains, correct in float64, and independent of layout, batch and schedule.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from example_counts import FACTOR
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_once import made_once
from nearest_checks import INPUT_KINDS, Oracle, check, check_float64, difficult_inputs, truncated_products
from nearest_grid import (
    NOISE,
    SANITIZERS,
    TYPES,
    Search,
    Server,
    build_server,
    compiler,
    narrow,
    rows_of,
    widen,
)

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C++ compiler")

PATHS = [("f32", False), ("f16", False), ("bf16", False), ("f16", True), ("bf16", True)]  # type, tensor cores


def examples(count: int) -> settings:
    """The same examples on every run, or more and other ones; without time limits, because sanitizers are slow."""
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(
        max_examples=count * FACTOR,
        derandomize=FACTOR == 1,
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=checks,
    )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    flags = [*SANITIZERS, *NOISE]
    program = made_once(tmp_path_factory, "nearest_server", lambda path: build_server(path, flags))
    with Server(program) as running:
        yield running


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Oracle:
    return Oracle.build(tmp_path_factory)


# ---- Random searches: Hypothesis draws sizes, layout, kinds of inputs and a seed for the values.


@st.composite
def searches(draw: st.DrawFn) -> Search:
    kind, tensor_cores = draw(st.sampled_from(PATHS))
    small = st.integers(1, 20)
    k, d = draw(small | st.integers(1, 400)), draw(small | st.integers(1, 80))
    positions = draw(st.just(0) | small)
    n = draw(st.integers(0, 4)) * positions if positions else draw(st.integers(0, 20) | st.integers(0, 300))
    input_kinds = draw(st.sets(st.sampled_from(INPUT_KINDS), max_size=3))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    z, codebook = (narrow(values, kind) for values in difficult_inputs(random, kind, n, k, d, input_kinds))
    return Search(
        z,
        codebook,
        kind,
        tensor_cores,
        positions,
        multiprocessors=draw(st.sampled_from([1, 3, 132])),
        offset=draw(st.sampled_from([0, 0, TYPES[kind], 8])),
        seed=draw(st.integers(0, 2**32 - 1)),
        distance=draw(st.booleans()),
        codeword=draw(st.booleans()),
        invalid=draw(st.booleans()),
    )


@pytest.mark.slow
@examples(250)
@given(search=searches())
def test_every_search_equals_fma_chains(search: Search, server: Server, oracle: Oracle) -> None:
    result = server.search(search)
    check(search, result, oracle)
    check_float64(search, result)


@pytest.mark.slow
@examples(40)
@given(search=searches(), seed=st.integers(0, 2**32 - 1), data=st.data())
def test_results_do_not_depend_on_schedule_layout_splits_and_batch(
    search: Search, seed: int, data: st.DataObject, server: Server
) -> None:
    search = replace(search, distance=True, codeword=True)
    result = server.search(search)
    first = data.draw(st.integers(0, len(search.z)))
    rows = slice(first, data.draw(st.integers(first, len(search.z))))
    for other, part in (
        (replace(search, seed=seed), slice(None)),
        (replace(search, positions=0 if search.positions else len(search.z), offset=0), slice(None)),
        (replace(search, multiprocessors=133 - search.multiprocessors), slice(None)),
        (rows_of(search, rows), rows),
    ):
        again = server.search(other)
        np.testing.assert_array_equal(again.index, result.index[part])
        np.testing.assert_array_equal(again.distance, result.distance[part])
        np.testing.assert_array_equal(widen(again.codeword), widen(result.codeword[part]))


@pytest.mark.slow
@pytest.mark.parametrize("dimensions", [20, 70, 512])
@pytest.mark.parametrize("kind", ["f16", "bf16"])
def test_margin_covers_truncated_products(kind: str, dimensions: int, server: Server, oracle: Oracle) -> None:
    z, codebook = truncated_products(kind, dimensions)
    for seed in range(5):
        result = server.search(Search(z, codebook, kind, True, seed=seed))
        assert result.index.tolist() == [1]
        check(Search(z, codebook, kind, True), result, oracle)


# ---- Sizes at the limits of the kernels and their tiles.

SIZES = [(1, 1, 1), (0, 3, 2), (129, 129, 17), (128, 128, 32), (3, 130, 512), (5, 129, 511), (2, 4097, 3)]


@pytest.mark.slow
@pytest.mark.parametrize("multiprocessors", [1, 132])
@pytest.mark.parametrize(("n", "k", "d"), SIZES)
@pytest.mark.parametrize(("kind", "tensor_cores"), PATHS)
def test_sizes(
    kind: str, tensor_cores: bool, n: int, k: int, d: int, multiprocessors: int, server: Server, oracle: Oracle
) -> None:
    random = np.random.default_rng(n + k + d)
    z, codebook = (narrow(random.standard_normal(shape), kind) for shape in ((n, d), (k, d)))
    search = Search(z, codebook, kind, tensor_cores, multiprocessors=multiprocessors)
    result = server.search(search)
    check(search, result, oracle)
    check_float64(search, result)
