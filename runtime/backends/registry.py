"""The registry of backends by name, and the selection of one for a Sampler.

To add a backend, write a module with the functions of ``BackendModule`` and a class that implements ``Backend`` of
``backends.interface``, and add a line to ``BACKENDS``. ``tests/toy_backend.py`` is a complete example.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Protocol

from latentloop.errors import InputError, LatentLoopError, MissingError, short_repr

if TYPE_CHECKING:  # not imported here: `--help` lists the backends, and must not wait for NumPy and ONNX Runtime
    from latentloop.backends.interface import Backend
    from latentloop.bundles.bundle import Bundle

AUTO = "auto"


@dataclass(frozen=True)
class Registration:
    """A backend's entry in ``BACKENDS``. Its module is imported when the backend is first requested."""

    module: str
    on_gpu: bool = False  # a GPU is selected by number, as in "cuda:1"; the backend has ``Backend.arrays``
    auto_rank: int | None = None  # "auto" tries backends in the order of their ranks; None: not at all


BACKENDS = {
    "cpu": Registration("latentloop.backends.cpu.backend", auto_rank=3),
    "cuda": Registration("latentloop.backends.gpu.with_onnxruntime", on_gpu=True, auto_rank=2),
    "tensorrt": Registration("latentloop.backends.gpu.with_tensorrt", on_gpu=True, auto_rank=1),
    "onnxruntime-tensorrt": Registration("latentloop.backends.gpu.with_onnxruntime", on_gpu=True),
}


@dataclass(frozen=True)
class BackendRequest:
    """A Sampler's request for a backend."""

    name: str
    bundle: Bundle
    number: int  # of the GPU; 0 for backends that do not run on GPUs
    threads: int  # of the CPU
    precision: object  # not checked yet, because backends support different precisions
    reason: str  # why this backend was chosen: "as requested", or why "auto" cannot use the backends before it


class BackendModule(Protocol):
    """The interface of the module of one or several backends. Importing it may raise MissingError like ``check``."""

    def check(self, name: str) -> None:
        """Raises MissingError, with the reason and a remedy, if this machine cannot run the backend of that name."""

    def find(self, request: BackendRequest) -> Callable[[], Backend]:
        """Finds everything that the backend needs for this bundle, and returns a function that creates the backend.

        ``usable`` calls ``find`` but not the returned function, so only that function may load graphs and allocate
        memory. Raises MissingError, with the reason, if something is missing, InputError for an unsupported precision,
        and DeviceError if the device fails.
        """


def names(*, on_gpu: bool | None = None) -> list[str]:
    """Returns the names of the backends: of those that run on GPUs (``on_gpu=True``), of the others, or of all."""
    return [name for name, entry in BACKENDS.items() if on_gpu is None or entry.on_gpu == on_gpu]


def open_backend(bundle: Bundle, device: object, threads: int, precision: object) -> Backend:
    """Creates the backend that ``device`` names, or for "auto" the usable one with the lowest ``auto_rank``.

    Raises InputError for an unknown name or an unsupported precision, MissingError if the backend cannot be used.
    """

    def create(name: str, number: int, reason: str) -> Backend:
        return _module(name).find(BackendRequest(name, bundle, number, threads, precision, reason))()

    name, number = _parse(device)
    if name != AUTO:
        return create(name, number, "as requested")
    candidates = sorted((entry.auto_rank, name) for name, entry in BACKENDS.items() if entry.auto_rank is not None)
    reasons: dict[str, str] = {}
    for _, candidate in candidates[:-1]:
        try:
            return create(candidate, 0, "")
        except LatentLoopError as error:
            reasons[candidate] = str(error)
    last, reason = candidates[-1][1], _joined(reasons)
    try:
        return create(last, 0, reason)
    except InputError as error:
        from latentloop.engines.engine_set import NARROW

        if precision not in NARROW:
            raise
        # Only engines support this precision, so the message has to say why they cannot be used.
        raise InputError(f"{error}; {reason}") from error


def usable(bundle: Bundle | None) -> dict[str, str]:
    """Returns for each backend "yes" if it can run the bundle on this machine, otherwise "no: " and the reason.

    Without a bundle ``find`` is not called, and backends on GPUs count as unusable.
    """
    answers = {}
    for name in BACKENDS:
        try:
            module = _module(name)
            module.check(name)
            if bundle is not None:
                module.find(BackendRequest(name, bundle, 0, 1, "float32", ""))
            elif BACKENDS[name].on_gpu:
                raise MissingError("the bundle cannot be opened")
            answers[name] = "yes"
        except LatentLoopError as error:
            answers[name] = f"no: {error}"
        except Exception as error:  # a fault of one backend must not hide the others
            answers[name] = " ".join(f"no: {type(error).__name__}: {error}".split())
    return answers


def _module(name: str) -> BackendModule:
    """Imports the module of a backend. Raises MissingError if it does not exist or lacks a function."""
    path = BACKENDS[name].module
    try:
        module = import_module(path)
    except ModuleNotFoundError as error:
        if not f"{path}.".startswith(f"{error.name}."):  # the module exists, and imports a package that does not
            raise
        raise MissingError(f"the backend {name} is registered with the module {path}, which does not exist") from error
    for function in ("check", "find"):
        if not callable(getattr(module, function, None)):
            raise MissingError(f"the module {path} of the backend {name} has no {function}, expected check and find")
    return module


def _joined(reasons: dict[str, str]) -> str:
    """Returns the reasons in one line. A reason that is common to all, such as a missing GPU, is not repeated."""
    if len(set(reasons.values())) == 1:
        return next(iter(reasons.values()))
    return "; ".join(f"{name}: {reason}" for name, reason in reasons.items())


def _parse(device: object) -> tuple[str, int]:
    """Returns the name of the backend, or "auto", and the number of the GPU. Raises InputError for any other value."""
    if isinstance(device, str):
        name, colon, number = device.partition(":")
        is_number = number.isascii() and number.isdecimal() and len(number) < 4
        entry = BACKENDS.get(name)
        if (name == AUTO or entry) and (not colon or (entry and entry.on_gpu and is_number)):
            return name, int(number or 0)
    *most, last = names()
    raise InputError(
        f"device is {short_repr(device)}, expected auto, {', '.join(most)} or {last}, for a GPU optionally with its "
        "number, 0 to 999, as in cuda:1"
    )
