"""What an ONNX file does not say about its classifier: presets, and a JSON file of settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from latentloop.errors import BundleError, InputError, json_repr, short_repr
from latentloop.io.json_reading import parse_json

LAYOUTS = ("NCHW", "NHWC")
ORDERS = ("RGB", "BGR")
FILTERS = ("bilinear", "bicubic", "nearest")
LARGEST_SIDE = 4096  # pixels of an image that is resized for a classifier
LARGEST_NUMBER = 1e38  # that float32 holds, nearly

Classes = tuple[str | None, ...] | dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class ClassifierSettings:
    """How a classifier is to be used; None: taken from its model, or the default. The names are those of the JSON file.

    A pixel p of 0 to 255 becomes (p * scale - mean) / std; ``mean`` and ``std``, one for all channels or one each, are
    in the order of the classifier's channels.
    """

    layout: str | None = None
    order: str | None = None  # of the channels; default: RGB
    size: tuple[int, int] | None = None  # (height, width) in pixels
    filter: str | None = None  # that resizes images; default: bilinear
    antialias: bool | None = None  # whether reducing averages over more pixels; default: true
    scale: float | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    output: str | None = None  # name of the logits or probabilities; default: the only output beside the features
    softmax: bool | None = None  # whether `output` is logits; default: unless a Softmax computes it
    features: str | bool | None = None  # name of a value of the graph; default: the last layer's input; False: none
    # The names of the classifier's classes, in order: others than the bundle's, and None, are ignored, equal ones are
    # added up. Or the numbers of the outputs for each class of the bundle.
    classes: Classes | None = None

    def over(self, other: ClassifierSettings) -> ClassifierSettings:
        """Returns these settings, and those of ``other`` where these are None."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return replace(other, **{name: value for name, value in values.items() if value is not None})


def _normalised(mean: tuple[float, ...], std: tuple[float, ...], scale: float = 1 / 255) -> ClassifierSettings:
    return ClassifierSettings(scale=scale, mean=mean, std=std)


PRESETS = {
    "imagenet": _normalised((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),  # torchvision, timm
    "clip": replace(
        _normalised((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)), filter="bicubic"
    ),
    "unit": _normalised((0.0,), (1.0,)),  # 0 to 1
    "symmetric": _normalised((0.5,), (0.5,)),  # -1 to 1
    "pixels": _normalised((0.0,), (1.0,), scale=1.0),  # 0 to 255
}


def read_settings(path: Path | None, preset: str | None) -> ClassifierSettings:
    """Returns the settings of a JSON file over those of a preset. Raises InputError that names the file and field."""
    base = ClassifierSettings() if preset is None else PRESETS[preset]
    if path is None:
        return base
    try:
        value = parse_json(path.read_bytes(), str(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except BundleError as error:  # the reader's own type, for manifests
        raise InputError(str(error)) from error
    if not isinstance(value, dict):
        raise InputError(f"{path} is {json_repr(value)}, expected an object with some of {', '.join(_FIELDS)}")
    if unknown := [name for name in value if name not in _FIELDS]:
        raise InputError(f"{path}: unknown field {short_repr(unknown[0])}, expected some of {', '.join(_FIELDS)}")
    read = {name: _FIELDS[name](each, f"{path}: {name}") for name, each in value.items() if each is not None}
    return ClassifierSettings(**read).over(base)


def _unexpected(where: str, value: object, expected: str) -> InputError:
    return InputError(f"{where} is {json_repr(value)}, expected {expected}")


def _name(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value:
        raise _unexpected(where, value, "a name")
    return value


def _one_of(*choices: str) -> Callable[[Any, str], str]:
    def read(value: Any, where: str) -> str:
        if value not in choices:
            raise _unexpected(where, value, f"one of {', '.join(choices)}")
        return str(value)

    return read


def _truth(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise _unexpected(where, value, "true or false")
    return value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _positive(value: Any, where: str) -> float:
    if not _is_number(value) or not 0 < value <= LARGEST_NUMBER:
        expected = f"a number over 0, up to {LARGEST_NUMBER:g}, such as 0.00392156862745098 (1 / 255)"
        raise _unexpected(where, value, expected)
    return float(value)


def _numbers(value: Any, where: str) -> tuple[float, ...]:
    numbers = value if isinstance(value, list) else [value]
    if len(numbers) not in (1, 3) or not all(map(_is_number, numbers)):
        raise _unexpected(where, value, "a number, or a list of one for each channel")
    if max(map(abs, numbers)) > LARGEST_NUMBER:
        raise _unexpected(where, value, f"numbers from {-LARGEST_NUMBER:g} to {LARGEST_NUMBER:g}")
    return tuple(float(each) for each in numbers)


def _positives(value: Any, where: str) -> tuple[float, ...]:
    numbers = _numbers(value, where)
    if min(numbers) <= 0:
        raise _unexpected(where, value, "numbers over 0")
    return numbers


def _size(value: Any, where: str) -> tuple[int, int]:
    sides = value if isinstance(value, list) else [value, value]
    if len(sides) != 2 or not all(type(side) is int and 1 <= side <= LARGEST_SIDE for side in sides):
        raise _unexpected(where, value, f"[height, width] in pixels, from 1 to {LARGEST_SIDE}")
    return sides[0], sides[1]


def _features(value: Any, where: str) -> str | bool:
    return False if value is False else _name(value, f"{where}, if not false,")


def _classes(value: Any, where: str) -> Classes:
    if isinstance(value, list) and value and all(name is None or isinstance(name, str) for name in value):
        return tuple(value)
    if not isinstance(value, dict) or not value:
        expected = "a list with the name of each output, or an object with the numbers of the outputs by class name"
        raise _unexpected(where, value, expected)
    indices = {}
    for name, each in value.items():
        of_class = each if isinstance(each, list) else [each]
        if not of_class or not all(type(index) is int and index >= 0 for index in of_class):
            raise _unexpected(f"{where}.{name}", each, "the number of an output, from 0 on, or a list of them")
        indices[name] = tuple(of_class)
    return indices


_FIELDS: dict[str, Callable[[Any, str], Any]] = {
    "layout": _one_of(*LAYOUTS),
    "order": _one_of(*ORDERS),
    "size": _size,
    "filter": _one_of(*FILTERS),
    "antialias": _truth,
    "scale": _positive,
    "mean": _numbers,
    "std": _positives,
    "output": _name,
    "softmax": _truth,
    "features": _features,
    "classes": _classes,
}
