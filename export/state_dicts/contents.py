"""What a file holds, as a flat list: every entry of every dictionary in it, under its dotted path."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from latentloop.export.state_dicts.pickled import GlobalName, InertObject, PickleError
from latentloop.export.state_dicts.tensors import StoredTensor

Parts = tuple[str, ...]

_DEEPEST = 8  # dictionaries inside one another
MOST_ENTRIES = 2_000_000
_LONGEST_NAME = 40  # parts
OPTIONS = ("args", "hyper_parameters", "hparams", "config", "options")

# What DataParallel, torch.compile, FSDP, activation checkpointing, Lightning and Opacus put into a tensor's name.
WRAPPERS = frozenset(
    ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module", "_module")
)
# Newer torch saves weight norm as a parametrization: original0 is g, original1 is v.
_PARAMETRIZED: dict[Parts, str] = {
    ("parametrizations", "weight", "original0"): "weight_g",
    ("parametrizations", "weight", "original1"): "weight_v",
}


@dataclass(frozen=True)
class Item:
    """One entry: its dotted path as the file spells it, in ``parts``; ``holder`` tells its dictionary from others."""

    parts: Parts
    value: object
    holder: int

    @property
    def spelled(self) -> str:
        """The path as the file spells it."""
        return ".".join(self.parts)

    def plain(self) -> tuple[Parts, list[int]]:
        """The path without what wrappers put into it, and where each of its parts stands in ``parts``."""
        places = [place for place, part in enumerate(self.parts) if part not in WRAPPERS]
        parts = tuple(self.parts[place] for place in places)
        if parts[-3:] in _PARAMETRIZED:
            return (*parts[:-3], _PARAMETRIZED[parts[-3:]]), places[:-2]
        return parts, places


@dataclass
class Contents:
    """A file's entries; the modules that were pickled whole, by the expression that reaches them; saved options."""

    root: object
    items: list[Item] = field(default_factory=list)
    modules: dict[str, str] = field(default_factory=dict)
    options: dict[Parts, object] = field(default_factory=dict)
    visited: int = 0

    def visit(self, entries: int) -> None:
        """Counts what is looked at: dictionaries that refer to one another would be looked at for ever."""
        self.visited += entries
        if self.visited > MOST_ENTRIES:
            raise PickleError(f"it refers to the same things again and again, more than {MOST_ENTRIES} times")

    def options_near(self, parts: Parts) -> object:
        """The options saved beside the dictionary at ``parts``, or beside one around it; None without any."""
        around = (self.options.get(parts[:length]) for length in range(len(parts), -1, -1))
        return next((found for found in around if found is not None), None)


def contents_of(root: object) -> Contents:
    """Everything in ``root``. Raises PickleError where it refers to the same things without end."""
    found = Contents(root)
    found.items += _walk(found, root, (), "", 0)
    return found


def describe(value: object) -> str:
    """What a value is, for an error's text."""
    if isinstance(value, InertObject):
        kinds = {
            "_rebuild_sparse_tensor": "a sparse tensor",
            "_rebuild_qtensor": "a quantised tensor",
            "_rebuild_meta_tensor_no_storage": "a tensor on the meta device, which has no values",
            "_reconstruct": "a NumPy array (torch.from_numpy makes a tensor of it)",
        }
        return kinds.get(value.name.rpartition(".")[2], f"an object of {value.name[:80]}, which is not read")
    if isinstance(value, StoredTensor):
        return f"{value.dtype} {list(value.shape)}"
    if isinstance(value, GlobalName):
        return f"the name {value.name[:80]}"
    kind = type(value).__name__
    return f"an {kind}" if kind.startswith("int") else f"a {kind}"


def _walk(found: Contents, value: object, parts: Parts, reached: str, depth: int) -> Iterator[Item]:
    if depth > _DEEPEST or len(parts) > _LONGEST_NAME:
        return
    if isinstance(value, InertObject):
        state = value.state[0] if isinstance(value.state, tuple) and value.state else value.state
        if isinstance(state, dict):
            if ("_parameters" in state and "_modules" in state) or value.name.startswith("torch.fx.graph_module."):
                found.modules[reached] = value.name
                return
            yield from _entries(found, state, parts, reached, depth, attributes=True)
        for inner in (
            value.items,
            *(argument for argument in _sequence(value.arguments) if isinstance(argument, dict)),
        ):
            yield from _entries(found, inner, parts, reached, depth)
        value = value.elements
    if isinstance(value, dict):
        yield from _entries(found, value, parts, reached, depth)
    found.visit(len(_sequence(value)))
    for index, element in enumerate(_sequence(value)):
        inside, here = (*parts, str(index)), f"{reached}[{index}]"
        if isinstance(element, StoredTensor):
            yield Item(inside, element, id(value))
        elif isinstance(element, (dict, list, tuple, InertObject)):
            yield from _walk(found, element, inside, here, depth + 1)


def _entries(
    found: Contents, holder: dict[object, object], parts: Parts, reached: str, depth: int, *, attributes: bool = False
) -> Iterator[Item]:
    found.visit(len(holder))
    for key, value in holder.items():
        if not isinstance(key, (str, int)) or (isinstance(key, str) and key.count(".") >= _LONGEST_NAME):
            continue
        inside = (*parts, *(part for part in str(key).split(".") if part))
        if key == "args" or (key in OPTIONS and parts not in found.options):
            found.options[parts] = value
        if not isinstance(value, (dict, tuple)):
            yield Item(inside, value, id(holder))
        here = f"{reached}.{key}" if attributes else f"{reached}[{key!r}]".replace("'", '"')
        yield from _walk(found, value, inside, here, depth + 1)


def _sequence(value: object) -> list[object] | tuple[object, ...]:
    return value if isinstance(value, (list, tuple)) else ()
