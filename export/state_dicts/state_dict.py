"""A state dict that somebody else saved: found in its file, with nothing run that is in it."""

from __future__ import annotations

import re
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from latentloop.errors import CheckpointError
from latentloop.export.checkpoints.checkpoint import file_digest, listed
from latentloop.export.checkpoints.state_choice import StateChoice
from latentloop.export.rosinality import misfits
from latentloop.export.state_dicts.candidates import Candidate, candidates
from latentloop.export.state_dicts.contents import Contents, Item, contents_of, describe
from latentloop.export.state_dicts.formats import format_of
from latentloop.export.state_dicts.pickled import CodeRefusedError, InertObject, PickleError
from latentloop.export.state_dicts.safetensors_file import read_safetensors
from latentloop.export.state_dicts.tensors import Shape, StoredTensor, most_bytes
from latentloop.export.state_dicts.torch_file import read_legacy, read_zip

LAYOUT = "rosinality/vq-vae-2-pytorch"
REMEDY = f"save the model's whole state dict as {LAYOUT} does"

Fitted = TypeVar("Fitted")


@dataclass(frozen=True)
class StateDict:
    """One model's tensors by their plain names (no prefixes, weight norm as ``weight_g`` and ``weight_v``).

    ``entries`` are the file's own, ``place`` the prefix that they share there, ``args`` the options that the
    training script saved beside them.
    """

    path: Path
    sha256: str
    place: str
    entries: dict[str, Item]
    twice: dict[str, Item]
    args: dict[str, Any]

    @cached_property
    def tensors(self) -> dict[str, StoredTensor]:
        """Those entries that are tensors."""
        return {name: item.value for name, item in self.entries.items() if isinstance(item.value, StoredTensor)}

    @cached_property
    def modules(self) -> frozenset[str]:
        """Every dotted prefix of a tensor's name."""
        return frozenset(key[: dot.start()] for key in self.tensors for dot in re.finditer(r"\.", key))

    def spelled(self, key: str) -> str:
        """A tensor's name as the file has it."""
        return self.entries[key].spelled if key in self.entries else key

    def count(self, pattern: str, start: int = 0) -> int:
        """How many modules ``pattern`` names, its ``{}`` running up from ``start`` without a gap."""
        n = start
        while pattern.format(n) in self.modules:
            n += 1
        return n - start

    def direction(self, weight: str) -> str:
        """The tensor with a normalised ``weight``'s shape: ``weight_v``, or itself where the norm was removed."""
        return weight if weight in self.tensors and f"{weight}_v" not in self.tensors else f"{weight}_v"

    def shape(self, key: str, axes: int, tells: str) -> Shape:
        """The shape that ``tells`` a hyper-parameter; raises CheckpointError where it cannot."""
        if key not in self.tensors and key in self.entries:
            found = describe(self.entries[key].value)
            raise CheckpointError(f"{self.path}: {self.spelled(key)} is {found}, expected a tensor; {REMEDY}")
        if key not in self.tensors:
            raise CheckpointError(f"{self.path}: no tensor {key}, whose shape tells {tells}; {REMEDY}")
        shape = self.tensors[key].shape
        if len(shape) != axes or 0 in shape:
            raise CheckpointError(
                f"{self.path}: {self.spelled(key)} is {list(shape)}, expected {axes} axes, none empty, to tell "
                f"{tells}; {REMEDY}"
            )
        return shape

    @cached_property
    def most_bytes(self) -> int:
        """What its tensors may take in all: views can claim any size."""
        return most_bytes(self.path.stat().st_size)

    def provenance(self) -> dict[str, Any]:
        """Where the weights come from, as JSON: layout, file, SHA-256, the state in it, the numbers among ``args``."""
        # Not the strings: they hold paths of the machine that trained. Nor what JSON cannot hold exactly.
        numbers = {str(k): v for k, v in self.args.items() if isinstance(v, (int, float)) and abs(v) <= 2**53}
        state = {"state": self.place} if self.place else {}
        return {"layout": LAYOUT, "file": self.path.name, "sha256": self.sha256, **state, "args": numbers}


