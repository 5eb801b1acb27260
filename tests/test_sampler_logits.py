"""Logits of codes: those of the models, and the ones that the log-likelihood is made of, on every kind of device."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gpu_machines import Machines
from numpy.typing import NDArray

from latentloop import Bundle, InputError, Sampler
from latentloop.sampling.likelihood import log_softmax

SIZES = {"top": (4, 6, 11), "bottom": (8, 12, 11)}


def random_codes(n: int) -> dict[str, NDArray[np.int64]]:
    rng = np.random.default_rng(n)
    return {name: rng.integers(0, count, (n, height, width)) for name, (height, width, count) in SIZES.items()}


def check_logits(sampler: Sampler, n: int) -> None:
    codes, labels = random_codes(n), np.arange(n) % 3
    logits, likelihood = sampler.logits(codes, labels), sampler.log_likelihood(codes, labels)
    assert list(logits) == list(likelihood) == list(SIZES)
    for name, size in SIZES.items():
        assert logits[name].shape == (n, *size)
        assert logits[name].dtype == np.float32
        log_probabilities = log_softmax(logits[name].astype(np.float64))
        picked = np.take_along_axis(log_probabilities, codes[name][..., None], 3)[..., 0]
        np.testing.assert_array_equal(picked, likelihood[name], name)
        assert np.unique(logits[name]).size > logits[name].size / 2  # not one row or image again and again


@pytest.mark.parametrize("n", [1, 17])
def test_the_log_softmax_of_logits_is_the_log_likelihood(small_bundle: Path, n: int) -> None:
    check_logits(Sampler(Bundle.open(small_bundle), threads=1), n)


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_every_precision(small_bundle: Path, precision: str) -> None:
    check_logits(Sampler(Bundle.open(small_bundle), "cpu", 1, precision), 2)


def test_logits_on_a_gpu(small_engines: Path, machines: Machines, device: str) -> None:
    machines(seed=1)
    bundle = Bundle.open(small_engines)
    sampler = Sampler(bundle, device)
    check_logits(sampler, 5)
    expected = Sampler(bundle, "cpu", threads=1).logits(random_codes(2), 1)
    for name, logits in sampler.logits(random_codes(2), 1).items():
        np.testing.assert_allclose(logits, expected[name], rtol=1e-4, atol=1e-4, err_msg=name)


def test_the_logits_of_a_code_depend_on_the_codes_before_it(small_bundle: Path) -> None:
    sampler, codes = Sampler(Bundle.open(small_bundle), threads=1), random_codes(1)
    before = sampler.logits(codes, 0)
    codes["top"][0, 2, 3] = (codes["top"][0, 2, 3] + 1) % 11
    differs = (sampler.logits(codes, 0)["top"] != before["top"]).any(-1)[0]
    assert not differs[:2].any()
    assert not differs[2, :4].any()
    assert differs[2, 4]


def test_errors_are_those_of_the_log_likelihood(small_bundle: Path, grey_bundle: Path) -> None:
    sampler = Sampler(Bundle.open(small_bundle), threads=1)
    codes = random_codes(2)
    for call in (sampler.logits, sampler.log_likelihood):
        with pytest.raises(InputError, match="labels are missing"):
            call(codes)
        with pytest.raises(InputError, match="codes of the level 'bottom' are missing"):
            call({"top": codes["top"]}, 0)
        with pytest.raises(InputError, match="codes of top range from -1 to"):
            call({**codes, "top": codes["top"] * 0 - 1}, 0)
    codec = Sampler(Bundle.open(grey_bundle), threads=1)
    with pytest.raises(InputError, match="no prior for the level 'top'"):
        codec.logits({"top": np.zeros((1, 2, 2), int), "bottom": np.zeros((1, 4, 4), int)})


def test_no_codes_have_empty_logits(small_bundle: Path) -> None:
    logits = Sampler(Bundle.open(small_bundle), threads=1).logits(random_codes(0), 0)
    assert {name: values.shape for name, values in logits.items()} == {n: (0, *size) for n, size in SIZES.items()}
