"""A pickle as plain data: an interpreter of its opcodes that imports, constructs and calls nothing.

Numbers, strings, lists, tuples and dictionaries are read as usual. A class or function that the pickle names becomes a
``GlobalName``; an object that it would construct, or the result of a call, becomes an ``InertObject`` that keeps the
arguments. The caller's ``build`` function turns the calls that rebuild tensors into tensors.
"""

from __future__ import annotations

import mmap
import pickletools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Any, cast

from latentloop.errors import CheckpointError


class PickleError(CheckpointError):
    """The bytes are not a pickle, or it has opcodes that this reader does not support."""


class CodeRefusedError(PickleError):
    """The pickle calls a function that only an attack would call."""


@dataclass(frozen=True)
class GlobalName:
    """The name of a class or function in a pickle, such as ``argparse.Namespace``."""

    name: str

    @property
    def last(self) -> str:
        """The name without its module."""
        return self.name.rpartition(".")[2]


@dataclass(eq=False)
class InertObject:
    """The parts of an object that a pickle would construct by calling ``name``; it is never constructed.

    ``state``: the argument of ``__setstate__``. ``items`` and ``elements``: values that would be stored or appended.
    """

    name: str
    arguments: Any = ()
    state: Any = None
    items: dict[Any, Any] = field(default_factory=dict)
    elements: list[Any] = field(default_factory=list)


Build = Callable[[str, tuple[Any, ...]], object]
Persistent = Callable[[object], object]

_DICTIONARIES = ("collections.OrderedDict", "builtins.dict", "__builtin__.dict")
_SEQUENCES = (
    "torch.Size",
    *(f"{module}.{kind}" for module in ("builtins", "__builtin__") for kind in ("list", "set", "tuple", "frozenset")),
)
_CONSTRUCTORS = ("copyreg._reconstructor", "copy_reg._reconstructor", "copyreg.__newobj__", "copyreg.__newobj_ex__")
# Nothing is ever called, but a file with one of these calls is meant to run code on the reader's machine: refuse it.
# The names are complete: other classes of the same modules, or of a user's own module `code`, are data.
_ATTACKS = re.compile(
    r"((os|posix|nt)\.(system|popen\w*|exec[lv]\w*|spawn\w*|posix_spawn\w*|fork\w*|kill\w*|remove\w*|unlink|rmdir|"
    r"rename\w*|replace|chmod|chown|truncate|open|write|putenv|startfile|symlink|link|mkdir|makedirs)|"
    r"(subprocess|commands)\.(Popen|run|call|check_\w+|get\w+)|pty\.\w+|runpy\.\w+|"
    r"importlib\.(import_module|__import__|reload)|socket\.(socket|create_\w+|fromfd)|"
    r"shutil\.(rmtree|move|copy\w*|chown|unpack_archive|make_archive)|ctypes\.\w+|"
    r"code\.(interact|Interactive\w+)|webbrowser\.\w+|marshal\.loads?|_?pickle\.loads?|urllib\.request\.\w+|"
    r"torch\.hub\.\w+|torch\.jit\.load|torch\.(serialization\.)?load|"
    r"(builtins|__builtin__|_?io)\.(eval|exec|execfile|compile|__import__|open|file|print|input|breakpoint|exit|quit))"
)
MAX_COPIED = 1_000_000
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY: dict[str, Callable[[], object]] = {
    "EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_DICT": dict, "EMPTY_SET": list,
}  # fmt: skip
_ARGUMENTS = frozenset(
    opcode.name for opcode in pickletools.opcodes
    if opcode.name.startswith(("INT", "BIN", "LONG", "STRING", "SHORT_BIN", "BYTEARRAY", "UNICODE", "FLOAT"))
    and "GET" not in opcode.name and "PUT" not in opcode.name and opcode.name != "BINPERSID"
)  # fmt: skip


def no_tensors(name: str, arguments: tuple[Any, ...]) -> object:
    """The default ``build``: supports no call."""
    return None


def no_persistent_objects(identity: object) -> object:
    """The default ``persistent``: keeps a persistent id as data."""
    return InertObject("persistent id", identity)


def read_pickle(
    file: IO[bytes] | mmap.mmap, build: Build = no_tensors, persistent: Persistent = no_persistent_objects
) -> Any:
    """Reads one pickle from ``file``; the position is then at the byte after its end.

    ``build(name, arguments)`` returns the result of a call, or None for a call that it does not support.
    ``persistent(identity)`` returns the object of a persistent id. Both receive plain data. Raises PickleError.
    """
    machine = _Machine(build, persistent)
    try:
        for opcode, argument, _ in pickletools.genops(cast(IO[bytes], file)):  # only read and readline are called
            machine.step(opcode.name, argument)
        return machine.stack[-1]
    except PickleError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, MemoryError) as error:
        raise PickleError(f"its pickle is damaged: {error}") from error


