"""What people save beside the weights never stands in their way, and nothing in a file is ever run."""

from __future__ import annotations

import argparse
import collections
import dataclasses
import datetime
import decimal
import enum
import functools
import io
import operator
import os
import pathlib
import pickle
import random
import re
import socket
import struct
import subprocess
import sys
import tracemalloc
import types
import uuid
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from common_layout_files import LAYOUTS, random_prior, random_vqvae, save

from latentloop.errors import CheckpointError
from latentloop.export.checkpoints.reading import read_prior, read_vqvae
from latentloop.export.configuration import PriorConfig
from latentloop.export.state_dicts import contents, pickled
from latentloop.export.state_dicts.pickled import GlobalName, InertObject, PickleError, read_pickle

PRIOR = random_prior(LAYOUTS["top-k3"])
VQVAE = random_vqvae()


class Gone:
    """An object of a class that the reader's machine does not have: nothing imports it by name."""

    def __init__(self, **values: object) -> None:
        self.__dict__.update(values)

    def say(self) -> None:
        """A method, which pickles by its object and its name."""


class GoneDict(dict[str, object]):
    pass


class GoneList(list[object]):
    pass


class Colour(enum.Enum):
    RED = 1


@dataclasses.dataclass(frozen=True)
class Frozen:
    value: int = 1


Pair = collections.namedtuple("Pair", "a b")

HARMLESS: dict[str, Any] = {
    "path": pathlib.PurePosixPath("data"), "float64": np.float64(0.1), "int64": np.int64(3), "array": np.arange(3),
    "objects": np.array([1, "a"], object), "records": np.zeros(2, [("a", "f4")]), "date": datetime.datetime(2024, 1, 2),
    "zone": datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC), "time": datetime.timedelta(1),
    "defaultdict": collections.defaultdict(list, a=[1]), "deque": collections.deque([1]),
    "counter": collections.Counter("aa"), "enum": Colour.RED, "object": Gone(a=Gone()), "dictionary": GoneDict(a=1),
    "list": GoneList([1, 2]), "function": save, "builtin": len, "class": Gone, "frozen": Frozen(), "pair": Pair(1, 2),
    "partial": functools.partial(len, []), "caller": operator.methodcaller("x"), "getter": operator.itemgetter(1),
    "dtype": torch.float16, "device": torch.device("cuda:1"), "size": torch.Size([1, 2]), "uuid": uuid.UUID(int=1),
    "decimal": decimal.Decimal("1.1"), "complex": 1j, "range": range(3), "slice": slice(1), "dots": ...,
    "random": random.Random(1), "generator": np.random.default_rng(0), "pattern": re.compile("a"), "set": {1, (2, 3)},
    "bytes": bytearray(b"x"), "namespace": types.SimpleNamespace(a=1), "large": 10**400, "nan": float("nan"),
    "optimiser": torch.optim.Adam, "error": ValueError("x"), "bound": Gone(a=1).say, "version": torch.__version__,
    "activation": torch.nn.functional.relu, "nested": argparse.Namespace(x=argparse.Namespace(y=Gone())),
}  # fmt: skip


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("name", HARMLESS)
def test_settings_of_every_kind_do_not_matter(name: str, protocol: int, tmp_path: Path) -> None:
    args = argparse.Namespace(dropout=0.25, lr=1e-3, **{name: HARMLESS[name]})
    for zipped in (True, False):
        torch.save({"model": PRIOR, "args": args, "more": HARMLESS[name]}, tmp_path / "p.pt", pickle_protocol=protocol,
                   _use_new_zipfile_serialization=zipped)  # fmt: skip
        checkpoint = read_prior(tmp_path / "p.pt")
        assert isinstance(checkpoint.config, PriorConfig)
        assert checkpoint.config.dropout == 0.25
        assert checkpoint.provenance["args"]["lr"] == 1e-3


@pytest.mark.parametrize(
    ("args", "dropout"),
    [
        (argparse.Namespace(dropout=np.float64(0.5)), 0.5),
        ({"dropout": np.float32(0.5)}, 0.5),
        (GoneDict(dropout=0.5), 0.5),
        (Gone(dropout=0.5), 0.5),
        (types.SimpleNamespace(dropout=Gone()), 0.1),
        *((argparse.Namespace(dropout=odd), 0.1) for odd in ("0.1", False, 1, 1.5, -0.2, float("nan"), None, [0.3])),
        (argparse.Namespace(dropout=torch.tensor(0.3)), 0.1),
        ("no settings", 0.1),
    ],
)
def test_the_dropout_is_found_in_settings_of_any_class(args: object, dropout: float, tmp_path: Path) -> None:
    config = read_prior(save(tmp_path / "p.pt", {"model": {"state_dict": PRIOR}, "args": args})).config
    assert isinstance(config, PriorConfig)
    assert config.dropout == dropout


