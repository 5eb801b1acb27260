"""The NumPy reference of the nearest codeword, compared with its definition."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import pytest
import torch

from latentloop.export.models.vqvae import Codebook
from latentloop.kernels.nearest_codebook import nearest_codebook, reference
from latentloop.kernels.nearest_codebook.reference import nearest_reference


@pytest.mark.parametrize(("n", "d", "k"), [(0, 3, 4), (1, 1, 1), (19, 5, 7), (300, 64, 99)])
def test_equals_the_definition(n: int, d: int, k: int) -> None:
    rng = np.random.default_rng(0)
    z, codebook = rng.normal(size=(n, d)), rng.normal(size=(k, d))
    result = nearest_reference(z, codebook)
    for row in range(n):
        distances = [float(((z[row] - codeword) ** 2).sum()) for codeword in codebook]
        ordered = sorted((distance, index) for index, distance in enumerate(distances))
        assert result.index[row] == ordered[0][1]
        assert result.distance[row] == pytest.approx(ordered[0][0])
        assert result.runner_up[row] == (pytest.approx(ordered[1][0]) if k > 1 else np.inf)
    assert result.index.shape == (n,)


def test_ties_return_the_lowest_index() -> None:
    codebook = np.array([[5.0, 5], [1, 0], [0, 1], [1, 0], [0, 1]])
    result = nearest_reference(np.array([[0.5, 0.5], [1, 0], [0, 1]]), codebook)
    assert result.index.tolist() == [1, 1, 2]
    np.testing.assert_array_equal(result.runner_up, result.distance)


def test_the_block_size_does_not_change_results(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    z, codebook = rng.normal(size=(50, 4)), rng.normal(size=(9, 4))
    whole = nearest_reference(z, codebook)
    monkeypatch.setattr(reference, "_BLOCK", 36 * 7)
    np.testing.assert_array_equal(nearest_reference(z, codebook).index, whole.index)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_values_that_are_not_finite(value: float) -> None:
    z, codebook = np.eye(3), np.eye(3)
    z[1, 2] = value
    assert nearest_reference(z, codebook).index.tolist() == [0, -1, 2]
    result = nearest_reference(z, np.where(codebook == 0, codebook, [1, 1, value]))
    assert result.index.tolist() == [0, -1, 0]
    np.testing.assert_array_equal(result.distance, [0, np.nan, 2])
    np.testing.assert_array_equal(result.runner_up, [2, np.nan, 2])
    no_codeword = nearest_reference(np.eye(3), np.full((2, 3), value))
    assert no_codeword.index.tolist() == [-1, -1, -1]
    assert np.isnan(no_codeword.distance).all()


def test_the_pytorch_model_agrees() -> None:
    codebook = Codebook(33, 6)
    z = torch.randn(2, 6, 4, 5)
    flat = z.permute(0, 2, 3, 1).reshape(-1, 6).numpy()
    np.testing.assert_array_equal(
        codebook.nearest(z).ravel(), nearest_reference(flat, codebook.embedding.numpy()).index
    )


class ConvertsToMasked:
    """An object that is not a masked array but converts to one."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.ma.masked_less(np.eye(2, dtype=np.float32), 1)


@pytest.mark.parametrize("masked", [ConvertsToMasked(), deque(ConvertsToMasked().__array__()), [[ConvertsToMasked()]]])
def test_masks_are_rejected_at_any_depth(masked: Any) -> None:
    plain = np.eye(2, dtype=np.float32)
    assert nearest_codebook(list(plain), deque(plain)).index.tolist() == [0, 1]
    with pytest.raises(TypeError, match="z is masked"):
        nearest_codebook(masked, plain)
    with pytest.raises(TypeError, match="codebook is masked"):
        nearest_codebook(plain, masked)


@pytest.mark.parametrize(("z", "codebook"), [((3, 4), (2, 5)), ((3,), (2, 3)), ((3, 4), (0, 4))])
def test_invalid_shapes(z: tuple[int, ...], codebook: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected"):
        nearest_reference(np.zeros(z), np.zeros(codebook))
