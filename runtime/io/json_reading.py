"""Reading of untrusted JSON: files as values, and values as dataclasses, whose types say what is expected.

An error names the file, the field, its value and what was expected. A field of type ``X | None`` may be missing or
null. All others are required: their defaults are for code that makes objects. Fields that a dataclass lacks are
ignored. A module with dataclasses to read has no ``from __future__ import annotations``, because types in the form of
strings would have to be evaluated.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin

from latentloop.errors import BundleError, short_repr

Value = TypeVar("Value")
Reader = Callable[[Any, str], Any]  # returns a JSON value as another type; the string is its location for messages

LARGEST = 2**53  # limit of integers: exact in every JSON reader, far below overflow
JSON_LIMIT = 16 * 2**20  # bytes; manifests have some tens of kB
_MISSING = object()  # the value of a field that is not there

# Types with limits: Annotated[int, range(first, last + 1)], Annotated[str, choices], and for an integer or one word
# Annotated[int | str, range(first, last + 1), word].
Size = Annotated[int, range(1, LARGEST + 1)]
Shape = tuple[int | str, ...]  # positive integers, and names of dynamic sizes


def read_json(path: Path, missing_message: str) -> object:
    """Returns the JSON value in a file. Raises BundleError, for a missing file with the text ``missing_message``."""
    if path.exists() and not path.is_file():  # reading a pipe would block, reading a device might never end
        raise BundleError(f"{path}: not a file")
    try:
        if path.stat().st_size > JSON_LIMIT:
            raise BundleError(f"{path}: larger than {JSON_LIMIT} bytes, not a manifest")
        content = path.read_bytes()
    except FileNotFoundError:
        raise BundleError(missing_message) from None
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}") from error
    return parse_json(content, str(path))


def parse_json(content: str | bytes, source: str) -> object:
    """Returns the value of a JSON text in UTF-8, from ``source``. Raises BundleError, also for what Python's parser
    allows: numbers that are not finite, and objects in which a key occurs twice.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) < len(pairs):
            ((name, _),) = Counter(name for name, _ in pairs).most_common(1)
            raise BundleError(f"{source}: {short_repr(name)} occurs twice in an object")
        return values

    try:
        text = content if isinstance(content, str) else content.decode()
        value: object = json.loads(text, object_pairs_hook=unique)
        _check_finite(value, source)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{source}: not readable as JSON: {error}") from error
    return value