class Call:
    """Unpickled with no guard, it calls a function."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


MARK = "a-mark-that-nothing-leaves"
HARMFUL = {
    "os.system": Call(os.system, f"touch {MARK}"),
    "eval": Call(eval, f"open({MARK!r}, 'w')"),
    "exec": Call(exec, f"open({MARK!r}, 'w')"),
    "print": Call(print, "this ran"),
    "open": Call(open, MARK, "w"),
    "Popen": Call(subprocess.Popen, ["touch", MARK]),
    "import": Call(__import__, "this"),
    "torch.hub": Call(torch.hub.load, "a", "b"),
    "torch.load": Call(torch.load, MARK),
}


@pytest.mark.parametrize("name", HARMFUL)
def test_calls_that_only_an_attack_makes_are_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    for saved in (VQVAE | {"dec.blocks.0.weight": HARMFUL[name]}, {"model": VQVAE, "args": {"path": HARMFUL[name]}}):
        with pytest.raises(CheckpointError, match=r"asks to run .*: refused; nothing was run"):
            read_vqvae(save(tmp_path / "v.pt", saved))
    assert not (tmp_path / MARK).exists()
    assert capfd.readouterr().out == ""


def test_objects_of_modules_that_attacks_use_are_data(tmp_path: Path) -> None:
    """A training script in a folder called code, or what a command of its own gave back."""
    saved = [os.stat("."), os.terminal_size((80, 24)), subprocess.CompletedProcess(["git"], 0), socket.AF_INET]
    names = {name: types.ModuleType(name) for name in ("code", "code.options", "commands", "commands.options")}
    for name, module in names.items():
        kind = type("Options", (), {"__module__": name})
        vars(module)["Options"] = kind
        saved.append(kind())
    with pytest.MonkeyPatch.context() as patch:
        for name, module in names.items():
            patch.setitem(sys.modules, name, module)
        path = save(tmp_path / "v.pt", {"model": VQVAE, "args": {"kept": saved}})
    assert read_vqvae(path).provenance["file"] == "v.pt"


ran: list[object] = []


@pytest.mark.parametrize(
    "value",
    [Call(ran.append, 1), Call(functools.partial, ran.append), Call(operator.methodcaller("append", 1), ran), Gone()],
)
def test_any_other_call_is_never_made(value: object, tmp_path: Path) -> None:
    read_vqvae(save(tmp_path / "v.pt", {"model": VQVAE, "epoch": value}))
    with pytest.raises(CheckpointError, match=r"dec\.blocks\.0\.weight is an object of .*, expected a tensor"):
        read_vqvae(save(tmp_path / "v.pt", VQVAE | {"dec.blocks.0.weight": value}))
    assert ran == []


@pytest.mark.parametrize("protocol", range(6))
def test_plain_data_are_read_as_pickle_reads_them(protocol: int) -> None:
    data = {
        "numbers": [0, -1, 255, 70000, -(2**31), 2**63, 10**30, 1.5, float("inf"), True, None],
        "texts": ["", "ü", "a" * 300, "\ud800"], "tuples": ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)),
        "empty": [[], {}], 3: "three", None: 1,
    }  # fmt: skip
    data["again"] = data["texts"]
    file = io.BytesIO(pickle.dumps(data, protocol) + b"more")
    assert read_pickle(file) == data
    assert file.read() == b"more"


def test_objects_become_their_parts() -> None:
    found = read_pickle(io.BytesIO(pickle.dumps([Gone(a=1), GoneDict(b=2), GoneList([3]), Gone])))
    name = f"{__name__}.Gone"
    assert [(one.name, one.state, one.items, one.elements) for one in found[:3]] == [
        (name, {"a": 1}, {}, []), (f"{name}Dict", None, {"b": 2}, []), (f"{name}List", None, {}, [3]),
    ]  # fmt: skip
    assert all(isinstance(one, InertObject) for one in found[:3])
    assert found[3] == GlobalName(name)


BOMBS = {
    "a memo of 2^31 entries": b"\x80\x02}r\xff\xff\xff\x7f.",
    "bytes of a terabyte": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b".",
    "a bytearray of a terabyte": b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b".",
    "a number of a gigabyte": b"\x80\x02\x8b\xff\xff\xff\x7f.",
    "a number of many digits": b"\x80\x02L" + b"9" * 100_000 + b"L\n.",
    "deep lists": b"\x80\x02" + b"]" * 50_000 + b"a" * 49_999 + b".",
    "a deep tuple as a key": b"\x80\x02}()" + b"\x85" * 50_000 + b"K\x01u.",
    "references without end": b"\x80\x02}q\x00(" + b"".join(b"K%ch\x00" % n for n in range(100)) + b"u.",
    "the same list again and again": b"\x80\x02](" + b"K\x01" * 50_000 + b"eq\x00c__builtin__\nlist\nq\x010]("
    + b"h\x01h\x00\x85R" * 50_000 + b"e.",
    "the same dictionary again and again": b"\x80\x02](" + b"K\x01K\x02\x86" * 10_000
    + b"eq\x00ccollections\nOrderedDict\nq\x010](" + b"h\x01h\x00\x85R" * 10_000 + b"e.",
    "an endless name": b"\x80\x02}X" + struct.pack("<I", 200_000) + b"a." * 100_000 + b"K\x01s.",
    "nothing on the stack": b"\x80\x02R.",
    "no mark": b"\x80\x02}u.",
    "a stranger's opcode": b"\x80\x02\x82\x01.",
    "an attribute of a class": b"\x80\x02ccollections\nOrderedDict\nN}X\x01\x00\x00\x00aK\x01s\x86b.",
    "no end": b"\x80\x02}",
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_file_takes_little_memory(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "MOST_ENTRIES", 20_000)  # of millions: counting memory makes them slow
    monkeypatch.setattr(pickled, "MOST_COPIED", 50_000)
    with zipfile.ZipFile(tmp_path / "v.pt", "w") as archive:
        archive.writestr("v/data.pkl", BOMBS[name])
    heads: list[object] = [0x1950A86A20F9469CFC6C, 1001, {}]
    (tmp_path / "old.pt").write_bytes(b"".join(pickle.dumps(head, 2) for head in heads) + BOMBS[name])
    tracemalloc.start()
    for file in ("v.pt", "old.pt"):
        with pytest.raises(CheckpointError):
            read_vqvae(tmp_path / file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6


def test_an_archive_that_unpacks_to_much_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "v.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("v/data.pkl", bytes(70_000_000))
    with pytest.raises(CheckpointError, match=r"its entry v/data\.pkl: it would unpack to 70000000 bytes"):
        read_vqvae(tmp_path / "v.pt")


@pytest.mark.parametrize("value", [torch.ones(1).expand(4, 3, 4, 4), torch.ones(1).expand(1 << 19, 1 << 12, 4, 4)])
def test_views_claim_no_more_than_a_file_could_hold(value: torch.Tensor, tmp_path: Path) -> None:
    path = save(tmp_path / "v.pt", VQVAE | {"dec.blocks.0.weight": value, "enc_b.blocks.0.weight": value})
    with pytest.raises(CheckpointError, match=r"do(es)? not fit"):
        read_vqvae(path)
    shared = VQVAE | {"upsample_t.bias": torch.ones(1).expand(6)}
    np.testing.assert_array_equal(read_vqvae(save(path, shared)).weights["upsamplers.0.0.bias"], np.ones(6))


@pytest.mark.parametrize("view", [torch._neg_view, lambda value: torch.conj(torch.complex(value, value)).imag])
def test_views_that_change_signs_are_refused(view: Callable[[torch.Tensor], torch.Tensor], tmp_path: Path) -> None:
    negated = view(VQVAE["dec.blocks.0.weight"])
    assert negated.is_neg()
    with pytest.raises(CheckpointError, match=r"dec\.blocks\.0\.weight is a negated or conjugated view"):
        read_vqvae(save(tmp_path / "v.pt", VQVAE | {"dec.blocks.0.weight": negated}))


def test_pickles_that_are_none_are_told() -> None:
    for content in (b"", b"x", b"\x80\x02", b"\x80\x02."):
        with pytest.raises(PickleError):
            read_pickle(io.BytesIO(content))
