"""Checks that run an attached classifier on a few images, before long work, and compare its graph with the original."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentloop.backends.cpu.session import PROVIDERS
from latentloop.errors import CheckpointError, InputError, LatentLoopError, listed
from latentloop.export.bundle.files import write_graphs
from latentloop.export.graphs.builder import WeightStore
from latentloop.export.onnx_classifiers.attached import REMEDY, AttachedClassifier
from latentloop.export.onnx_classifiers.graph import attached_graph
from latentloop.export.onnx_classifiers.model import one_line
from latentloop.export.onnx_classifiers.reference import original, probabilities_of, temporary_folder
from latentloop.sampling.classifier import SUM_BOUND
from latentloop.sampling.verification import CLASSIFIER_BOUND

Array = NDArray[Any]
IMAGES = 3  # more than one, to see whether the images of a batch depend on each other
MOST_FEATURES = 8192  # of a last layer that the settings do not name


def run_attached(classifier: AttachedClassifier) -> AttachedClassifier:
    """Runs a classifier on images of noise, and returns it with the features that it has.

    Raises InputError and CheckpointError if its results are not those of a classifier for the bundle's classes, or if
    the bundle's graph does not reproduce them.
    """
    # 1. Run the original model, image by image.
    images = _noise(classifier.image)
    with original(classifier) as run:
        output, features = run(images)
    # 2. Check its results.
    _check_output(classifier, output)
    classifier = _with_features(classifier, features)
    expected = probabilities_of(classifier, output)
    if classifier.features is None or features is None:
        features = np.empty((IMAGES, 0))
    # 3. Compare the bundle's graph with them, on all images at once.
    try:
        _compare(classifier, images, expected, features.reshape(IMAGES, -1))
    except CheckpointError:
        if classifier.input.batch != 1:
            raise
        classifier = replace(classifier, one_by_one=True)
        _compare(classifier, images, expected, features.reshape(IMAGES, -1))
    return classifier


def _noise(shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Returns images [n, H, W, C] of white noise, of coarse noise, and grey ones."""
    rng, (height, width, channels) = np.random.default_rng(0), shape
    coarse = rng.integers(0, 256, (-(-height // 8), -(-width // 8), channels), dtype=np.uint8)
    enlarged = coarse.repeat(8, 0).repeat(8, 1)[:height, :width]
    white = rng.integers(0, 256, shape, dtype=np.uint8)
    return np.stack([white, enlarged, np.full(shape, 128, np.uint8)])


def _check_output(classifier: AttachedClassifier, output: Array) -> None:
    where = f"{classifier.model.path}: its output {classifier.output!r}"
    shape = list(output.shape)
    if output.dtype.kind != "f" or len(shape) < 2 or shape[2:] not in ([], [1, 1]):
        described = f"{output.dtype} {['batch', *shape[1:]]}"
        raise InputError(f"{where} is {described}, expected float32 ['batch', classes]: {REMEDY} (output: its name)")
    names = classifier.classes
    if classifier.outputs is None:
        if shape[1] != len(names):
            raise InputError(
                f"{where} has {shape[1]} classes, the bundle {len(names)} ({listed(names)}): name the classifier's "
                "classes in --classifier-settings (classes: a list of names, in order)"
            )
    elif classifier.count not in (None, shape[1]):
        raise InputError(f"{where} has {shape[1]} classes, but classes names {classifier.count}: name all in order")
    elif (most := max(number for of_class in classifier.outputs for number in of_class)) >= shape[1]:
        raise InputError(f"{where} has {shape[1]} classes, but classes names the output {most}: they count from 0")
    if not np.isfinite(output).all():
        raise InputError(f"{where} is not finite for images of noise: are its weights, and scale, mean and std, right?")
    values = output.reshape(len(output), -1).astype(np.float64)
    sums = values.sum(1)
    are_probabilities = bool((values >= 0).all() and (np.abs(sums - 1) <= SUM_BOUND).all())
    if not classifier.softmax and not are_probabilities:
        raise InputError(
            f"{where} has values from {values.min():g} to {values.max():g} whose sums are {sums.min():g} to "
            f"{sums.max():g}, expected probabilities: {REMEDY} (softmax: true) if they are logits"
        )
    if classifier.softmax and classifier.softmax_is_derived and are_probabilities:
        raise InputError(
            f"{where} has values from 0 to 1 whose sums are 1, but no Softmax computes it: {REMEDY} whether these are "
            "probabilities (softmax: false) or logits (softmax: true)"
        )


def _with_features(classifier: AttachedClassifier, features: Array | None) -> AttachedClassifier:
    """Returns the classifier with the number of its features; without features that it was not told to use if they do
    not look like any.
    """
    if features is None:
        return classifier
    where = f"{classifier.model.path}: its features {classifier.features!r}"
    count = int(np.prod(features.shape[1:]))
    if classifier.features_are_derived:
        if features.dtype.kind != "f" or features.ndim != 2 or not 0 < count <= MOST_FEATURES:
            return replace(classifier, features=None)
    elif features.dtype.kind != "f" or features.ndim < 2 or count == 0:
        shape = ["batch", *features.shape[1:]]
        raise InputError(f"{where} are {features.dtype} {shape}, expected float32 ['batch', features]")
    if not np.isfinite(features).all():
        raise InputError(f"{where} are not finite for images of noise: name others, or none (features: false)")
    return replace(classifier, feature_count=count)


def _compare(classifier: AttachedClassifier, images: NDArray[np.uint8], expected: Array, features: Array) -> None:
    """Raises CheckpointError unless the bundle's graph gives these probabilities and features."""
    from latentloop.backends.onnxruntime import open_session

    path, batch = classifier.model.path, classifier.input.batch
    remedy = "export the model with a dynamic batch, or a batch of 1"
    with temporary_folder() as folder:
        store, file = WeightStore(), "classifier.onnx"
        try:
            write_graphs(folder, {file: attached_graph(classifier, store)}, store)
            session = open_session(folder / file, PROVIDERS, None)
        except OSError:
            raise
        except Exception as error:  # of several types, of ONNX and of this project
            cause = error.__cause__ if isinstance(error, LatentLoopError) and error.__cause__ else error
            detail = one_line(cause, folder / file, path)
            fixed = "" if batch is None else f"; its batch is fixed to {batch}: {remedy}"
            raise CheckpointError(f"{path}: the model cannot be part of the bundle's graph: {detail}{fixed}") from error
        try:
            probabilities, found = session.run(["probabilities", "features"], {"images": images})
        except Exception as error:  # ONNX Runtime's exceptions have no common base class
            fixed = "its batch" if batch is None else f"its batch is fixed to {batch}, and it"
            problem = f"{fixed} cannot have {len(images)} images: {one_line(error)}"
            raise CheckpointError(f"{path}: {problem}; {remedy}") from error
    if probabilities.shape != expected.shape or found.shape != features.shape:
        shapes = f"{list(probabilities.shape)} and {list(found.shape)}"
        raise CheckpointError(
            f"{path}: gives {shapes} for {len(images)} images at once, expected {list(expected.shape)} and "
            f"{list(features.shape)}; {remedy}"
        )
    scale = max(1.0, float(np.abs(features).max(initial=0)))
    errors = np.abs(probabilities - expected).max(), np.abs(found - features).max(initial=0) / scale
    if not max(errors) <= CLASSIFIER_BOUND:  # also NaN
        raise CheckpointError(
            f"{path}: its results for {len(images)} images at once differ by {max(errors):.2g} from those for each "
            f"one, at most {CLASSIFIER_BOUND:g} are allowed: export it in float32, for inference (model.eval())"
        )
