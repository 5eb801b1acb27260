"""The graph of an attached classifier: pixels to the model's input, the model, its output to the classes."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from latentloop.export.graphs.builder import FLOAT, IR_VERSION, UINT8, GraphBuilder, WeightStore
from latentloop.export.onnx_classifiers.attached import AttachedClassifier, ImageInput
from latentloop.export.onnx_classifiers.reference import SMALLEST
from latentloop.export.onnx_classifiers.resizing import resizing_matrix
from latentloop.export.onnx_classifiers.standard import add_prefix

PREFIX = "classifier.model."  # of all names of the model
STORED = 256  # values of a weight that is in the bundle's file of weights; smaller ones are inside the graph


def attached_graph(classifier: AttachedClassifier, store: WeightStore) -> GraphBuilder:
    """Builds the graph. It has 0 features if the classifier has none.

    Input: ``images`` [B, H, W, C] uint8. Outputs: ``probabilities`` [B, classes] and ``features`` [B, F], float32.
    """
    g = _AttachedGraph("classifier", store, classifier.opset)
    images = g.input("images", UINT8, ["batch", *classifier.image])
    output, *others = g.results(classifier, g.prepared(images, classifier.image, classifier.input))
    probabilities = g.probabilities(classifier, output)
    of_images = others[0] if others else g.slice(probabilities, 0, 0, axis=1)
    g.output("probabilities", g.op("Identity", probabilities), FLOAT, ["batch", len(classifier.classes)])
    g.output("features", of_images, FLOAT, ["batch", classifier.feature_count])
    return g


class _AttachedGraph(GraphBuilder):
    """The graph, in the model's opset."""

    def __init__(self, name: str, store: WeightStore, opset: int) -> None:
        super().__init__(name, store)
        self.opset = opset

    def model(self, offsets: dict[str, tuple[int, int]]) -> onnx.ModelProto:
        """Returns the model, like ``GraphBuilder.model``."""
        model = super().model(offsets)
        model.opset_import[0].version = self.opset
        model.ir_version = IR_VERSION if self.opset <= 20 else 10  # the oldest with that opset
        return model

    def prepared(self, images: str, shape: tuple[int, int, int], target: ImageInput) -> str:
        """Adds the operators from images [B, H, W, C] to the model's input."""
        x = self.op("Transpose", self.op("Cast", images, to=FLOAT), perm=[0, 3, 1, 2])
        height, width = (
            resizing_matrix(size, to, target.filter, antialias=target.antialias).astype(np.float32)
            for size, to in zip(shape[:2], target.size, strict=True)
        )
        if target.size[0] != shape[0]:
            x = self.op("MatMul", self.weight("classifier.resizing.height", height), x)
        if target.size[1] != shape[1]:
            x = self.op("MatMul", x, self.weight("classifier.resizing.width", np.ascontiguousarray(width.T)))
        if target.size != shape[:2] and target.filter == "bicubic":
            x = self.op("Clip", x, self.constant(0.0), self.constant(255.0))
        if target.order == "BGR" and shape[2] == 3:
            x = self.op("Gather", x, self.constant([2, 1, 0]), axis=1)
        mean, std = (np.array(values)[:, None, None] for values in (target.mean, target.std))  # [C, 1, 1]
        if target.dtype != np.uint8:  # grey pixels are repeated for the channels of mean and std
            x = self.op("Mul", x, self.constant((target.scale / std).astype(np.float32)))
            x = self.op("Sub", x, self.constant((mean / std).astype(np.float32)))
        elif target.channels > shape[2]:
            x = self.op("Concat", *[x] * target.channels, axis=1)
        if target.layout == "NHWC":
            x = self.op("Transpose", x, perm=[0, 2, 3, 1])
        if target.dtype != np.float32:
            x = self.op("Cast", x, to=helper.np_dtype_to_tensor_dtype(target.dtype))
        return x

    def results(self, classifier: AttachedClassifier, x: str) -> list[str]:
        """Adds the model with ``x`` as its input; returns its output [B, N], and its features [B, F] if it has any, as
        float32.
        """
        nodes = self.model_nodes(classifier)
        start, values = PREFIX + classifier.input.name, [classifier.output, *filter(None, [classifier.features])]
        if not classifier.one_by_one:
            self.nodes += [helper.make_node("Identity", [x], [start]), *nodes]
            return [
                self.op("Cast", self.op("Flatten", PREFIX + name, axis=1), to=FLOAT, name=f"classifier.result_{n}")
                for n, name in enumerate(values)
            ]
        first, all_values = self.constant([0]), self.constant([-1])
        body = [helper.make_node("Unsqueeze", ["classifier.image", first], [start]), *nodes]
        rows = [f"classifier.row_{n}" for n in range(len(values))]
        for name, row in zip(values, rows, strict=True):
            body.append(helper.make_node("Reshape", [PREFIX + name, all_values], [f"{row}.values"]))
            body.append(helper.make_node("Cast", [f"{row}.values"], [row], to=FLOAT))
        target = classifier.input
        shape = [target.channels, *target.size] if target.layout == "NCHW" else [*target.size, target.channels]
        kind = helper.np_dtype_to_tensor_dtype(target.dtype)
        graph = helper.make_graph(
            body,
            "one image",
            [helper.make_tensor_value_info("classifier.image", kind, shape)],
            [helper.make_tensor_value_info(row, FLOAT, [f"values of {row}"]) for row in rows],
        )
        return self.split_op("Scan", len(rows), x, name="classifier.images", body=graph, num_scan_inputs=1)

    def model_nodes(self, classifier: AttachedClassifier) -> list[onnx.NodeProto]:
        """Adds the model's weights, and returns its nodes."""
        inner = onnx.GraphProto()
        inner.CopyFrom(classifier.graph)
        add_prefix(inner, PREFIX)
        for tensor in inner.initializer:
            if tensor.data_type == FLOAT and np.prod(tensor.dims) >= STORED:
                self.weight(tensor.name, numpy_helper.to_array(tensor))
            else:
                kept = TensorProto()
                kept.CopyFrom(tensor)
                self.constants[tensor.name] = kept
        return list(inner.node)

    def probabilities(self, classifier: AttachedClassifier, values: str) -> str:
        """Adds the operators from the model's output [B, N] to the probabilities of the bundle's classes."""
        outputs = classifier.outputs
        if outputs is not None:
            values = self.op("Gather", values, self.constant([n for each in outputs for n in each]), axis=1)
        if classifier.softmax:
            values = self.op("Softmax", values, axis=1)
        else:
            values = self.op("Add", values, self.constant(SMALLEST))
        if outputs is not None and max(map(len, outputs)) > 1:
            column = np.repeat(np.arange(len(outputs)), [len(each) for each in outputs])
            values = self.op("MatMul", values, self.constant(np.eye(len(outputs), dtype=np.float32)[column]))
        if classifier.softmax:
            return values
        return self.op("Div", values, self.op("ReduceSum", values, self.constant([1]), keepdims=1))
