"""Objects that are saved beside the weights do not prevent reading them, and nothing in a file is executed."""

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
from common_layout_files import PRIORS, random_prior, random_vqvae, save

from latentloop.errors import CheckpointError
from latentloop.export.configuration import PriorConfig
from latentloop.export.layouts.reading import read_prior, read_vqvae
from latentloop.export.state_dicts.files import contents, pickled
from latentloop.export.state_dicts.files.pickled import GlobalName, InertObject, PickleError, read_pickle

PRIOR = random_prior(PRIORS["top-k3"])
VQVAE = random_vqvae()


class Alien:
    """Stands for a class that the reading machine does not have; nothing imports it by its name."""

    def __init__(self, **values: object) -> None:
        self.__dict__.update(values)

    def method(self) -> None:
        """A bound method is pickled as its object and its name."""


class AlienDict(dict[str, object]):
    pass


class AlienList(list[object]):
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
    "counter": collections.Counter("aa"), "enum": Colour.RED, "object": Alien(a=Alien()), "dictionary": AlienDict(a=1),
    "list": AlienList([1, 2]), "function": save, "builtin": len, "class": Alien, "frozen": Frozen(), "pair": Pair(1, 2),
    "partial": functools.partial(len, []), "caller": operator.methodcaller("x"), "getter": operator.itemgetter(1),
    "dtype": torch.float16, "device": torch.device("cuda:1"), "size": torch.Size([1, 2]), "uuid": uuid.UUID(int=1),
    "decimal": decimal.Decimal("1.1"), "complex": 1j, "range": range(3), "slice": slice(1), "dots": ...,
    "random": random.Random(1), "generator": np.random.default_rng(0), "pattern": re.compile("a"), "set": {1, (2, 3)},
    "bytes": bytearray(b"x"), "namespace": types.SimpleNamespace(a=1), "large": 10**400, "nan": float("nan"),
    "optimiser": torch.optim.Adam, "error": ValueError("x"), "bound": Alien(a=1).method, "version": torch.__version__,
    "activation": torch.nn.functional.relu, "nested": argparse.Namespace(x=argparse.Namespace(y=Alien())),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "protocol", "zipped"),
    [
        *((name, protocol, protocol == 4) for name in HARMLESS for protocol in (2, 4)),  # read alike from both formats
        *(("nested", protocol, protocol != 4) for protocol in (2, 4)),
    ],
)
def test_objects_of_every_kind_beside_the_weights(name: str, protocol: int, zipped: bool, tmp_path: Path) -> None:
    args = argparse.Namespace(dropout=0.25, lr=1e-3, **{name: HARMLESS[name]})
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
        (AlienDict(dropout=0.5), 0.5),
        (Alien(dropout=0.5), 0.5),
        (types.SimpleNamespace(dropout=Alien()), 0.1),
        *((argparse.Namespace(dropout=bad), 0.1) for bad in ("0.1", False, 1, 1.5, -0.2, float("nan"), None, [0.3])),
        (argparse.Namespace(dropout=torch.tensor(0.3)), 0.1),
        ("no settings", 0.1),
    ],
)
def test_the_dropout_is_read_from_options_of_any_class(args: object, dropout: float, tmp_path: Path) -> None:
    config = read_prior(save(tmp_path / "p.pt", {"model": {"state_dict": PRIOR}, "args": args})).config
    assert isinstance(config, PriorConfig)
    assert config.dropout == dropout