def _check_finite(value: object, where: str) -> None:
    """Raises BundleError for NaN and infinity, which ``1e400`` becomes, too."""
    if isinstance(value, float) and not math.isfinite(value):
        raise unexpected(where, value, "a finite number")
    if isinstance(value, dict):
        for name, inner in value.items():
            _check_finite(inner, f"{where}.{name}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _check_finite(inner, f"{where}[{index}]")


def read(kind: type[Value], value: object, where: str) -> Value:
    """Returns a JSON value as a ``kind``: a dataclass, or any type that its fields may have.

    ``where`` is the value's location for messages, such as ``manifest.json.levels[0].prior``. Raises BundleError.
    """
    result: Value = _reader(kind)(value, where)
    return result


def read_versioned(value: object, source: str, name: str, oldest: int, newest: int, remedy: str = "") -> dict[str, Any]:
    """Returns the fields of a file of the format ``name``. Raises BundleError unless its version is one of those from
    ``oldest`` to ``newest``; ``remedy`` is then the end of the message.
    """
    values = read(dict[str, Any], value, source)
    _choice((name,), values.get("format", _MISSING), f"{source}.format")
    version = read(int, values.get("version", _MISSING), f"{source}.version")
    if not oldest <= version <= newest:
        readable = f"{oldest} to {newest}" if oldest < newest else str(newest)
        raise BundleError(f"{source}.version is {version}, this LatentLoop reads {readable}{remedy}")
    return values


def unexpected(where: str, value: object, expected: str) -> BundleError:
    """Returns the error for a value that is missing or not what was expected."""
    problem = "missing" if value is _MISSING else f"{short_repr(value)}, expected {expected}"
    return BundleError(f"{where} is {problem}")


# Readers, after the arguments that depend on the type.


def _typed(kind: type[Value], expected: str, value: Any, where: str) -> Value:
    if type(value) is not kind:
        raise unexpected(where, value, expected)
    return value


def _integer(limits: range, value: Any, where: str) -> int:
    if type(value) is not int or value not in limits:
        raise unexpected(where, value, f"an integer from {limits[0]} to {limits[-1]}")
    return value


def _integer_or_word(limits: range, word: str, value: Any, where: str) -> int | str:
    if type(value) is str and value == word:
        return word
    if type(value) is not int or value not in limits:
        raise unexpected(where, value, f"{word!r} or an integer from {limits[0]} to {limits[-1]}")
    return value


def _choice(choices: tuple[str, ...], value: Any, where: str) -> str:
    if type(value) is not str or value not in choices:
        raise unexpected(where, value, f"one of {', '.join(choices)}")
    return value


def _number(value: Any, where: str) -> float:
    if type(value) is not float and type(value) is not int:
        raise unexpected(where, value, "a number")
    return value


def _texts(value: Any, where: str) -> tuple[str, ...]:
    texts = _list(_as_is, value, where)
    if not all(type(text) is str for text in texts):
        raise unexpected(where, value, "a list of strings")
    return texts


def _shape(value: Any, where: str) -> Shape:
    shape = _list(_as_is, value, where)
    for size in shape:
        if type(size) is not int and type(size) is not str:
            raise unexpected(where, value, "a list of positive integers and names")
        if type(size) is int and not 1 <= size <= LARGEST:
            raise unexpected(where, value, f"sizes from 1 to {LARGEST}")
    return shape


def _image(value: Any, where: str) -> Shape:
    image = _shape(value, where)
    if len(image) != 3 or any(type(size) is str for size in image):
        raise unexpected(where, value, "[height, width, channels]")
    return image


def _as_is(value: Any, where: str) -> Any:
    return value


def _list(reader: Reader, value: Any, where: str) -> tuple[Any, ...]:
    items = _typed(list, "a list", value, where)
    return tuple([reader(item, f"{where}[{index}]") for index, item in enumerate(items)])


def _object(reader: Reader, value: Any, where: str) -> dict[str, Any]:
    values = _typed(dict, "an object", value, where)
    return {name: reader(item, f"{where}.{name}") for name, item in values.items()}


def _dataclass(kind: type[Any], readers: dict[str, Reader], value: Any, where: str) -> Any:
    values = _typed(dict, "an object", value, where)
    return kind(*[reader(values.get(name, _MISSING), f"{where}.{name}") for name, reader in readers.items()])


def _optional(reader: Reader, value: Any, where: str) -> Any:
    return None if value is None or value is _MISSING else reader(value, where)


_READERS: dict[Any, Reader] = {
    int: partial(_integer, range(LARGEST + 1)),
    str: partial(_typed, str, "a string"),
    float: _number,
    bool: partial(_typed, bool, "true or false"),
    tuple[str, ...]: _texts,
    Shape: _shape,
    tuple[int, int, int]: _image,
    Any: _as_is,
    Path: _as_is,  # not in JSON: added by the caller
}


def _reader(kind: Any) -> Reader:
    if kind not in _READERS:
        _READERS[kind] = _new_reader(kind)
    return _READERS[kind]


def _new_reader(kind: Any) -> Reader:
    if isinstance(kind, type) and is_dataclass(kind):
        return partial(_dataclass, kind, {field.name: _reader(field.type) for field in fields(kind)})
    origin, (inner, *others) = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return partial(_integer if inner is int else _choice if inner is str else _integer_or_word, *others)
    if origin is tuple:
        return partial(_list, _reader(inner))
    if origin is dict:
        return partial(_object, _reader(others[0]))
    return partial(_optional, _reader(inner))  # inner | None
