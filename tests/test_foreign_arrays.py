"""Arrays of other libraries as arguments: accepted if nothing is lost, otherwise an error with a remedy."""

from __future__ import annotations

from collections import UserList, deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from latentloop import Bundle, InputError, Sampler, Samples, sample_best

MASKED = np.ma.array([1, 2], mask=[False, True])


class OnlyDlpack:
    """An array that supports DLPack and no other protocol."""

    def __init__(self, array: Any) -> None:
        self._array = array

    def __dlpack__(self, **options: Any) -> Any:
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self._array.__dlpack_device__()


class MaskedByProtocol:
    """An object whose __array__ returns a masked array, such as a variable of a netCDF file."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return MASKED


class CustomSequence:
    """A class that NumPy treats as a sequence."""

    def __init__(self, *entries: Any) -> None:
        self._entries = entries

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: int) -> Any:
        return self._entries[index]


class OnGpu:
    """An array like those of CuPy and pycuda."""

    __cuda_array_interface__: dict[str, Any] = {}  # noqa: RUF012
    device = "<CUDA Device 0>"


@pytest.fixture(scope="module")
def sampler(small_bundle: Path) -> Sampler:
    return Sampler(Bundle.open(small_bundle), "cpu", 1)


@pytest.fixture(scope="module")
def drawn(sampler: Sampler) -> Samples:
    return sampler.sample(2, seeds=3)


INTEGERS: list[Any] = [
    *(torch.tensor([1, 2], dtype=dtype) for dtype in (torch.int64, torch.int16, torch.uint8, torch.uint64)),
    [torch.tensor(1), torch.tensor(2)],
    (np.int8(1), np.uint64(2)),
    np.array([1, 2], object),
    np.ma.array([1, 2]),
    OnlyDlpack(np.array([1, 2])),
]


@pytest.mark.parametrize("values", INTEGERS, ids=range(len(INTEGERS)))
def test_arrays_as_seeds_and_labels(sampler: Sampler, values: Any) -> None:
    samples = sampler.sample(2, seeds=values, labels=values)
    assert samples.labels is not None
    assert (samples.seeds.tolist(), samples.labels.tolist()) == ([1, 2], [1, 2])


def test_0d_arrays_as_seed_and_label(sampler: Sampler) -> None:
    samples = sampler.sample(2, seeds=torch.tensor(2**62), labels=torch.tensor(1, dtype=torch.int32))
    assert samples.labels is not None
    assert (samples.seeds.tolist(), samples.labels.tolist()) == ([2**62, 2**62 + 1], [1, 1])
    best = sample_best(sampler, 1, keep=0.5, seeds=torch.tensor(5), labels=np.array("bag"))
    assert best.samples.seeds.tolist()[0] in (5, 6)


def test_arrays_of_class_names(sampler: Sampler) -> None:
    for names in (np.array(["boot", "coat"]), np.array(["boot", "coat"], object)):
        assert sampler.sample(2, labels=names).labels.tolist() == [2, 0]  # type: ignore[union-attr]


def test_tensors_as_images_codes_and_settings(sampler: Sampler, drawn: Samples) -> None:
    tensors = {name: torch.from_numpy(codes) for name, codes in drawn.codes.items()}
    np.testing.assert_array_equal(sampler.decode(tensors), drawn.images)
    for images in (torch.from_numpy(drawn.images), [torch.from_numpy(image) for image in drawn.images]):
        np.testing.assert_array_equal(sampler.encode(images)["top"], sampler.encode(drawn.images)["top"])
    labels, given = torch.tensor([0, 1]), {"top": tensors["top"]}
    samples = sampler.sample(2, seeds=3, labels=labels, temperature=torch.tensor([0.5, 0.9]), given=given)
    temperature = [np.float32(0.5), np.float32(0.9)]
    expected = sampler.sample(2, seeds=3, labels=[0, 1], temperature=temperature, given=drawn.codes | {})
    np.testing.assert_array_equal(samples.codes["top"], expected.codes["top"])


REFUSED: list[tuple[Any, str]] = [
    (MASKED, r"masked.*\.filled\("),
    ([np.ma.masked, 1], r"masked.*\.filled\("),
    ([[1], MASKED], r"masked.*\.filled\("),
    (MaskedByProtocol(), r"masked.*\.filled\("),
    ([MaskedByProtocol(), MaskedByProtocol()], r"masked.*\.filled\("),
    (deque([MASKED[0], MASKED[1]]), r"masked.*\.filled\("),
    (UserList([MASKED, MASKED]), r"masked.*\.filled\("),
    (torch.tensor([1.0, 2.0], requires_grad=True), r"gradient.*\.detach\("),
    ([torch.tensor(1.0, requires_grad=True), 2.0], r"gradient.*\.detach\("),
    (torch.tensor([1, 2], dtype=torch.bfloat16), r"bfloat16.*\.float\("),
    (torch.zeros(2, dtype=torch.int64, device="meta"), r"on meta, expected host memory.*\.cpu\("),
    (OnGpu(), r"on <CUDA Device 0>, expected host memory.*\.cpu\("),
    (torch.eye(2).to_sparse(), "cannot be read as an array: .*Sparse"),
]


@pytest.mark.parametrize(("value", "message"), REFUSED, ids=range(len(REFUSED)))
def test_values_that_numpy_would_lose_or_cannot_read_are_errors(
    sampler: Sampler, drawn: Samples, value: Any, message: str
) -> None:
    other = drawn.codes["bottom"]
    calls: dict[str, Callable[[], object]] = {
        "labels": lambda: sampler.sample(2, labels=value),
        "temperature for top": lambda: sampler.sample(2, temperature=value),
        "top_p for bottom": lambda: sampler.sample(2, top_p={"bottom": value}),
        "codes of top": lambda: sampler.sample(2, given={"top": value}),
        "images": lambda: sampler.classify(value),
        "top_k": lambda: sample_best(sampler, 2, keep=1, top_k=value),
    }
    for of_codes in (sampler.decode, sampler.log_likelihood):
        with pytest.raises(InputError, match=f"^codes of top.*{message}"):
            of_codes({"top": value, "bottom": other})
    for of_seeds in (sampler.sample, partial(sample_best, sampler, keep=1)):
        with pytest.raises(InputError, match=f"^seeds.*{message}"):
            of_seeds(2, seeds=value)
    for name, call in calls.items():
        with pytest.raises(InputError, match=f"^{name}.*{message}"):
            call()


def test_masked_arrays_inside_any_sequence_are_errors(sampler: Sampler, drawn: Samples) -> None:
    codes: dict[str, Any] = {name: np.ma.array(values) for name, values in drawn.codes.items()}
    sequences: dict[str, Any] = {name: CustomSequence(*values) for name, values in codes.items()}
    np.testing.assert_array_equal(sampler.decode(sequences), drawn.images)
    codes["top"][1, 0, 0] = np.ma.masked
    for sequence in (list, tuple, deque, CustomSequence):
        top: Any = sequence(codes["top"]) if sequence is not CustomSequence else CustomSequence(*codes["top"])
        with pytest.raises(InputError, match=r"^codes of top: some values are masked"):
            sampler.decode({**codes, "top": top})


def test_a_ctypes_array_keeps_its_type(sampler: Sampler, drawn: Samples) -> None:
    images = np.ctypeslib.as_ctypes(drawn.images.copy())
    np.testing.assert_array_equal(sampler.encode(images)["top"], sampler.encode(drawn.images)["top"])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.tensor([1.0, 2.0]), "1.0"),
        (torch.tensor(1.0), r"tensor\(1.\)"),
        (torch.tensor([True, False]), "True"),
        (np.array([1, 2], "datetime64[ns]"), r"datetime64\[ns\]"),
        (np.zeros(2, [("a", int)]), "dtype"),
        (np.array([b"1", b"2"]), "b'1'"),
        (np.array([1j, 2]), "1j"),
        (torch.tensor([[1], [2]]), r"\[1\]"),
        (torch.tensor([1]), "1 .* for 2 samples"),
        (torch.tensor([], dtype=torch.int64), "0 .* for 2 samples"),
    ],
)
def test_seeds_and_labels_must_be_integers(sampler: Sampler, value: Any, message: str) -> None:
    for name in ("seeds", "labels"):
        with pytest.raises(InputError, match=message):
            sampler.sample(2, **{"seeds": 1, name: value})
