"""A backend is added by one file and one line: the command line and the library then know it by its name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import toy_backend
from command_line import run

from latentloop import Bundle, InputError, MissingError, Sampler
from latentloop.backends import registry
from latentloop.backends.registry import BACKENDS, Registration, usable


@pytest.fixture
def bundle(small_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    """With the toy backend registered."""
    monkeypatch.setitem(BACKENDS, "toy", Registration("toy_backend"))
    return Bundle.open(small_bundle)


def test_it_samples(bundle: Bundle) -> None:
    sampler = Sampler(bundle, "toy")
    assert (sampler.device, sampler.device_reason, sampler.default_batch) == ("toy", toy_backend.ToyBackend.reason, 3)
    samples = sampler.sample(5, seeds=1)
    assert samples.images.shape == (5, 32, 48, 3)
    assert (samples.images == toy_backend.GREY).all()
    assert not any(codes.any() for codes in samples.codes.values())


def test_everything_else_works_on_it(bundle: Bundle) -> None:
    sampler = Sampler(bundle, "toy")
    samples = sampler.sample(2)
    assert (sampler.decode(sampler.encode(samples.images)) == toy_backend.GREY).all()
    found = sampler.log_likelihood(samples.codes, samples.labels)
    for level in bundle.manifest.levels:
        np.testing.assert_allclose(found[level.name], -np.log(level.codebook_size))
    with pytest.raises(InputError, match=r"this sampler runs on toy: arrays on a GPU need one of cuda, tensorrt, "):
        sampler.encode_on_gpu(samples.images)


def test_the_command_line_knows_it(
    bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str], fails: Callable[..., str]
) -> None:
    assert run("sample", "--bundle", bundle.path, "--device", "toy", "--out", tmp_path / "a.png", "--json") == 0
    assert json.loads(capsys.readouterr().out)["device"] == "toy"
    assert "onnxruntime-tensorrt or toy" in fails(2, "sample", "--device", "other", "--out", tmp_path / "b.png")
    assert run("info", "--json") == 0
    assert json.loads(capsys.readouterr().out)["devices"]["toy"] == "yes"
    assert run("sample", "--help") == 0
    assert "toy" in capsys.readouterr().out


def test_its_reason_is_reported(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toy_backend, "missing", "no toys here: pip install toys")
    with pytest.raises(MissingError, match=r"^no toys here: pip install toys$"):
        Sampler(bundle, "toy")
    assert usable(bundle)["toy"] == "no: no toys here: pip install toys"
    assert usable(None)["toy"] == "no: no toys here: pip install toys"


def test_it_has_no_numbers_and_is_not_chosen_by_itself(bundle: Bundle) -> None:
    with pytest.raises(InputError, match="device is 'toy:1', expected"):
        Sampler(bundle, "toy:1")
    assert Sampler(bundle).device == "cpu"
    with pytest.raises(InputError, match="precision is 'int4', expected one that the bundle has: float32, int8"):
        Sampler(bundle, "toy", precision="int4")


def test_auto_tries_it_by_its_rank(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKENDS, "toy", Registration("toy_backend", auto_rank=0))
    assert Sampler(bundle).device == "toy"
    monkeypatch.setattr(toy_backend, "missing", "no toys here")
    sampler = Sampler(bundle)
    assert sampler.device == "cpu"
    assert sampler.device_reason.startswith("toy: no toys here; ")


def test_every_registered_backend_has_its_module() -> None:
    for name in registry.names(on_gpu=False):
        registry._module(name).check(name)
