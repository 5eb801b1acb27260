"""The content of a file as a flat list: every entry of every dictionary in it, under its dotted path."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from latentloop.errors import listed
from latentloop.export.state_dicts.files.pickled import GlobalName, InertObject, PickleError
from latentloop.export.state_dicts.files.tensors import StoredTensor

Parts = tuple[str, ...]

_DEEPEST = 8  # levels of nested dictionaries
MAX_ENTRIES = 2_000_000
_LONGEST_NAME = 40  # parts
OPTIONS = ("args", "hyper_parameters", "hparams", "config", "options")

# Parts that DataParallel, torch.compile, FSDP, activation checkpointing, Lightning and Opacus insert into names.
WRAPPERS = frozenset(
    ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module", "_module")
)
# Newer releases of torch save weight norm as a parametrization: original0 is g, original1 is v.
_PARAMETRIZED: dict[Parts, str] = {
    ("parametrizations", "weight", "original0"): "weight_g",
    ("parametrizations", "weight", "original1"): "weight_v",
}


@dataclass(frozen=True)
class Item:
    """One entry of a dictionary: its path in the file as ``parts``, its value, and the id of its dictionary."""

    parts: Parts
    value: object
    holder: int

    @property
    def spelled(self) -> str:
        """The dotted path as the file spells it."""
        return ".".join(self.parts)

    def plain(self) -> tuple[Parts, list[int]]:
        """Returns the path without the parts of wrappers, and the index of each remaining part in ``parts``."""
        indices = [index for index, part in enumerate(self.parts) if part not in WRAPPERS]
        parts = tuple(self.parts[index] for index in indices)
        if parts[-3:] in _PARAMETRIZED:
            return (*parts[:-3], _PARAMETRIZED[parts[-3:]]), indices[:-2]
        return parts, indices


@dataclass
class Contents:
    """The entries of a file.

    ``modules``: class names of modules that were pickled whole, by the expression that reaches the module in the
    loaded object. ``options``: saved options, by the path of the dictionary that holds them.
    """

    root: object
    items: list[Item] = field(default_factory=list)
    modules: dict[str, str] = field(default_factory=dict)
    options: dict[Parts, object] = field(default_factory=dict)
    visited: int = 0

    @cached_property
    def plain(self) -> list[tuple[Item, Parts, list[int]]]:
        """Every entry with its path and indices of ``Item.plain``."""
        return [(item, *item.plain()) for item in self.items]

    def visit(self, entries: int) -> None:
        """Counts visited entries. Raises PickleError above the limit: dictionaries can refer to one another."""
        self.visited += entries
        if self.visited > MAX_ENTRIES:
            raise PickleError(f"it refers to the same objects again and again, more than {MAX_ENTRIES} times")

    def options_near(self, parts: Parts) -> object:
        """Returns the options beside the dictionary at ``parts``, or beside one that encloses it; None without any."""
        around = (self.options.get(parts[:length]) for length in range(len(parts), -1, -1))
        return next((options for options in around if options is not None), None)


def contents_of(root: object) -> Contents:
    """Lists the entries of ``root``. Raises PickleError if it refers to the same objects without end."""
    contents = Contents(root)
    contents.items += _walk(contents, root, (), "", 0)
    return contents


def describe(value: object) -> str:
    """Returns a short description of a value for an error message."""
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


def listed_names(names: Iterable[str]) -> str:
    """Joins the first names of tensors for a message. A file can hold names of any number and length."""
    return listed([name[:80] for name in names], most=4)


def _walk(contents: Contents, value: object, parts: Parts, expression: str, depth: int) -> Iterator[Item]:
    """Yields the entries inside ``value``; ``expression`` reaches it in Python, for example ``["model"]``."""
    if depth > _DEEPEST or len(parts) > _LONGEST_NAME:
        return
    if isinstance(value, InertObject):
        state = value.state[0] if isinstance(value.state, tuple) and value.state else value.state
        if isinstance(state, dict):
            if ("_parameters" in state and "_modules" in state) or value.name.startswith("torch.fx.graph_module."):
                contents.modules[expression] = value.name
                return
            yield from _entries(contents, state, parts, expression, depth, attributes=True)
        arguments = [argument for argument in _sequence(value.arguments) if isinstance(argument, dict)]
        for inner in (value.items, *arguments):
            yield from _entries(contents, inner, parts, expression, depth)
        value = value.elements
    if isinstance(value, dict):
        yield from _entries(contents, value, parts, expression, depth)
    contents.visit(len(_sequence(value)))
    for index, element in enumerate(_sequence(value)):
        inside, inner_expression = (*parts, str(index)), f"{expression}[{index}]"
        if isinstance(element, StoredTensor):
            yield Item(inside, element, id(value))
        elif isinstance(element, (dict, list, tuple, InertObject)):
            yield from _walk(contents, element, inside, inner_expression, depth + 1)


def _entries(
    contents: Contents,
    holder: dict[object, object],
    parts: Parts,
    expression: str,
    depth: int,
    *,
    attributes: bool = False,
) -> Iterator[Item]:
    """Yields the entries of one dictionary and of those inside it; ``attributes``: it holds an object's attributes."""
    contents.visit(len(holder))
    for key, value in holder.items():
        if not isinstance(key, (str, int)) or (isinstance(key, str) and key.count(".") >= _LONGEST_NAME):
            continue
        inside = (*parts, *(part for part in str(key).split(".") if part))
        if key == "args" or (key in OPTIONS and parts not in contents.options):
            contents.options[parts] = value
        if not isinstance(value, (dict, tuple)):
            yield Item(inside, value, id(holder))
        inner = f"{expression}.{key}" if attributes else f"{expression}[{key!r}]".replace("'", '"')
        yield from _walk(contents, value, inside, inner, depth + 1)


def _sequence(value: object) -> list[object] | tuple[object, ...]:
    return value if isinstance(value, (list, tuple)) else ()