class Call:
    """Calls a function when it is unpickled without protection."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


MARK = "file-that-an-attack-would-write"
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
def test_calls_that_only_an_attack_needs_are_refused(
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
    """For example a training script in a folder ``code``, or the result of one of its commands."""
    saved = [os.stat("."), os.terminal_size((80, 24)), subprocess.CompletedProcess(["git"], 0), socket.AF_INET]
    names = {name: types.ModuleType(name) for name in ("code", "code.options", "commands", "commands.options")}
    for name, module in names.items():
        kind = type("Options", (), {"__module__": name})
        vars(module)["Options"] = kind
        saved.append(kind())
    with pytest.MonkeyPatch.context() as patch:
        for name, module in names.items():
            patch.setitem(sys.modules, name, module)
        path = save(tmp_path / "v.pt", {"model": VQVAE, "args": {"saved": saved}})
    assert read_vqvae(path).provenance["file"] == "v.pt"


ran: list[object] = []


@pytest.mark.parametrize(
    "value",
    [Call(ran.append, 1), Call(functools.partial, ran.append), Call(operator.methodcaller("append", 1), ran), Alien()],
)
def test_other_calls_are_not_made(value: object, tmp_path: Path) -> None:
    read_vqvae(save(tmp_path / "v.pt", {"model": VQVAE, "epoch": value}))
    with pytest.raises(CheckpointError, match=r"dec\.blocks\.0\.weight is an object of .*, expected a tensor"):
        read_vqvae(save(tmp_path / "v.pt", VQVAE | {"dec.blocks.0.weight": value}))
    assert ran == []


@pytest.mark.parametrize("protocol", range(6))
def test_plain_data_are_read_as_by_pickle(protocol: int) -> None:
    data = {
        "numbers": [0, -1, 255, 70000, -(2**31), 2**63, 10**30, 1.5, float("inf"), True, None],
        "texts": ["", "ü", "a" * 300, "\ud800"], "tuples": ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)),
        "empty": [[], {}], 3: "three", None: 1,
    }  # fmt: skip
    data["again"] = data["texts"]
    file = io.BytesIO(pickle.dumps(data, protocol) + b"more")
    assert read_pickle(file) == data
    assert file.read() == b"more"


def test_objects_are_read_as_their_parts() -> None:
    objects = read_pickle(io.BytesIO(pickle.dumps([Alien(a=1), AlienDict(b=2), AlienList([3]), Alien])))
    name = f"{__name__}.Alien"
    assert [(one.name, one.state, one.items, one.elements) for one in objects[:3]] == [
        (name, {"a": 1}, {}, []), (f"{name}Dict", None, {"b": 2}, []), (f"{name}List", None, {}, [3]),
    ]  # fmt: skip
    assert all(isinstance(one, InertObject) for one in objects[:3])
    assert objects[3] == GlobalName(name)


BOMBS = {
    "a memo of 2^31 entries": b"\x80\x02}r\xff\xff\xff\x7f.",
    "bytes of a terabyte": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b".",
    "a bytearray of a terabyte": b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b".",
    "a number of a gigabyte": b"\x80\x02\x8b\xff\xff\xff\x7f.",
    "a number of many digits": b"\x80\x02L" + b"9" * 100_000 + b"L\n.",
    "deep lists": b"\x80\x02" + b"]" * 10_000 + b"a" * 9_999 + b".",
    "a deep tuple as a key": b"\x80\x02}()" + b"\x85" * 10_000 + b"K\x01u.",
    "references without end": b"\x80\x02}q\x00(" + b"".join(b"K%ch\x00" % n for n in range(100)) + b"u.",
    "the same list again and again": b"\x80\x02](" + b"K\x01" * 10_000 + b"eq\x00c__builtin__\nlist\nq\x010]("
    + b"h\x01h\x00\x85R" * 10_000 + b"e.",
    "the same dictionary again and again": b"\x80\x02](" + b"K\x01K\x02\x86" * 2_000
    + b"eq\x00ccollections\nOrderedDict\nq\x010](" + b"h\x01h\x00\x85R" * 2_000 + b"e.",
    "an endless name": b"\x80\x02}X" + struct.pack("<I", 200_000) + b"a." * 100_000 + b"K\x01s.",
    "nothing on the stack": b"\x80\x02R.",
    "no mark": b"\x80\x02}u.",
    "an opcode of the extension registry": b"\x80\x02\x82\x01.",
    "an attribute of a class": b"\x80\x02ccollections\nOrderedDict\nN}X\x01\x00\x00\x00aK\x01s\x86b.",
    "no end": b"\x80\x02}",
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_file_needs_little_memory(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "MAX_ENTRIES", 4_000)  # instead of millions, because tracemalloc is slow
    monkeypatch.setattr(pickled, "MAX_COPIED", 10_000)
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
    assert peak < 10e6


def test_an_archive_that_unpacks_to_a_huge_size_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "v.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("v/data.pkl", bytes(70_000_000))
    with pytest.raises(CheckpointError, match=r"its entry v/data\.pkl: it would unpack to 70000000 bytes"):
        read_vqvae(tmp_path / "v.pt")


@pytest.mark.parametrize("value", [torch.ones(1).expand(4, 3, 4, 4), torch.ones(1).expand(1 << 19, 1 << 12, 4, 4)])
def test_views_that_claim_more_than_a_file_can_hold_are_refused(value: torch.Tensor, tmp_path: Path) -> None:
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


def test_bytes_that_are_no_pickle_are_refused() -> None:
    for content in (b"", b"x", b"\x80\x02", b"\x80\x02."):
        with pytest.raises(PickleError):
            read_pickle(io.BytesIO(content))
