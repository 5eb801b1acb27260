"""The operator NearestCodebook in ONNX Runtime on the CPU: the native operator and the ONNX function body."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cpu_sessions import cpu_session
from nearest_cpu_checks import SHAPES, SPECIAL, Array, check, random
from random_models import NATIVE

from latentloop.backends.cpu.session import OrtSession
from latentloop.export.bundle.files import write_graphs
from latentloop.export.graphs.builder import FLOAT, INT64, GraphBuilder, WeightStore
from latentloop.export.graphs.nearest import nearest_codebook as nearest_node
from latentloop.kernels import nearest_codebook
from latentloop.kernels.nearest_codebook.reference import nearest_reference


@pytest.fixture
def node(tmp_path: Path) -> Callable[..., OrtSession]:
    """Creates a session of one node, with the native operator or (library None) the function body."""

    def create(codebook: Array, rank: int, channels_first: bool, library: Path | None) -> OrtSession:
        g = GraphBuilder("nearest", WeightStore())
        shape: list[int | str] = [f"z.{axis}" for axis in range(rank)]
        shape[1 if channels_first else rank - 1] = codebook.shape[1]
        weight = g.weight("codebook", codebook)
        index = nearest_node(g, g.input("z", FLOAT, shape), weight, rank=rank, channels_first=channels_first)
        g.output("index", index, INT64, [f"i.{axis}" for axis in range(rank - 1)])
        write_graphs(tmp_path, {"nearest.onnx": g}, g.store)
        return cpu_session(tmp_path / "nearest.onnx", threads=2, operators=library)

    return create


LIBRARIES = [NATIVE, pytest.param(None, id="body")]


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize(("n", "d", "k"), SHAPES)
def test_equals_the_reference(n: int, d: int, k: int, library: Path | None, node: Callable[..., OrtSession]) -> None:
    z, codebook = random(n, d), random(k, d, seed=1)
    index = node(codebook, 2, False, library).run({"z": z})["index"]
    check(z, codebook, index)
    if library is not None:
        np.testing.assert_array_equal(index, nearest_codebook(z, codebook).index)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("shape", [(3, 5, 4, 7), (2, 5), (1, 5, 99), (0, 5, 3)])
def test_channels_first(shape: tuple[int, ...], library: Path | None, node: Callable[..., OrtSession]) -> None:
    z, codebook = random(*shape), random(9, 5, seed=1)
    index = node(codebook, len(shape), True, library).run({"z": z})["index"]
    np.testing.assert_array_equal(index, nearest_codebook(z, codebook, layout="channels_first").index)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("value", SPECIAL)
def test_values_that_are_not_finite(value: float, library: Path | None, node: Callable[..., OrtSession]) -> None:
    z, codebook = random(130, 6), random(70, 6, seed=1)
    z[::3, 4] = value
    codebook[::2, 1] = value
    index = node(codebook, 2, False, library).run({"z": z})["index"]
    np.testing.assert_array_equal(index, nearest_reference(z, codebook).index)
    no_codeword = node(np.full((3, 6), value, np.float32), 2, False, library).run({"z": z})["index"]
    assert (no_codeword == -1).all()


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("dimensions", [1, 5, 6, 33, 64, 130])
def test_ties_return_the_lowest_index(library: Path | None, dimensions: int, node: Callable[..., OrtSession]) -> None:
    once = random(17, dimensions)
    codebook = once[np.arange(40) % 17]  # duplicates are in other lanes of a SIMD vector
    z = random(500, dimensions, seed=1)
    index = node(codebook, 2, False, library).run({"z": z})["index"]
    np.testing.assert_array_less(index, 17)
    check(z, codebook, index)
