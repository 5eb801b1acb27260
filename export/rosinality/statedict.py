"""Opening a state dict that somebody else saved, without running anything that is in the file."""

from __future__ import annotations

import argparse
import hashlib
import pickle
import re
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latentloop.errors import CheckpointError

Shape = tuple[int, ...]

# Newer torch saves weight norm as a parametrization: original0 is g, original1 is v.
_PARAMETRIZED = {
    ".parametrizations.weight.original0": ".weight_g",
    ".parametrizations.weight.original1": ".weight_v",
}


@dataclass(frozen=True)
class StateDict:
    """A file's tensors by their plain names (no ``module.``, weight norm as ``weight_g`` and ``weight_v``).

    ``spelled`` maps a plain name to the file's own; ``args`` are the options that the training script saved.
    """

    path: Path
    sha256: str
    tensors: dict[str, Tensor]
    spelled: dict[str, str]
    args: dict[str, Any]

    @cached_property
    def modules(self) -> frozenset[str]:
        """Every dotted prefix of a tensor's name."""
        return frozenset(key[: dot.start()] for key in self.tensors for dot in re.finditer(r"\.", key))

    def count(self, pattern: str, start: int = 0) -> int:
        """How many modules ``pattern`` names, its ``{}`` running up from ``start`` without a gap."""
        n = start
        while pattern.format(n) in self.modules:
            n += 1
        return n - start

    def shape(self, key: str, axes: int, tells: str) -> Shape:
        """The shape that ``tells`` a hyper-parameter; raises CheckpointError where it cannot."""
        if key not in self.tensors:
            raise CheckpointError(f"{self.path}: no tensor {key}, whose shape tells {tells}; {REMEDY}")
        found = tuple(self.tensors[key].shape)
        if len(found) != axes or 0 in found:
            spelled = self.spelled[key]
            raise CheckpointError(
                f"{self.path}: {spelled} is {list(found)}, expected {axes} axes, none empty, to tell {tells}; {REMEDY}"
            )
        return found

    def provenance(self) -> dict[str, Any]:
        """Where the weights come from, as JSON: layout, file name, SHA-256, the numbers among ``args``."""
        # Not the strings: they hold paths of the machine that trained. Nor what JSON cannot hold exactly.
        numbers = {str(k): v for k, v in self.args.items() if isinstance(v, (int, float)) and abs(v) <= 2**53}
        return {"layout": LAYOUT, "file": self.path.name, "sha256": self.sha256, "args": numbers}


LAYOUT = "rosinality/vq-vae-2-pytorch"
REMEDY = f"save the model's whole state dict as {LAYOUT} does"


def read_state_dict(path: Path) -> StateDict:
    """Reads a bare state dict or ``{'model', 'args'}`` on the CPU.

    Only tensors, plain containers and ``argparse.Namespace`` are unpickled. Raises CheckpointError for a file
    that is missing, damaged, asks for anything else, or holds no state dict of dense floating-point tensors.
    """
    path = Path(path)
    try:
        digest = hashlib.sha256()
        with path.open("rb") as opened:
            while chunk := opened.read(1 << 20):
                digest.update(chunk)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
    loaded = _unpickle(path)
    args: object = None
    if isinstance(loaded, dict) and "model" in loaded:
        loaded, args = loaded["model"], loaded.get("args")
    if not isinstance(loaded, dict) or not loaded or not all(isinstance(key, str) for key in loaded):
        raise CheckpointError(f"{path} holds neither a state dict nor {{'model', 'args'}}; {REMEDY}")
    tensors: dict[str, Tensor] = {}
    spelled: dict[str, str] = {}
    for key, value in loaded.items():
        plain = _plain_name(key)
        if plain in tensors:
            raise CheckpointError(f"{path}: {spelled[plain]} and {key} both name {plain}; keep one of them")
        tensors[plain], spelled[plain] = _dense(path, key, value), key
    options = vars(args) if isinstance(args, argparse.Namespace) else args
    return StateDict(path, digest.hexdigest(), tensors, spelled, dict(options) if isinstance(options, dict) else {})


def _unpickle(path: Path) -> object:
    try:
        # An open file, as torch.load chooses another reader by the name of a path.
        with path.open("rb") as opened, _namespace_allowed():
            loaded: object = torch.load(opened, map_location="cpu", weights_only=True, mmap=False)
    except pickle.UnpicklingError as error:
        asked = re.search(r"GLOBAL (\S+)", str(error))
        if asked is None:
            raise CheckpointError(f"{path} is not a PyTorch checkpoint, or a damaged one") from error
        raise CheckpointError(
            f"{path} asks to load {asked[1]}, which a checkpoint does not need and which could run code: "
            "refused; if you trust it, save its tensors alone"
        ) from error
    except Exception as error:  # torch has no one error for a damaged file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path} is not a PyTorch checkpoint, or a damaged one: {reason}") from error
    return loaded


def _namespace_allowed() -> AbstractContextManager[object]:
    # Leaving safe_globals would also take away a caller's own permission.
    if argparse.Namespace in torch.serialization.get_safe_globals():
        return nullcontext()
    return torch.serialization.safe_globals([argparse.Namespace])


def _plain_name(key: str) -> str:
    key = re.sub(r"^(module\.)+", "", key)
    for suffix, plain in _PARAMETRIZED.items():
        if key.endswith(suffix):
            return key.removesuffix(suffix) + plain
    return key


def _dense(path: Path, key: str, value: object) -> Tensor:
    if not isinstance(value, Tensor):
        raise CheckpointError(f"{path}: {key} is a {type(value).__name__}, expected a tensor; {REMEDY}")
    if value.layout != torch.strided or value.device.type != "cpu" or not value.is_floating_point():
        found = f"{value.dtype} {value.layout} on {value.device.type}"
        raise CheckpointError(f"{path}: {key} is {found}, expected a dense floating-point tensor; {REMEDY}")
    # A view with stride 0 lets a small file claim any size.
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise CheckpointError(f"{path}: {key} claims {list(value.shape)}, more than the file holds; {REMEDY}")
    return value.detach()
