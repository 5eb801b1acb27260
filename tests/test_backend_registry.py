"""Adding a backend takes one file and one line: library and command line then support it by its name."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import numpy as np
import pytest
import toy_backend
from command_line import run

from latentloop import Bundle, InputError, MissingError, Sampler
from latentloop.backends import registry
from latentloop.backends.registry import BACKENDS, BackendRequest, Registration, usable


@pytest.fixture
def bundle(small_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    """A bundle; the toy backend is registered during the test."""
    monkeypatch.setitem(BACKENDS, "toy", Registration("toy_backend"))
    return Bundle.open(small_bundle)


def test_a_new_backend_samples(bundle: Bundle) -> None:
    sampler = Sampler(bundle, "toy")
    assert (sampler.device, sampler.device_reason, sampler.default_batch_size) == (
        "toy",
        toy_backend.ToyBackend.reason,
        3,
    )
    samples = sampler.sample(5, seeds=1)
    assert samples.images.shape == (5, 32, 48, 3)
    assert (samples.images == toy_backend.GREY).all()
    assert not any(codes.any() for codes in samples.codes.values())


def test_a_new_backend_encodes_decodes_and_computes_likelihoods(bundle: Bundle) -> None:
    sampler = Sampler(bundle, "toy")
    samples = sampler.sample(2)
    assert (sampler.decode(sampler.encode(samples.images)) == toy_backend.GREY).all()
    likelihoods = sampler.log_likelihood(samples.codes, samples.labels)
    for level in bundle.manifest.levels:
        np.testing.assert_allclose(likelihoods[level.name], -np.log(level.codebook_size))
    with pytest.raises(InputError, match=r"this sampler runs on toy: arrays on a GPU need one of cuda, tensorrt, "):
        sampler.encode_on_gpu(samples.images)


def test_the_command_line_supports_a_new_backend(
    bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str], fails: Callable[..., str]
) -> None:
    assert run("sample", "--bundle", bundle.path, "--device", "toy", "--out", tmp_path / "a.png", "--json") == 0
    assert json.loads(capsys.readouterr().out)["device"] == "toy"
    assert "onnxruntime-tensorrt or toy" in fails(2, "sample", "--device", "other", "--out", tmp_path / "b.png")
    assert run("info", "--json") == 0
    assert json.loads(capsys.readouterr().out)["devices"]["toy"] == "yes"
    assert run("sample", "--help") == 0
    assert "toy" in capsys.readouterr().out


def test_the_reason_why_it_cannot_be_used_is_reported(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toy_backend, "missing", "no toys here: pip install toys")
    with pytest.raises(MissingError, match=r"^no toys here: pip install toys$"):
        Sampler(bundle, "toy")
    assert usable(bundle)["toy"] == "no: no toys here: pip install toys"
    assert usable(None)["toy"] == "no: no toys here: pip install toys"


def test_it_has_no_gpu_numbers_and_auto_does_not_try_it_without_a_rank(bundle: Bundle) -> None:
    with pytest.raises(InputError, match="device is 'toy:1', expected"):
        Sampler(bundle, "toy:1")
    assert Sampler(bundle).device == "cpu"
    with pytest.raises(InputError, match="precision is 'int4', expected one that the bundle has: float32, int8"):
        Sampler(bundle, "toy", precision="int4")


def test_auto_tries_backends_in_the_order_of_their_ranks(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKENDS, "toy", Registration("toy_backend", auto_rank=0))
    assert Sampler(bundle).device == "toy"
    monkeypatch.setattr(toy_backend, "missing", "no toys here")
    sampler = Sampler(bundle)
    assert sampler.device == "cpu"
    assert sampler.device_reason.startswith("toy: no toys here; ")


@pytest.mark.parametrize(
    ("functions", "reason"),
    [
        (None, "the backend faulty is registered with the module faulty_backend, which does not exist"),
        (("check",), "the module faulty_backend of the backend faulty has no find, expected check and find"),
        (("find",), "the module faulty_backend of the backend faulty has no check, expected check and find"),
    ],
)
def test_a_registration_that_is_wrong_is_named(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, functions: tuple[str, ...] | None, reason: str
) -> None:
    if functions is not None:
        module = ModuleType("faulty_backend")
        vars(module).update({name: getattr(toy_backend, name) for name in functions})
        monkeypatch.setitem(sys.modules, "faulty_backend", module)
    monkeypatch.setitem(BACKENDS, "faulty", Registration("faulty_backend", auto_rank=0))
    with pytest.raises(MissingError, match=f"^{reason}$"):
        Sampler(bundle, "faulty")
    assert Sampler(bundle).device_reason.startswith(f"faulty: {reason}; ")
    for opened in (bundle, None):
        assert usable(opened)["faulty"] == f"no: {reason}"


@pytest.mark.parametrize("error", [ImportError("no\ntoys"), ValueError("no\ntoys")])
def test_a_fault_of_one_backend_does_not_hide_the_others(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    def fail(request: BackendRequest) -> NoReturn:
        raise error

    monkeypatch.setattr(toy_backend, "find", fail)
    reason = f"no: {type(error).__name__}: no toys"
    answers = usable(bundle)
    assert (answers["toy"], answers["cpu"]) == (reason, "yes")
    assert run("info", "--json", "--bundle", bundle.path) == 0
    devices = json.loads(capsys.readouterr().out)["devices"]
    assert (devices["toy"], devices["cpu"]) == (reason, "yes")


def test_every_cpu_backend_can_be_used_here() -> None:
    for name in registry.names(on_gpu=False):
        registry._module(name).check(name)
