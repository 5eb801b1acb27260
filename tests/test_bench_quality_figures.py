"""The figures of sample quality, each compared with an obvious reference or a closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest

from latentloop.bench.quality import neighbours
from latentloop.bench.quality.dataset import select
from latentloop.bench.quality.frechet import between_normals, frechet_distance, moments
from latentloop.bench.quality.neighbours import nearest, precision_recall
from latentloop.bench.quality.novelty import SHOWN, novelty, picture, pixels
from latentloop.bench.quality.recognition import accuracy
from latentloop.evaluation.selection import interleaved
from latentloop.export.data.datasets import Dataset


def normals(n: int, dimensions: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, dimensions))


def random_covariance(dimensions: int, seed: int) -> np.ndarray:
    values = normals(dimensions, dimensions, seed)
    return np.asarray(values @ values.T)


def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns all distances [N, M], computed one by one."""
    return np.array([[math.dist(x, y) for y in b] for x in a])


def test_frechet_distance_of_diagonal_covariances() -> None:
    mean, other = normals(2, 6)
    a, b = np.square(normals(2, 6, 1))
    expected = np.square(mean - other).sum() + np.square(np.sqrt(a) - np.sqrt(b)).sum()
    assert between_normals(mean, np.diag(a), other, np.diag(b)) == pytest.approx(expected)


def test_frechet_distance_of_any_covariances() -> None:
    a, b = random_covariance(7, 0), random_covariance(7, 1)
    roots = np.sqrt(np.linalg.eigvals(a @ b).real).sum()  # the formula's trace, of a matrix that is not symmetric
    expected = np.trace(a) + np.trace(b) - 2 * roots
    zero = np.zeros(7)
    assert between_normals(zero, a, zero, b) == pytest.approx(expected)
    assert between_normals(zero, b, zero, a) == pytest.approx(expected)
    a[:, 0] = a[0] = 0  # one direction without variance
    assert between_normals(zero, a, zero, a) == pytest.approx(0, abs=1e-6)


def test_frechet_distance_of_features() -> None:
    features = normals(50, 5).astype(np.float32)
    mean, covariance = moments(features)
    assert mean == pytest.approx(features.mean(0), abs=1e-6)
    centred = features - features.mean(0)
    assert covariance == pytest.approx(centred.T @ centred / 49, abs=1e-6)
    assert frechet_distance(features, features) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(features, features + 2) == pytest.approx(5 * 4, rel=1e-5)
    assert frechet_distance(features[:, :1], 3 * features[:, :1]) == pytest.approx(
        (2 * mean[0]) ** 2 + (2 * math.sqrt(covariance[0, 0])) ** 2, rel=1e-5
    )  # one dimension
    few = normals(4, 9, 1)  # fewer images than features
    assert 0 < frechet_distance(few, few + 1e-3) < 1e-3


