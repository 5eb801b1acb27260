"""Validation of a sampler's arguments: an InputError states the value and what was expected."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latentloop.bundles.bundle import Bundle
from latentloop.errors import InputError
from latentloop.sampling.sampler import Sampler

SETTINGS = ("temperature", "top_k", "top_p", "min_p")
TOP, BOTTOM = (4, 6), (8, 12)


@pytest.fixture(scope="module")
def sampler(small_bundle: Path) -> Sampler:
    return Sampler(Bundle.open(small_bundle), threads=1)


def no_codes(n: int = 2, **levels: Any) -> dict[str, Any]:
    """Returns given codes that are all to be drawn, except those of the named levels."""
    return {"top": np.full((n, *TOP), -1), "bottom": np.full((n, *BOTTOM), -1), **levels}


def given_top(flat: dict[int, int], n: int = 2) -> dict[str, Any]:
    """Returns top codes for the last sample by position in raster order, -1 elsewhere."""
    codes = np.full((n, TOP[0] * TOP[1]), -1)
    for position, code in flat.items():
        codes[-1, position] = code
    return {"top": codes.reshape(n, *TOP)}


def all_codes(n: int = 1, **levels: Any) -> dict[str, Any]:
    """Returns codes that are all 0, except those of the named levels."""
    return {"top": np.zeros((n, *TOP), int), "bottom": np.zeros((n, *BOTTOM), int), **levels}


INVALID: list[tuple[dict[str, Any], list[str]]] = [
    ({"n": 0}, ["n is 0", "positive integer"]),
    ({"n": -1}, ["n is -1"]),
    ({"n": True}, ["n is True"]),
    ({"n": 2.0}, ["n is 2.0"]),
    ({"n": "2"}, ["n is '2'"]),
    ({"n": None}, ["n is None"]),
    ({"n": 10**19}, ["n is 1000", "at most"]),
    ({"n": 10**5000}, ["n is an integer of 16610 bits", "at most"]),
    ({"n": -(10**5000)}, ["n is an integer of 16610 bits"]),
    ({"batch_size": 10**5000}, ["batch_size is an integer of 16610 bits"]),
    *(
        ({name: 10**5000}, [name[:5], "an integer of 16610 bits"])
        for name in ("seeds", "labels", "callback", *SETTINGS)
    ),
    *(({name: [1, 10**5000]}, [name[:5]]) for name in ("seeds", "labels", *SETTINGS)),
    *(({name: {"top": 10**5000}}, [f"{name} for top is an integer of"]) for name in SETTINGS),
    ({"temperature": {10**5000: 1.0}}, ["no level an integer of", "top, bottom"]),
    ({"given": {10**5000: 1}}, ["no level an integer of", "top, bottom"]),
    ({"seeds": 10**400}, ["seeds holds 1000", "..."]),
    ({"batch_size": 0}, ["batch_size is 0", "positive integer"]),
    ({"batch_size": True}, ["batch_size is True"]),
    ({"batch_size": 1.5}, ["batch_size is 1.5"]),
    ({"callback": 5}, ["callback is 5", "function"]),
    ({"labels": 3}, ["label 3", "3 classes", "coat, bag, boot", "0 to 2"]),
    ({"labels": -1}, ["label -1"]),
    ({"labels": "shoe"}, ["label 'shoe'", "coat, bag, boot"]),
    ({"labels": "3"}, ["label 3"]),
    ({"labels": "²"}, ["label '²'"]),
    ({"labels": "9" * 5000}, ["coat, bag, boot"]),
    ({"labels": ""}, ["label ''"]),
    ({"labels": True}, ["label True"]),
    ({"labels": 1.0}, ["labels is 1.0", "one per sample"]),
    ({"labels": [0.0, 1.0]}, ["label 0.0"]),
    ({"labels": np.array([0.0, 1.0])}, ["label", "0.0"]),
    ({"labels": [0, None]}, ["label None"]),
    ({"labels": [0, True]}, ["label True"]),
    ({"labels": np.array([True, False])}, ["label", "True"]),
    ({"labels": [0]}, ["1 label for 2 samples"]),
    ({"labels": [0, 1, 2]}, ["3 labels for 2 samples"]),
    ({"labels": []}, ["0 labels for 2 samples"]),
    ({"labels": np.array(3)}, ["label 3"]),
    ({"labels": b"\0\1"}, ["labels is b'"]),
    ({"labels": {"coat": 1}}, ["labels is {'coat': 1}"]),
    ({"labels": [[0], [1]]}, ["label [0]"]),
    ({"seeds": -1}, ["-1", "0 to 2**64 - 1"]),
    ({"seeds": 2**64}, [str(2**64), "0 to 2**64 - 1"]),
    ({"seeds": 2**64 - 1}, [str(2**64), "0 to 2**64 - 1"]),  # the second sample's is one more
    ({"seeds": [0, 2**64]}, [str(2**64)]),
    ({"seeds": [0, -5]}, ["-5"]),
    ({"seeds": 1.0}, ["seeds is 1.0", "integer"]),
    ({"seeds": True}, ["seeds is True"]),
    ({"seeds": "7"}, ["seeds is '7'"]),
    ({"seeds": b"77"}, ["seeds is b'77'"]),
    ({"seeds": [0, 1.0]}, ["1.0"]),
    ({"seeds": [0, True]}, ["True"]),
    ({"seeds": np.array([0.0, 1.0])}, ["0.0"]),
    ({"seeds": [1]}, ["1 seed for 2 samples"]),
    ({"seeds": []}, ["0 seeds for 2 samples"]),
    ({"seeds": np.array(3.0)}, ["seeds is array(3.)"]),
    ({"seeds": [[1], [2, 3]]}, ["[1]"]),
    ({"temperature": 0}, ["temperature for top is 0", "over 0"]),
    ({"temperature": -1.0}, ["temperature for top is -1.0"]),
    ({"temperature": np.nan}, ["temperature for top is nan"]),
    ({"temperature": np.inf}, ["temperature for top is inf", "at most"]),
    ({"temperature": np.float16(np.inf)}, ["temperature for top is", "inf", "at most"]),
    ({"temperature": np.array([1, np.inf], np.float16)}, ["inf", "at most"]),
    ({"temperature": np.longdouble("1e400")}, ["temperature for top is", "1e+400", "at most"]),
    ({"top_p": np.float16(1.001)}, ["top_p for top is", "at most 1"]),
    ({"temperature": [1.0, 0.0]}, ["temperature for top", "0.0", "over 0"]),
    ({"temperature": [1.0]}, ["temperature for top has shape (1,)", "2 numbers"]),
    ({"temperature": [[1.0], [1.0]]}, ["shape (2, 1)"]),
    ({"temperature": "hot"}, ["temperature for top is 'hot'"]),
    ({"temperature": "1.0"}, ["temperature for top is '1.0'"]),
    ({"temperature": True}, ["temperature for top is True"]),
    ({"temperature": 1j}, ["temperature for top is 1j"]),
    ({"temperature": [1.0, None]}, ["temperature for top", "None"]),
    ({"temperature": [1.0, [1.0, 1.0]]}, ["temperature for top"]),
    ({"temperature": {"middle": 1.0}}, ["temperature", "'middle'", "top, bottom"]),
    ({"temperature": {1: 1.0, "x": 1.0}}, ["temperature", "level 1", "top, bottom"]),
    ({"temperature": {"bottom": 0.0}}, ["temperature for bottom is 0.0"]),
    ({"temperature": {"bottom": {"top": 1.0}}}, ["temperature for bottom"]),
    ({"top_k": 0}, ["top_k for top is 0", "an integer from 1"]),
    ({"top_k": 2.5}, ["top_k for top is 2.5", "integer"]),
    ({"top_k": [1, 2.5]}, ["top_k for top is 2.5", "integer"]),
    ({"top_k": -3}, ["top_k for top is -3"]),
    ({"top_k": np.nan}, ["top_k for top is nan"]),
    ({"top_k": True}, ["top_k for top is True"]),
    ({"top_k": 10**400}, ["top_k for top is 1000"]),
    ({"top_p": 0.0}, ["top_p for top is 0.0", "over 0, at most 1"]),
    ({"top_p": 1.01}, ["top_p for top is 1.01", "at most 1"]),
    ({"top_p": {"bottom": [0.5, np.nan]}}, ["top_p for bottom", "nan"]),
    ({"min_p": -0.1}, ["min_p for top is -0.1", "from 0 to 1"]),
    ({"min_p": 1.01}, ["min_p for top is 1.01", "from 0 to 1"]),
    ({"min_p": {"bottom": [0.5, np.nan]}}, ["min_p for bottom", "nan"]),
    ({"given": []}, ["list", "mapping"]),
    ({"given": np.zeros((2, *TOP), int)}, ["ndarray", "mapping"]),
    ({"given": {"middle": np.zeros((2, *TOP), int)}}, ["'middle'", "top, bottom"]),
    ({"given": {3: 4, "a": 5}}, ["level 3", "top, bottom"]),
    ({"given": {"top": np.zeros((2, 6, 4), int)}}, ["[2, 6, 4]", "[2, 4, 6]"]),
    ({"given": {"top": np.zeros((1, *TOP), int)}}, ["[1, 4, 6]", "[2, 4, 6]"]),
    ({"given": {"top": np.zeros(TOP, int)}}, ["[4, 6]", "[2, 4, 6]"]),
    ({"given": {"top": np.zeros((2, *TOP))}}, ["float64", "integers"]),
    ({"given": {"top": np.zeros((2, *TOP), bool)}}, ["bool", "integers"]),
    ({"given": {"top": None}}, ["object", "integers"]),
    ({"given": {"top": [[[0]], [[0, 1]]]}}, ["codes of top"]),
    ({"given": given_top({0: 11})}, ["11", "-1 to 10"]),
    ({"given": given_top({0: -2})}, ["-2", "-1 to 10"]),
    ({"given": given_top({1: 3})}, ["codes of top", "sample 1", "raster order"]),
    ({"given": given_top({0: 3, 1: 3, 6: 3})}, ["sample 1", "raster order"]),
]


@pytest.mark.parametrize(
    ("arguments", "shown"), INVALID, ids=[f"{next(iter(a))}-{i}" for i, (a, _) in enumerate(INVALID)]
)
def test_invalid_arguments_of_sample(sampler: Sampler, arguments: dict[str, Any], shown: list[str]) -> None:
    assert_input_error(lambda: sampler.sample(**{"n": 2, "seeds": 1, **arguments}), shown)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.longdouble, np.uint8, np.int64])
def test_a_setting_can_be_a_number_of_any_type(sampler: Sampler, dtype: Any) -> None:
    expected = sampler.sample(2, seeds=1, temperature=2.0, top_k=3, top_p=1.0)
    samples = sampler.sample(2, seeds=1, temperature=dtype(2), top_k=np.array([3, 3], dtype), top_p=dtype(1))
    np.testing.assert_array_equal(samples.images, expected.images)


def assert_input_error(action: Callable[[], object], shown: list[str]) -> None:
    """Asserts that the action raises an InputError of one short line that contains all texts in ``shown``."""
    with pytest.raises(InputError) as caught:
        action()
    text = str(caught.value)
    assert len(text) < 300
    assert "\n" not in text
    assert [part for part in shown if part not in text] == [], text


@pytest.mark.parametrize(
    ("codes", "shown"),
    [
        (5, ["int", "mapping"]),
        ({}, ["level 'top'", "missing"]),
        ({"top": np.zeros((1, *TOP), int)}, ["level 'bottom'", "missing"]),
        (all_codes(middle=np.zeros((1, 1, 1), int)), ["'middle'", "top, bottom"]),
        (all_codes(bottom=np.zeros((1, *TOP), int)), ["bottom", "[1, 4, 6]", "[1, 8, 12]"]),
        (all_codes(bottom=np.zeros((2, *BOTTOM), int)), ["bottom", "[2, 8, 12]", "[1, 8, 12]"]),
        (all_codes(top=np.full((1, *TOP), -2)), ["top", "-2", " to 10"]),
        (all_codes(top=np.full((1, *TOP), 11, np.uint64)), ["top", "11", " to 10"]),
        (all_codes(top=np.full((1, *TOP), 2**63, np.uint64)), ["top", str(2**63), " to 10"]),
        (all_codes(top=np.zeros((1, *TOP), np.float32)), ["top", "float32", "integers"]),
        (all_codes(top="codes"), ["top", "integers"]),
    ],
)
def test_invalid_codes(sampler: Sampler, codes: Any, shown: list[str]) -> None:
    assert_input_error(lambda: sampler.decode(codes), shown)
    assert_input_error(lambda: sampler.log_likelihood(codes), shown)


def test_a_code_that_is_not_drawn_has_no_likelihood(sampler: Sampler) -> None:
    codes = all_codes(top=np.full((1, *TOP), -1))
    assert_input_error(lambda: sampler.log_likelihood(codes), ["top", "-1", "0 to 10"])
    assert_input_error(lambda: sampler.logits(codes), ["top", "-1", "0 to 10"])
    assert len(sampler.decode(codes)) == 1
    too_large = all_codes(top=np.full((1, *TOP), 11))
    assert_input_error(lambda: sampler.decode(too_large), ["-1 to 10"])
    assert_input_error(lambda: sampler.log_likelihood(too_large), ["0 to 10"])


@pytest.mark.parametrize("labels", [3, "shoe", True, 1.5, [0, 1], [None]])
def test_invalid_labels_of_a_log_likelihood(sampler: Sampler, labels: Any) -> None:
    assert_input_error(lambda: sampler.log_likelihood(all_codes(), labels), ["label"])


@pytest.mark.parametrize(
    ("images", "shown"),
    [
        (np.zeros((1, 32, 48, 3), np.float32), ["float32", "uint8"]),
        (np.full((1, 32, 48, 3), np.nan), ["float64", "uint8"]),
        (np.zeros((1, 32, 48, 3), np.int64), ["int64", "uint8"]),
        (np.zeros((1, 32, 32, 3), np.uint8), ["[1, 32, 32, 3]", "[N, 32, 48, 3]"]),
        (np.zeros((32, 48, 3), np.uint8), ["[32, 48, 3]", "[N, 32, 48, 3]"]),
        (np.zeros((1, 32, 48, 1), np.uint8), ["[1, 32, 48, 1]", "[N, 32, 48, 3]"]),
        (np.zeros((1, 3, 32, 48), np.uint8), ["[1, 3, 32, 48]"]),
        ([[0], [1, 2]], ["images"]),
        (None, ["object", "uint8"]),
        ("a.png", ["uint8"]),
    ],
)
def test_invalid_images(sampler: Sampler, images: Any, shown: list[str]) -> None:
    assert_input_error(lambda: sampler.encode(images), shown)


@pytest.mark.parametrize("threads", [0, -1, True, 1.5, "2", 100_000, 2**40])
def test_invalid_numbers_of_threads(small_bundle: Path, threads: Any) -> None:
    assert_input_error(
        lambda: Sampler(Bundle.open(small_bundle), threads=threads), [f"threads is {threads!r}", "expected"]
    )


def test_a_path_instead_of_a_bundle(small_bundle: Path) -> None:
    path: Any = small_bundle
    assert_input_error(lambda: Sampler(path), ["PosixPath(", "Bundle.open"])  # a long path is cut


def test_labels_for_a_bundle_without_classes(grey_bundle: Path) -> None:
    assert_input_error(lambda: Sampler(Bundle.open(grey_bundle)).sample(1, labels=0), ["no classes"])


@pytest.mark.parametrize(
    "labels",
    [[2, 0], ["boot", "coat"], ["2", "0"], ("boot", 0), np.array([2, 0], np.uint8), np.array(["boot", "coat"])],
)
def test_labels_are_indices_or_names(sampler: Sampler, labels: Any) -> None:
    samples = sampler.sample(2, labels=labels, seeds=1)
    assert samples.labels is not None
    assert samples.labels.tolist() == [2, 0]


def test_one_label_applies_to_all_samples(sampler: Sampler) -> None:
    labels: list[Any] = ["bag", 1, np.int32(1), "1", np.str_("bag"), np.array(1), np.array("bag")]
    for label in labels:
        samples = sampler.sample(2, labels=label, seeds=1)
        assert samples.labels is not None
        assert samples.labels.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("seeds", "expected"),
    [
        (2**64 - 2, [2**64 - 2, 2**64 - 1]),
        (np.uint64(2**64 - 2), [2**64 - 2, 2**64 - 1]),
        (np.array(2**64 - 2, np.uint64), [2**64 - 2, 2**64 - 1]),
        (np.array([2**64 - 1, 0], np.uint64), [2**64 - 1, 0]),
        ([2**64 - 1, np.int8(3)], [2**64 - 1, 3]),
        (range(7, 9), [7, 8]),
        (0, [0, 1]),
    ],
)
def test_seeds_have_64_bits(sampler: Sampler, seeds: Any, expected: list[int]) -> None:
    assert sampler.sample(2, seeds=seeds).seeds.tolist() == expected


def test_default_seeds_are_fresh_and_returned(sampler: Sampler) -> None:
    first, second = sampler.sample(2), sampler.sample(2)
    assert len({*first.seeds.tolist(), *second.seeds.tolist()}) == 4
    again = sampler.sample(2, seeds=first.seeds)
    np.testing.assert_array_equal(again.images, first.images)


def test_settings_without_effect_change_nothing(sampler: Sampler) -> None:
    expected = sampler.sample(2, seeds=3)
    off: list[dict[str, Any]] = [{"top_k": 11}, {"top_k": 2**63}, {"top_k": np.inf}, {"top_p": 1}, {"min_p": 0}]
    for settings in [*off, {"given": {}}, {"given": no_codes()}, {"temperature": {}}, {"top_p": {"top": None}}]:
        np.testing.assert_array_equal(sampler.sample(2, seeds=3, **settings).images, expected.images)


def test_the_lowest_temperature_draws_the_most_probable_code(sampler: Sampler) -> None:
    greedy = sampler.sample(3, seeds=3, top_k=1)
    for temperature in (1e-6, 1e-30, 1e-300):  # float32 cannot divide by the last two
        cold = sampler.sample(3, seeds=3, temperature=temperature)
        for name, codes in greedy.codes.items():
            np.testing.assert_array_equal(cold.codes[name], codes)
