"""A classifier attached to a bundle: all that its settings leave open, from its model and from the bundle."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from latentloop.errors import InputError, listed, short_repr
from latentloop.export.onnx_classifiers.model import OnnxModel
from latentloop.export.onnx_classifiers.settings import LARGEST_SIDE, LAYOUTS, PRESETS, ClassifierSettings
from latentloop.export.onnx_classifiers.standard import standard_model

TYPES: dict[int, np.dtype[Any]] = {
    onnx.TensorProto.FLOAT: np.dtype(np.float32),
    onnx.TensorProto.DOUBLE: np.dtype(np.float64),
    onnx.TensorProto.UINT8: np.dtype(np.uint8),
}
CHANNELS = (1, 3)
REMEDY = "state it in --classifier-settings"


@dataclass(frozen=True, eq=False)
class ImageInput:
    """The input of a classifier, and how the bundle's pixels become its values."""

    name: str
    dtype: np.dtype[Any]
    batch: int | None  # the size that the file states, None if it is dynamic
    layout: str
    channels: int
    size: tuple[int, int]  # (height, width)
    order: str
    filter: str
    antialias: bool
    scale: float
    mean: tuple[float, ...]  # by channel
    std: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class AttachedClassifier:
    """A classifier for images of the size ``image`` (height, width, channels) and for ``classes``.

    ``outputs`` has for each class the numbers of the model's outputs whose probabilities are added up; None: the
    outputs are the classes.
    """

    model: OnnxModel
    graph: onnx.GraphProto  # of standard operators
    opset: int
    image: tuple[int, int, int]
    classes: tuple[str, ...]
    input: ImageInput
    output: str
    softmax: bool
    softmax_is_derived: bool
    features: str | None
    features_are_derived: bool
    outputs: tuple[tuple[int, ...], ...] | None
    count: int | None  # of outputs, if the class names state it
    feature_count: int = 0  # of an image; known after the model was run
    one_by_one: bool = False  # whether the graph runs the model on one image after the other: its batch is fixed to 1

    @property
    def nbytes(self) -> int:
        """Bytes of the model."""
        return int(self.model.proto.ByteSize())

    def record(self) -> dict[str, Any]:
        """Returns the origin of the classifier for the manifest, as JSON."""
        data = {"data": self.model.data} if self.model.data else {}
        stated, outputs = self.input, None
        if self.outputs is not None:
            outputs = {name: list(each) for name, each in zip(self.classes, self.outputs, strict=True)}
        return {
            "configuration": {
                "layout": stated.layout,
                "order": stated.order if stated.channels == max(CHANNELS) else None,
                "size": list(stated.size),
                "filter": stated.filter,
                "antialias": stated.antialias,
                "scale": stated.scale,
                "mean": list(stated.mean),
                "std": list(stated.std),
                "output": self.output,
                "softmax": self.softmax,
                "features": self.features or False,
                "one_by_one": self.one_by_one,
                "classes": outputs,
            },
            "layout": "ONNX",
            "opset": self.opset,
            "file": self.model.path.name,
            "sha256": self.model.sha256,
            **data,
        }


def attach(
    model: OnnxModel, settings: ClassifierSettings, image: tuple[int, int, int], classes: tuple[str, ...]
) -> AttachedClassifier:
    """Returns the classifier for a bundle's ``image`` (height, width, channels) and ``classes``.

    Nothing is run. Raises InputError and CheckpointError that name the file and the field.
    """
    graph, opset = standard_model(model)
    outputs, count = None, None
    if settings.classes is not None:
        outputs, count = class_outputs(model, settings, classes)
    output, features = _named_outputs(model, settings)
    softmax = _is_logits(model, output) if settings.softmax is None else settings.softmax
    return AttachedClassifier(
        model=model,
        graph=graph,
        opset=opset,
        image=image,
        classes=classes,
        input=_image_input(model, settings, image),
        output=output,
        softmax=softmax,
        softmax_is_derived=settings.softmax is None,
        features=features,
        features_are_derived=settings.features is None,
        outputs=outputs,
        count=count,
    )


