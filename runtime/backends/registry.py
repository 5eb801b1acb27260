"""The backends by name, and the choice among them.

To add a backend: write a module with ``check(name)`` and ``find(request)`` as ``BackendModule`` describes them, and add
its line to ``BACKENDS``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Protocol

from latentloop.errors import InputError, LatentLoopError, MissingError, short_repr

if TYPE_CHECKING:  # imported late: `--help` lists the backends, and needs neither NumPy nor ONNX Runtime
    from latentloop.backends.interface import Backend
    from latentloop.bundles.bundle import Bundle

AUTO = "auto"


@dataclass(frozen=True)
class Registration:
    """One backend: its module, which is imported when the backend is first requested; whether it runs on GPUs, which
    are selected by number as in "cuda:1"; and its rank among those that "auto" tries, None if it does not.
    """

    module: str
    on_gpu: bool = False
    auto_rank: int | None = None


BACKENDS = {
    "cpu": Registration("latentloop.backends.cpu.backend", auto_rank=3),
    "cuda": Registration("latentloop.backends.gpu.with_onnxruntime", on_gpu=True, auto_rank=2),
    "tensorrt": Registration("latentloop.backends.gpu.with_tensorrt", on_gpu=True, auto_rank=1),
    "onnxruntime-tensorrt": Registration("latentloop.backends.gpu.with_onnxruntime", on_gpu=True),
}


@dataclass(frozen=True)
class BackendRequest:
    """A Sampler's request for the backend ``name``. The backend checks ``precision``: backends support different ones.

    ``reason`` is why this backend was chosen: it was requested, or what prevents better ones.
    """

    name: str
    bundle: Bundle
    number: int  # of the GPU, for backends on GPUs
    threads: int  # of the CPU
    precision: object
    reason: str


class BackendModule(Protocol):
    """The module of a backend, or of several. Importing it may raise MissingError as ``check`` does."""

    def check(self, name: str) -> None:
        """Raises MissingError, with the reason and a remedy, if this machine cannot run the backend of that name."""

    def find(self, request: BackendRequest) -> Callable[[], Backend]:
        """Returns a function that creates the backend, once everything that it needs has been found.

        Raises MissingError with the reason if something is missing, InputError for an unsupported precision, and
        DeviceError for a device that fails.
        """


def names(*, on_gpu: bool | None = None) -> list[str]:
    """Returns the names of the backends; with ``on_gpu``, only those that run on GPUs, or only the others."""
    return [name for name, entry in BACKENDS.items() if on_gpu is None or entry.on_gpu == on_gpu]


def open_backend(bundle: Bundle, device: object, threads: int, precision: object) -> Backend:
    """Creates the backend that ``device`` names.

    Raises InputError for another name or an unsupported precision, MissingError if this installation cannot run it.
    """
    name, number = _parse(device)
    if name != AUTO:
        return _module(name).find(BackendRequest(name, bundle, number, threads, precision, "as requested"))()
    candidates = sorted((entry.auto_rank, name) for name, entry in BACKENDS.items() if entry.auto_rank is not None)
    reasons: dict[str, str] = {}
    for _, candidate in candidates[:-1]:
        try:
            return _module(candidate).find(BackendRequest(candidate, bundle, 0, threads, precision, ""))()
        except LatentLoopError as error:
            reasons[candidate] = str(error)
    last, reason = candidates[-1][1], _joined(reasons)
    try:
        return _module(last).find(BackendRequest(last, bundle, 0, threads, precision, reason))()
    except InputError as error:
        from latentloop.engines.engine_set import NARROW

        if precision not in NARROW:
            raise
        # Only engines have this precision, so the user needs to know why there are none.
        raise InputError(f"{error}; {reason}") from error


def usable(bundle: Bundle | None) -> dict[str, str]:
    """Returns by backend "yes" if it can run the bundle on this machine, else "no: " and the reason."""
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
    return answers


def _module(name: str) -> BackendModule:
    return import_module(BACKENDS[name].module)


def _joined(reasons: dict[str, str]) -> str:
    """Returns one line; a reason that all backends share, such as that there is no GPU, is given once."""
    if len(set(reasons.values())) == 1:
        return next(iter(reasons.values()))
    return "; ".join(f"{name}: {reason}" for name, reason in reasons.items())


def _parse(device: object) -> tuple[str, int]:
    """Returns the backend's name, or "auto", and the number of the GPU. Raises InputError for anything else."""
    if isinstance(device, str):
        name, colon, number = device.partition(":")
        is_number = number.isdecimal() and len(number) < 4
        entry = BACKENDS.get(name)
        if (name == AUTO or entry) and (not colon or (entry and entry.on_gpu and is_number)):
            return name, int(number or 0)
    *most, last = names()
    raise InputError(
        f"device is {short_repr(device)}, expected auto, {', '.join(most)} or {last}, for a GPU also with its number, "
        "as in cuda:1"
    )