def find_state(
    path: Path,
    kind: misfits.Kind,
    fit: Callable[[StateDict], Fitted],
    choice: StateChoice | None = None,
) -> tuple[StateDict, Fitted]:
    """The state in the file that makes the model, and what ``fit`` makes of its shapes.

    ``fit`` raises CheckpointError for a state that does not make it. Where several do, ``choice`` names one;
    without a name the preferred one is taken, and told on stderr. Raises CheckpointError for a file that is
    missing, damaged, asks to run something, or holds no such state.
    """
    path = Path(path)
    choice = StateChoice("") if choice is None else choice
    contents, digest = read_contents(path)
    level = choice.part if kind is misfits.PRIOR and choice.part else None
    found = candidates(contents, kind.landmarks, level)
    if not found:
        choice.pick(path, [])
        raise misfits.nothing_found(path, kind, contents)
    states = {candidate.name: _state(path, digest, candidate, contents) for candidate in found}
    fitted: dict[str, Fitted] = {}
    errors: dict[str, CheckpointError] = {}
    for name, state in states.items():
        try:
            fitted[name] = fit(state)
        except CheckpointError as error:
            errors[name] = error
    making = [candidate for candidate in found if candidate.name in fitted]
    named = choice.wanted is None or any(candidate.answers(choice.wanted) for candidate in making)
    picked = choice.pick(path, making if making and named else found)
    taken = picked.name if picked is not None else next(iter(fitted or errors))
    if taken in errors:
        raise errors[taken]
    if picked is None and len(fitted) > 1:
        others = [name for name in fitted if name != taken]
        print(
            f"{path} holds {len(fitted)} states that make {kind.name}: {listed(list(fitted), ', ')}; {taken} is taken "
            f"(latentloop export takes another with --state, such as --state {others[0]})",
            file=sys.stderr,
        )
    return states[taken], fitted[taken]


def read_contents(path: Path) -> tuple[Contents, str]:
    """Everything in a checkpoint's file, and its SHA-256. Raises CheckpointError where it is none."""
    reader = {"zip": read_zip, "legacy": read_legacy, "safetensors": read_safetensors}[format_of(path)]
    try:
        return contents_of(reader(path)), file_digest(path)
    except CodeRefusedError as error:
        raise CheckpointError(f"{path} {error}") from error
    except (PickleError, LookupError, TypeError, ValueError, ArithmeticError, zipfile.BadZipFile) as error:
        raise CheckpointError(
            f"{path} is not a PyTorch checkpoint, or a damaged one: {error}; copy it again"
        ) from error
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error


def _state(path: Path, digest: str, candidate: Candidate, contents: Contents) -> StateDict:
    options = contents.options_near(candidate.place)
    if isinstance(options, InertObject):  # a Namespace, or whatever class held them
        options = options.state if isinstance(options.state, dict) else options.items
    given = options if isinstance(options, dict) else {}
    args = {key: _number(value) for key, value in given.items() if isinstance(key, str)}
    return StateDict(path, digest, ".".join(candidate.place), candidate.entries, candidate.twice, args)


def _number(value: object) -> object:
    """A NumPy number as Python's own; anything else as it is."""
    if not isinstance(value, InertObject) or not value.name.endswith(".multiarray.scalar"):
        return value
    match value.arguments:
        case (InertObject(name="numpy.dtype", arguments=(str() as code, *_)), InertObject() | bytes() as content):
            if isinstance(content, InertObject):  # bytes, in pickles that know none
                text = content.arguments[0] if content.arguments else ""
                content = text.encode("latin-1", "replace") if isinstance(text, str) and len(text) <= 8 else b""
            if re.fullmatch("[fiu][248]|b1", code) and len(content) == int(code[1]):
                return np.frombuffer(content, code)[0].item()
    return value
