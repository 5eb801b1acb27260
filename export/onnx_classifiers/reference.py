"""The plain reference of an attached classifier: pixels in float64, one by one, then the original model.

The golden vectors of a bundle are its results.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from latentloop.backends.cpu.session import PROVIDERS
from latentloop.errors import CheckpointError, LatentLoopError, OutputError
from latentloop.export.onnx_classifiers.attached import AttachedClassifier, ImageInput
from latentloop.export.onnx_classifiers.model import one_line

Array = NDArray[Any]
Run = Callable[[NDArray[np.uint8]], tuple[Array, Array | None]]
SMALLEST = 1e-30  # added to probabilities before they are divided by their sum, which may be 0


def resized(image: NDArray[np.float64], size: tuple[int, int], kind: str, *, antialias: bool) -> NDArray[np.float64]:
    """Resizes an image [H, W, C] to ``size``: rows, then columns. A cubic's result is limited to 0 to 255."""
    for axis in (0, 1):
        lines = np.moveaxis(image, axis, 0)
        new = []
        for i in range(size[axis]):
            taps = taps_of(i, len(lines), size[axis], kind, antialias=antialias)
            new.append(sum(weight * lines[j] for j, weight in taps))
        image = np.moveaxis(np.array(new), 0, axis)
    return image.clip(0, 255) if kind == "bicubic" else image


def taps_of(i: int, size: int, to: int, kind: str, *, antialias: bool) -> list[tuple[int, float]]:
    """Returns the pixels of ``size`` that result i of ``to`` is made of, with their weights, whose sum is 1."""
    if size == to:
        return [(i, 1.0)]
    centre = (i + 0.5) * size / to
    if kind == "nearest":
        return [(min(math.floor(centre), size - 1), 1.0)]
    stretch = size / to if antialias and size > to else 1.0
    radius = 1.0 if kind == "bilinear" else 2.0
    first, last = math.floor(centre - radius * stretch) - 1, math.ceil(centre + radius * stretch) + 1
    taps = []
    for j in range(first, last + 1):
        x = abs(j + 0.5 - centre) / stretch
        weight = _triangle(x) if kind == "bilinear" else _keys_cubic(x, -0.5 if antialias else -0.75)
        if not antialias:
            taps.append((min(max(j, 0), size - 1), weight))  # the border is repeated
        elif 0 <= j < size:
            taps.append((j, weight))
    total = sum(weight for _, weight in taps)
    return [(j, weight / total) for j, weight in taps]


def _triangle(x: float) -> float:
    return 1 - x if x < 1 else 0.0


def _keys_cubic(x: float, a: float) -> float:
    """R. Keys, Cubic convolution interpolation, 1981."""
    if x < 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0


def prepared(image: NDArray[np.uint8], target: ImageInput) -> Array:
    """Returns an image [H, W, C] as the model's input [1, ...]."""
    pixels = resized(image.astype(np.float64), target.size, target.filter, antialias=target.antialias)
    channels = [pixels[..., min(c, pixels.shape[-1] - 1)] for c in range(target.channels)]
    if target.channels == 3 and target.order == "BGR":
        channels.reverse()
    values = [
        (channel * target.scale - mean) / std
        for channel, mean, std in zip(channels, target.mean, target.std, strict=True)
    ]
    with np.errstate(over="ignore"):  # results that are not finite are found later
        return np.stack(values, axis=0 if target.layout == "NCHW" else -1)[None].astype(target.dtype)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder that exists for the duration of a ``with`` block. Raises OutputError if it cannot be written."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
    except OSError as error:
        raise OutputError(
            f"cannot write a classifier into {tempfile.gettempdir()}: {error.strerror}; make space, or set TMPDIR"
        ) from error


@contextmanager
def original(classifier: AttachedClassifier) -> Iterator[Run]:
    """A function that runs the original model on images [n, H, W, C], one by one, and returns its output [n, ...] and
    its features [n, ...] or None. Raises CheckpointError if ONNX Runtime cannot load or run it.
    """
    from latentloop.backends.onnxruntime import open_session

    model, target = classifier.model, classifier.input
    proto, names = onnx.ModelProto(), [classifier.output, *filter(None, [classifier.features])]
    proto.CopyFrom(model.proto)
    known = {each.name for each in proto.graph.output}
    proto.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in {*names} - known)
    with temporary_folder() as folder:
        file = folder / "original.onnx"
        file.write_bytes(proto.SerializeToString())
        try:
            session = open_session(file, PROVIDERS, None)
        except LatentLoopError as error:
            detail = one_line(error.__cause__ or error, file, model.path)
            raise CheckpointError(f"{model.path}: ONNX Runtime cannot load it: {detail}") from error

        def run(images: NDArray[np.uint8]) -> tuple[Array, Array | None]:
            results = []
            for image in images:
                inputs = prepared(image, target).repeat(target.batch or 1, axis=0)
                try:
                    outputs = session.run(names, {target.name: inputs})
                except Exception as error:  # ONNX Runtime's exceptions have no common base class
                    raise CheckpointError(
                        f"{model.path}: ONNX Runtime cannot run it on an image, {target.name!r} of {inputs.shape}: "
                        f"{one_line(error)}; do its size and layout fit?"
                    ) from error
                results.append([np.asarray(each) for each in outputs])
            columns = [
                np.concatenate([each[:1] if each.ndim else each[None] for each in column])
                for column in zip(*results, strict=True)
            ]
            return columns[0], columns[1] if len(columns) > 1 else None

        yield run


def probabilities_of(classifier: AttachedClassifier, output: Array) -> NDArray[np.float64]:
    """Returns the probabilities [n, classes] from the model's output [n, ...] in float64."""
    values = output.reshape(len(output), -1).astype(np.float64)
    outputs = classifier.outputs or tuple((index,) for index in range(len(classifier.classes)))
    known = sorted(index for of_class in outputs for index in of_class)
    largest = values[:, known].max(1, keepdims=True)
    values = np.exp(values - largest) if classifier.softmax else values + SMALLEST
    sums = np.stack([values[:, list(of_class)].sum(1) for of_class in outputs], axis=1)
    return np.asarray(sums / sums.sum(1, keepdims=True))


def reference_results(classifier: AttachedClassifier, images: NDArray[np.uint8]) -> tuple[Array, Array]:
    """Returns probabilities [n, classes] and features [n, F] of images [n, H, W, C]; F is 0 without features."""
    with original(classifier) as run:
        output, features = run(images)
    none = np.empty((len(images), 0)) if features is None else features
    return probabilities_of(classifier, output), none.reshape(len(images), -1)


def golden_attached(classifier: AttachedClassifier, images: NDArray[np.uint8]) -> dict[str, Array]:
    """Returns the golden vectors of an attached classifier, for images [n, H, W, C], as float32.

    Raises CheckpointError if the results are not finite.
    """
    probabilities, features = reference_results(classifier, images)
    if not (np.isfinite(probabilities).all() and np.isfinite(features).all()):
        raise CheckpointError(f"{classifier.model.path}: its results for the golden images are not finite")
    return {
        "classifier.probabilities": probabilities.astype(np.float32),
        "classifier.features": features.astype(np.float32),
    }