def _image_input(model: OnnxModel, settings: ClassifierSettings, image: tuple[int, int, int]) -> ImageInput:
    inputs, path = model.inputs, model.path
    if len(inputs) != 1:
        names = listed(each.name for each in inputs) or "none"
        raise InputError(f"{path}: its inputs are {names}, expected one, for images: export the part that reads images")
    name, tensor = inputs[0].name, inputs[0].type.tensor_type
    dtype = TYPES.get(tensor.elem_type)
    if dtype is None:
        found = onnx.TensorProto.DataType.Name(tensor.elem_type).lower() if tensor.elem_type else "no tensor"
        raise InputError(f"{path}: its input {name!r} is {found}, expected float32: export it in float32")
    dims = [each.dim_value if each.dim_value > 0 else None for each in tensor.shape.dim]
    if len(dims) != 4:
        shape = [each.dim_value or each.dim_param or "?" for each in tensor.shape.dim]
        raise InputError(f"{path}: its input {name!r} has the shape {shape}, expected four axes, for a batch of images")
    layout = _layout(model, settings, name, dims)
    channels, sides = (dims[1], dims[2:]) if layout == "NCHW" else (dims[3], dims[1:3])
    values = settings.mean or (), settings.std or ()
    if channels is None:
        channels = max(image[2], *map(len, values))
    if channels not in CHANNELS:
        raise InputError(f"{path}: its input {name!r} has {channels} channels ({layout}), expected 1 or 3")
    if channels < image[2]:
        raise InputError(f"{path}: it is for grey images, the bundle's are RGB: give a classifier of RGB images")
    size = _size(model, settings, name, sides)
    if dtype == np.uint8:
        scale = 1.0 if settings.scale is None else settings.scale
        mean, std = values[0] or (0.0,), values[1] or (1.0,)
        if (scale, set(mean), set(std)) != (1.0, {0.0}, {1.0}) or size != image[:2]:
            raise InputError(
                f"{path}: its input {name!r} is uint8, of {size[0]} x {size[1]} pixels; expected float32, or pixels of "
                f"the bundle as they are (scale 1, mean 0, std 1, {image[0]} x {image[1]}): export it with float32"
            )
    else:
        missing = [each for each in ("scale", "mean", "std") if getattr(settings, each) is None]
        if missing:
            raise InputError(
                f"{path}: the values of its pixels are not known ({', '.join(missing)}): name those of its training by "
                f"--classifier-preset ({', '.join(PRESETS)}), or {REMEDY}"
            )
        scale, (mean, std) = settings.scale or 1.0, values
    for field, each in (("mean", mean), ("std", std)):
        if len(each) not in (1, channels):
            raise InputError(
                f"{path}: {field} has {len(each)} values, expected 1, or one for each channel ({channels})"
            )
    return ImageInput(
        name=name,
        dtype=dtype,
        batch=dims[0],
        layout=layout,
        channels=channels,
        size=size,
        order=settings.order or "RGB",
        filter=settings.filter or "bilinear",
        antialias=settings.antialias is not False,
        scale=scale,
        mean=mean * (channels // len(mean)),
        std=std * (channels // len(std)),
    )


def _layout(model: OnnxModel, settings: ClassifierSettings, name: str, dims: list[int | None]) -> str:
    possible = [layout for layout, axis in zip(LAYOUTS, (1, 3), strict=True) if dims[axis] in CHANNELS]
    if settings.layout is not None:
        return settings.layout
    if len(possible) != 1:
        raise InputError(
            f"{model.path}: its input {name!r} has the shape {_shape(dims)}, which does not tell whether channels come "
            f"first: {REMEDY} (layout: {' or '.join(LAYOUTS)})"
        )
    return possible[0]


def _size(model: OnnxModel, settings: ClassifierSettings, name: str, sides: list[int | None]) -> tuple[int, int]:
    stated = settings.size or (None, None)
    height, width = (fixed or other for fixed, other in zip(sides, stated, strict=True))
    if height is None or width is None:
        raise InputError(
            f"{model.path}: its input {name!r} is for images of any size: {REMEDY} (size: [height, width] in pixels, "
            "that of its training)"
        )
    if settings.size not in (None, (height, width)):
        raise InputError(
            f"{model.path}: its input {name!r} is for images of {_shape(sides)}, but size is {_shape(list(stated))}: "
            "leave size out"
        )
    if max(height, width) > LARGEST_SIDE:
        raise InputError(f"{model.path}: its images are {height} x {width}, expected at most {LARGEST_SIDE} pixels")
    return height, width


def _shape(dims: list[int | None]) -> str:
    return " x ".join("any" if each is None else str(each) for each in dims)


def _named_outputs(model: OnnxModel, settings: ClassifierSettings) -> tuple[str, str | None]:
    """Returns the names of the logits or probabilities, and of the features, None for none."""
    known = {output for node in model.proto.graph.node for output in node.output}
    outputs = [each.name for each in model.proto.graph.output]
    for field in ("output", "features"):
        name = getattr(settings, field)
        if isinstance(name, str) and name not in known:
            raise InputError(
                f"{model.path}: {field} is {short_repr(name)}, which no node computes; its outputs are "
                f"{listed(outputs)}, and any other value of its graph can be named, too"
            )
    others = [name for name in outputs if name != settings.features or len(outputs) == 1]
    if settings.output is None and len(others) != 1:
        raise InputError(
            f"{model.path}: its outputs are {listed(others) or 'none'}, expected one, of logits or probabilities: "
            f"{REMEDY} (output: its name)"
        )
    output, features = settings.output or others[0], settings.features
    if features is None:
        features = model.last_layer_input(output)
    return output, features if isinstance(features, str) else None


def _is_logits(model: OnnxModel, output: str) -> bool:
    """Returns whether an output is logits, by the operator that computes it."""
    node = model.last_operator(output)
    if node is not None and node.op_type == "Sigmoid":
        raise InputError(
            f"{model.path}: its output {output!r} is computed by a Sigmoid, so the sum is not 1: {REMEDY} (output: "
            f"{node.input[0]!r}, softmax: true) if only one class applies to an image"
        )
    return node is None or node.op_type != "Softmax"


def class_outputs(
    model: OnnxModel, settings: ClassifierSettings, names: tuple[str, ...]
) -> tuple[tuple[tuple[int, ...], ...], int | None]:
    """Returns for each class of the bundle, ``names``, the numbers of its outputs, and how many outputs there are if
    the settings state it. Raises InputError for a class without an output, and an output of two classes.
    """
    stated, count = settings.classes, None
    if isinstance(stated, tuple):
        count = len(stated)
        by_name = {name: tuple(n for n, each in enumerate(stated) if each == name) for name in names}
    else:
        by_name = dict(stated or {})
        if unknown := [name for name in by_name if name not in names]:
            raise InputError(
                f"{model.path}: classes has {listed(map(short_repr, unknown))}, expected the bundle's: {listed(names)}"
            )
        number, times = Counter(n for each in by_name.values() for n in each).most_common(1)[0]
        if times > 1:
            raise InputError(f"{model.path}: classes has the output {number} {times} times, expected it once at most")
    if missing := [name for name in names if not by_name.get(name)]:
        raise InputError(
            f"{model.path}: classes has no output for {listed(missing)}: the classifier must know every class of the "
            f"bundle ({listed(names)})"
        )
    return tuple(by_name[name] for name in names), count