class _Machine:
    """The stack machine that a pickle is a program for: one method per opcode."""

    def __init__(self, build: Build, persistent: Persistent) -> None:
        self.build, self.persistent = build, persistent
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.copied = 0

    def step(self, name: str, argument: Any) -> None:
        if name in _ARGUMENTS:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            self.stack.append(_EMPTY[name]())
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            self.stack.append(self.memo[int(argument)])
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            self.memo[int(argument)] = self.stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = self.stack[-1]
        elif name == "GLOBAL":
            self.stack.append(GlobalName(argument.replace(" ", ".")))
        elif name not in ("PROTO", "FRAME", "STOP"):
            method = getattr(self, f"on_{name.lower()}", None)
            if method is None:
                raise PickleError(f"the pickle's opcode {name} is not one that checkpoints use")
            method(argument)

    def take(self) -> list[Any]:
        """Removes the values above the last mark from the stack, and returns them."""
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def on_mark(self, _: Any) -> None:
        self.marks.append(len(self.stack))

    def on_pop(self, _: Any) -> None:
        if self.marks and self.marks[-1] == len(self.stack):
            self.marks.pop()
        else:
            self.stack.pop()

    def on_pop_mark(self, _: Any) -> None:
        self.take()

    def on_dup(self, _: Any) -> None:
        self.stack.append(self.stack[-1])

    def on_list(self, _: Any) -> None:
        self.stack.append(self.take())

    def on_tuple(self, _: Any) -> None:
        self.stack.append(tuple(self.take()))

    on_frozenset = on_tuple

    def on_tuple1(self, _: Any) -> None:
        self.stack[-1:] = [(self.stack[-1],)]

    def on_tuple2(self, _: Any) -> None:
        self.stack[-2:] = [(self.stack[-2], self.stack[-1])]

    def on_tuple3(self, _: Any) -> None:
        self.stack[-3:] = [(self.stack[-3], self.stack[-2], self.stack[-1])]

    def on_dict(self, _: Any) -> None:
        values = self.take()
        dictionary: dict[Any, Any] = {}
        _store(dictionary, values)
        self.stack.append(dictionary)

    def on_append(self, _: Any) -> None:
        value = self.stack.pop()
        _extend(self.stack[-1], [value])

    def on_appends(self, _: Any) -> None:
        values = self.take()
        _extend(self.stack[-1], values)

    on_additems = on_appends

    def on_setitem(self, _: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        _store(self.stack[-1], [key, value])

    def on_setitems(self, _: Any) -> None:
        values = self.take()
        _store(self.stack[-1], values)

    def on_stack_global(self, _: Any) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.stack.append(GlobalName(f"{module:s}.{name:s}"))

    def on_reduce(self, _: Any) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        self.stack.append(self.call(function, arguments))

    on_newobj = on_reduce

    def on_newobj_ex(self, _: Any) -> None:
        keywords, arguments, function = self.stack.pop(), self.stack.pop(), self.stack.pop()
        result = self.call(function, arguments)
        if isinstance(result, InertObject):
            result.state = keywords
        self.stack.append(result)

    def on_obj(self, _: Any) -> None:
        function, *arguments = self.take()
        self.stack.append(self.call(function, tuple(arguments)))

    def on_inst(self, argument: Any) -> None:
        self.stack.append(self.call(GlobalName(argument.replace(" ", ".")), tuple(self.take())))

    def on_build(self, _: Any) -> None:
        state = self.stack.pop()
        if isinstance(self.stack[-1], InertObject):
            self.stack[-1].state = state  # the attributes of a dictionary or a tensor are not needed

    def on_binpersid(self, _: Any) -> None:
        self.stack.append(self.persistent(self.stack.pop()))

    def on_persid(self, argument: Any) -> None:
        self.stack.append(self.persistent(argument))

    def call(self, function: object, arguments: Any) -> object:
        """Returns the value that represents a call; ``function`` can be any value."""
        name = f"a {type(function).__name__}"
        if isinstance(function, (GlobalName, InertObject)):
            name = function.name
        if _ATTACKS.fullmatch(name):
            raise CodeRefusedError(f"asks to run {name}, which no checkpoint needs: refused; nothing was run")
        if not isinstance(arguments, tuple):
            return InertObject(name, arguments)
        if name in _CONSTRUCTORS and arguments and isinstance(arguments[0], GlobalName):
            return InertObject(arguments[0].name, arguments[1:])
        first = arguments[0] if arguments else ()
        if name in _DICTIONARIES and not arguments:
            return {}
        if name in _DICTIONARIES and isinstance(first, (list, tuple)):
            return self.dictionary(first)
        # No copy: repeated calls on one long list would use much more memory than the size of the file.
        if name in _DICTIONARIES and isinstance(first, dict):
            return first
        if name in _SEQUENCES and isinstance(first, (list, tuple)):
            return first
        built = self.build(name, arguments)
        return InertObject(name, arguments) if built is None else built

    def dictionary(self, pairs: Any) -> dict[Any, Any]:
        """Returns a dictionary from its pairs, as Python 2 saves an OrderedDict."""
        self.copied += len(pairs)
        if self.copied > MAX_COPIED:
            raise PickleError("the pickle makes dictionaries of the same items again and again")
        dictionary: dict[Any, Any] = {}
        for key, value in pairs:
            _store(dictionary, [key, value])
        return dictionary


def _extend(target: object, values: list[Any]) -> None:
    if isinstance(target, list):
        target.extend(values)
    elif isinstance(target, InertObject):
        target.elements.extend(values)
    else:
        raise PickleError(f"the pickle appends to a {type(target).__name__}")


def _store(target: object, values: list[Any]) -> None:
    """Stores alternating keys and values. Other keys than plain values are wrapped: hashing them could recurse."""
    items = target.items if isinstance(target, InertObject) else target
    if not isinstance(items, dict):
        raise PickleError(f"the pickle stores items in a {type(target).__name__}")
    for key, value in zip(values[::2], values[1::2], strict=True):
        plain = key is None or isinstance(key, (str, int, float, bytes))
        items[key if plain else InertObject("key", key)] = value
