"""Whatever a public function, method or property takes or returns is itself public."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pytest

import latentloop
from latentloop import Bundle, Samples, images, kernels
from latentloop.bundles.manifest import Manifest
from latentloop.sampling.sample_request import SampleRequest

MODULES = (latentloop, images, kernels)
NAMES = {name: getattr(module, name) for module in MODULES for name in module.__all__}
FOREIGN = ("builtins", "types", "typing", "collections", "pathlib", "numpy")  # with what is below them
RETURNED_ONLY = ("DeviceArray",)  # classes that users get, and do not construct


def functions_of(value: Any) -> Iterator[Callable[..., Any]]:
    """Yields a function, or the constructor and the public methods and properties of a class, also inherited ones."""
    if inspect.isfunction(value):
        yield value
        return
    for name in dir(value):
        if name.startswith("_") and (name != "__init__" or value.__name__ in RETURNED_ONLY):
            continue
        member = inspect.getattr_static(value, name)
        function = getattr(member, "fget", None) or getattr(member, "func", None) or getattr(member, "__func__", member)
        if inspect.isfunction(function):
            yield function


def classes_in(hint: Any) -> Iterator[type]:
    """Yields every class inside a type hint."""
    if isinstance(hint, list | tuple):
        for part in hint:
            yield from classes_in(part)
    elif get_args(hint):
        yield from classes_in(get_origin(hint))
        yield from classes_in(get_args(hint))
    elif isinstance(hint, type):
        yield hint


def is_public(kind: type) -> bool:
    if any(kind is value for value in NAMES.values()):
        return True
    return kind.__module__.split(".")[0] in FOREIGN


def private_types(value: Any) -> list[str]:
    """Returns what is not public in the hints of a function or a class. Hints may only use names that resolve."""
    hints = [(function.__qualname__, get_type_hints(function, localns=NAMES)) for function in functions_of(value)]
    if dataclasses.is_dataclass(value):
        hints.append((str(value), get_type_hints(value, localns=NAMES)))
    return [
        f"{where}: {name} has the type {kind}"
        for where, by_name in hints
        for name, hint in by_name.items()
        for kind in classes_in(hint)
        if not is_public(kind)
    ]


@pytest.mark.parametrize("name", sorted(name for name, value in NAMES.items() if callable(value)))
def test_public_names_take_and_return_public_types(name: str) -> None:
    value = NAMES[name]
    if not (inspect.isfunction(value) or inspect.isclass(value)):
        assert all(is_public(kind) for kind in classes_in(value))  # an alias of a type
        return
    assert private_types(value) == []


class Example:
    """Has a method, a property and a static method with types that are not public."""

    def method(self, argument: dict[str, list[Path | Manifest]], other: Samples) -> None: ...

    @property
    def inner(self) -> Callable[[SampleRequest], None]:
        raise NotImplementedError

    @staticmethod
    def made(bundle: Bundle) -> tuple[Manifest, ...]:
        raise NotImplementedError


def test_a_type_that_is_not_public_is_found() -> None:
    found = [text.split(" has ")[0] for text in private_types(Example)]
    assert found == ["Example.inner: return", "Example.made: return", "Example.method: argument"]
