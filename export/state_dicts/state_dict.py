"""The state dict of one model in a file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from latentloop.errors import CheckpointError
from latentloop.export.state_dicts.candidates import Candidate
from latentloop.export.state_dicts.checkpoint_file import CheckpointFile
from latentloop.export.state_dicts.files.contents import Item, describe
from latentloop.export.state_dicts.files.pickled import InertObject
from latentloop.export.state_dicts.files.tensors import Shape, StoredTensor, most_bytes


@dataclass(frozen=True)
class StateDict:
    """One model's tensors by their plain names (no prefixes; weight norm as ``weight_g`` and ``weight_v``).

    ``layout``: the layout's name. ``prefix``: the shared prefix in the file. ``entries`` and ``duplicates``: as in
    ``Candidate``. ``args``: the options that the training script saved beside them.
    """

    file: CheckpointFile
    layout: str
    prefix: str
    entries: dict[str, Item]
    duplicates: dict[str, Item]
    args: dict[str, Any]

    @classmethod
    def of(cls, file: CheckpointFile, candidate: Candidate, layout: str) -> StateDict:
        """Builds the state dict of a candidate in ``file``."""
        args = _options(file.contents.options_near(candidate.path))
        return cls(file, layout, ".".join(candidate.path), candidate.entries, candidate.duplicates, args)

    @property
    def path(self) -> Path:
        """The file's path."""
        return self.file.path

    @cached_property
    def tensors(self) -> dict[str, StoredTensor]:
        """The entries that are tensors."""
        return {name: item.value for name, item in self.entries.items() if isinstance(item.value, StoredTensor)}

    @cached_property
    def modules(self) -> frozenset[str]:
        """Every dotted prefix of a tensor's name."""
        return frozenset(key[: dot.start()] for key in self.tensors for dot in re.finditer(r"\.", key))

    @property
    def remedy(self) -> str:
        """Advice for an error message about a tensor that is missing or damaged."""
        return f"save the model's whole state dict as {self.layout} does"

    def spelled(self, key: str) -> str:
        """Returns a tensor's name as the file spells it."""
        return self.entries[key].spelled if key in self.entries else key

    def count(self, pattern: str, start: int = 0) -> int:
        """Returns how many modules match ``pattern``, with its ``{}`` counting up from ``start`` without a gap."""
        n = start
        while pattern.format(n) in self.modules:
            n += 1
        return n - start

    def direction(self, weight: str) -> str:
        """Returns the tensor with a normalised weight's shape: ``weight_v``, or ``weight`` if the norm was removed."""
        return weight if weight in self.tensors and f"{weight}_v" not in self.tensors else f"{weight}_v"

    def shape(self, key: str, axes: int, meaning: str) -> Shape:
        """Returns the shape of a tensor; ``meaning`` names the hyper-parameters that it determines.

        Raises CheckpointError if there is no such tensor, or if it has other than ``axes`` axes or an empty one.
        """
        if key not in self.tensors and key in self.entries:
            value = describe(self.entries[key].value)
            raise CheckpointError(f"{self.path}: {self.spelled(key)} is {value}, expected a tensor; {self.remedy}")
        if key not in self.tensors:
            raise CheckpointError(f"{self.path}: no tensor {key}, whose shape determines {meaning}; {self.remedy}")
        shape = self.tensors[key].shape
        if len(shape) != axes or 0 in shape:
            raise CheckpointError(
                f"{self.path}: {self.spelled(key)} is {list(shape)}, expected {axes} axes, none empty, that determine "
                f"{meaning}; {self.remedy}"
            )
        return shape

    @cached_property
    def most_bytes(self) -> int:
        """The limit of its tensors' total size, because a view can claim any size."""
        return most_bytes(self.path.stat().st_size)

    def provenance(self) -> dict[str, Any]:
        """Returns the origin of the weights as JSON: layout, file, SHA-256, prefix, and the numbers in ``args``."""
        # No strings, which hold paths of the training machine, and no numbers that JSON cannot represent exactly.
        numbers = {str(k): v for k, v in self.args.items() if isinstance(v, (int, float)) and abs(v) <= 2**53}
        state = {"state": self.prefix} if self.prefix else {}
        return {"layout": self.layout, "file": self.path.name, "sha256": self.file.sha256, **state, "args": numbers}


def _options(saved: object) -> dict[str, Any]:
    """Returns saved options as a dictionary, also those in an object of an unknown class."""
    if isinstance(saved, InertObject):  # a Namespace, or an object of any other class
        saved = saved.state if isinstance(saved.state, dict) else saved.items
    options = saved if isinstance(saved, dict) else {}
    return {key: _number(value) for key, value in options.items() if isinstance(key, str)}


def _number(value: object) -> object:
    """Converts a NumPy number to a Python number; returns any other value unchanged."""
    if not isinstance(value, InertObject) or not value.name.endswith(".multiarray.scalar"):
        return value
    match value.arguments:
        case (InertObject(name="numpy.dtype", arguments=(str() as code, *_)), InertObject() | bytes() as content):
            if isinstance(content, InertObject):  # bytes, in protocols of pickle that have no bytes
                text = content.arguments[0] if content.arguments else ""
                content = text.encode("latin-1", "replace") if isinstance(text, str) and len(text) <= 8 else b""
            if re.fullmatch("[fiu][248]|b1", code) and len(content) == int(code[1]):
                return np.frombuffer(content, code)[0].item()
    return value