@pytest.mark.parametrize("block", [1, 5, 64])
def test_nearest(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(neighbours, "BLOCK", block)
    queries, points = normals(13, 4, 1) + 100, normals(33, 4, 2) + 100
    every = distances(queries, points)
    for dtype, tolerance in ((np.float64, 1e-9), (np.float32, 1e-4)):
        values, indices = nearest(queries.astype(dtype), points.astype(dtype), 3)
        assert values.dtype == dtype
        assert (indices == np.argsort(every, 1)[:, :3]).all()
        assert values == pytest.approx(np.sort(every, 1)[:, :3], abs=tolerance)


@pytest.mark.parametrize("k", [1, 3])
def test_precision_and_recall(monkeypatch: pytest.MonkeyPatch, k: int) -> None:
    monkeypatch.setattr(neighbours, "BLOCK", 7)
    real, generated = normals(30, 3), 0.7 * normals(40, 3, 1) + [1.0, 0, 0]

    def within(members: np.ndarray, others: np.ndarray) -> float:
        inside = 0
        for other in others:
            inside += any(
                math.dist(other, point) <= sorted(math.dist(point, p) for p in members)[k] for point in members
            )  # [0] is the point itself
        return inside / len(others)

    expected = within(real, generated), within(generated, real)
    assert 0 < expected[1] < expected[0] < 1
    assert precision_recall(real, generated, k) == pytest.approx(expected)


def test_extreme_precision_and_recall() -> None:
    real = normals(20, 3)
    assert precision_recall(real, real) == (1, 1)
    assert precision_recall(real, real + 1000) == (0, 0)
    one_mode = real[:1] + 1e-3 * normals(20, 3, 1)
    precision, recall = precision_recall(real, one_mode)
    assert precision == 1
    assert recall <= 0.1


def test_novelty_tells_copies_from_new_images() -> None:
    training, held_out, new = normals(60, 8), normals(20, 8, 1), normals(20, 8, 2)
    every = distances(new, training)
    of_new = novelty(new, held_out, training)
    assert of_new.samples == pytest.approx(every.min(1))
    assert of_new.indices.tolist() == np.argsort(every, 1)[:, :SHOWN].tolist()
    figures = of_new.to_json()
    assert figures["samples"] == pytest.approx(np.percentile(every.min(1), figures["percentiles"]))
    expected = np.median(every.min(1)) / np.median(distances(held_out, training).min(1))
    assert figures["ratio_of_medians"] == pytest.approx(expected)
    copies = novelty(training[:20] + 1e-6, held_out, training)
    assert copies.indices[:, 0].tolist() == list(range(20))
    assert copies.to_json()["ratio_of_medians"] < 1e-3
    assert novelty(new, training, training).to_json()["ratio_of_medians"] is None


def test_pixels_are_root_mean_squares_of_halved_images() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 6, 3), np.uint8)
    vectors = pixels(images)
    halved = [[[i[y : y + 2, x : x + 2].mean((0, 1)) for x in (0, 2, 4)] for y in (0, 2)] for i in images]
    expected = math.sqrt(np.square(np.array(halved[0]) - np.array(halved[1])).mean())
    assert np.linalg.norm(vectors[0] - vectors[1]) == pytest.approx(expected, rel=1e-5)


def test_the_picture_shows_each_sample_beside_its_neighbours() -> None:
    shades = np.arange(20, dtype=np.uint8)
    training = np.broadcast_to(10 * shades[:, None, None, None], (20, 64, 64, 1))
    samples = training[[5, 12]] + 1
    by_pixels = novelty(pixels(samples), pixels(training), pixels(training))
    middles = picture(samples, training, [by_pixels, by_pixels])[64::130, :, 0]
    for row, near in zip(middles, ([51, 50, 60, 40], [121, 120, 130, 110]), strict=True):
        runs = [int(value) for value, before in zip(row[1:], row, strict=False) if value != before and value != 255]
        assert [int(row[0]), *runs] == [*near, *near[1:]]


def test_accuracy_and_confusion() -> None:
    labels, predicted = np.array([0, 0, 0, 2, 2]), np.array([0, 1, 0, 2, 1])
    figures = accuracy(labels, predicted, ("a", "b", "c"))
    assert figures["accuracy"] == 0.6
    assert figures["classes"] == {"a": pytest.approx(2 / 3), "b": None, "c": 0.5}
    assert figures["confusion"] == [[2, 1, 0], [0, 0, 0], [0, 1, 1]]


def test_selected_images_are_balanced_over_the_classes() -> None:
    labels = np.repeat([0, 1, 2], [50, 4, 30])
    part = Dataset(np.zeros((84, 1, 1, 1), np.uint8), labels)
    indices = select(part, 30)
    assert np.bincount(labels[indices]).tolist() == [13, 4, 13]
    assert (np.diff(indices) > 0).all()
    assert indices[12] - indices[0] > 20  # a random selection, not the first images
    assert select(part, 30).tolist() == indices.tolist()
    assert select(part, 100).tolist() == list(range(84))
    assert len(set(select(Dataset(part.images, None), 30))) == 30


def test_selected_images_match_the_classes_of_others() -> None:
    labels = np.array([0] * 9 + [1] * 4 + [2] * 9)
    part = Dataset(np.zeros((22, 1, 1, 1), np.uint8), labels)
    like = np.array([2, 0, 2, 2, 1, 2, 2])
    assert np.bincount(labels[select(part, 7, like)]).tolist() == [1, 1, 5]
    assert sorted(np.bincount(labels[select(part, 7)])) == [2, 2, 3]
    assert interleaved(np.array([0, 0, 0, 1, 2, 2])).tolist() == [0, 1, 2, 0, 2, 0]
