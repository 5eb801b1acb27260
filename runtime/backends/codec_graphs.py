"""The check that the encoder, the decoder and the classifier have the inputs and outputs that the manifest implies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from latentloop.bundles.bundle import Bundle
from latentloop.bundles.codec import CodecGraph, Tensor, codec_of
from latentloop.bundles.manifest import BATCH, Manifest
from latentloop.errors import BundleError
from latentloop.kernels.element_types import BOUND

_NAMES = {each.onnxruntime: each.name for each in BOUND}


def check_codec_graph(bundle: Bundle, file: str, session: Any) -> None:
    """Raises BundleError unless an ONNX Runtime session of a bundle's file has the inputs and outputs of that file's
    role; files of priors are not checked.
    """
    for role, graph in _descriptions(bundle.manifest):
        if graph.file != file:
            continue
        for kind, values, tensors in (
            ("inputs", session.get_inputs(), graph.inputs),
            ("outputs", session.get_outputs(), graph.outputs),
        ):
            actual = {value.name: value for value in values}
            expected = {tensor.name: tensor for tensor in tensors}
            if actual.keys() != expected.keys():
                raise BundleError(
                    f"{bundle.path / file}: the {role}'s {kind} are {', '.join(actual)}, expected from the manifest "
                    f"{', '.join(expected)}; export the bundle again"
                )
            for name, tensor in expected.items():
                _check_tensor(f"{bundle.path / file}: the {role}'s {name}", actual[name], tensor)


def _descriptions(manifest: Manifest) -> Iterator[tuple[str, CodecGraph]]:
    encoder, decoder = codec_of(manifest)
    yield "encoder", encoder
    yield "decoder", decoder
    if manifest.classifier is not None:
        probabilities = Tensor("probabilities", "float32", (BATCH, len(manifest.classes)))
        outputs = probabilities, Tensor("features", "float32", (BATCH, "features"))
        yield "classifier", CodecGraph(manifest.classifier, encoder.inputs, outputs)


def _check_tensor(where: str, value: Any, expected: Tensor) -> None:
    """Compares type and shape. A size that is dynamic on either side is not compared."""
    dtype = _NAMES.get(value.type, value.type.removeprefix("tensor(").removesuffix(")"))
    fits = len(value.shape) == len(expected.shape) and all(
        type(size) is not int or type(other) is not int or size == other
        for size, other in zip(value.shape, expected.shape, strict=True)
    )
    if dtype != expected.dtype or not fits:
        raise BundleError(
            f"{where} is {dtype} {list(value.shape)}, expected from the manifest {expected.dtype} "
            f"{list(expected.shape)}; export the bundle again"
        )
