"""``Sampler.stream``: the samples of ``sample``, a batch at a time, in memory that does not grow with their number."""

from __future__ import annotations

import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gpu_machines import Machines
from toy_backend import ToyBackend

from latentloop import Bundle, InputError, Progress, Sampler, Samples
from latentloop.backends.interface import Decoding
from latentloop.sampling.sample_request import MAX_STREAMED
from latentloop.sampling.sampler import runs_of, sampler_on

N, BATCH = 7, 2  # so that the last batch is padded


@pytest.fixture(scope="module")
def cpu(small_engines: Path) -> Sampler:
    return Sampler(Bundle.open(small_engines), "cpu", threads=1)


@pytest.fixture(params=["cpu", "gpu"])
def sampler(request: pytest.FixtureRequest, cpu: Sampler, small_engines: Path, machines: Machines) -> Sampler:
    if request.param == "cpu":
        return cpu
    machines(seed=3)
    return Sampler(Bundle.open(small_engines), "tensorrt")


def joined(batches: list[Samples]) -> Samples:
    labels = [batch.labels for batch in batches if batch.labels is not None]
    return Samples(
        np.concatenate([batch.images for batch in batches]),
        {name: np.concatenate([batch.codes[name] for batch in batches]) for name in batches[0].codes},
        np.concatenate([batch.seeds for batch in batches]),
        np.concatenate(labels) if labels else None,
    )


def assert_same(found: Samples, expected: Samples) -> None:
    np.testing.assert_array_equal(found.images, expected.images)
    np.testing.assert_array_equal(found.seeds, expected.seeds)
    np.testing.assert_array_equal(found.labels, expected.labels)
    assert list(found.codes) == list(expected.codes)
    for name, codes in expected.codes.items():
        assert found.codes[name].dtype == np.int64
        np.testing.assert_array_equal(found.codes[name], codes)


@pytest.mark.parametrize("settings", [{}, {"temperature": np.linspace(0.5, 1.5, N), "labels": [2, 1, 0, 2, 1, 0, 2]}])
def test_a_stream_has_the_samples_of_one_call(sampler: Sampler, cpu: Sampler, settings: dict[str, Any]) -> None:
    batches = list(sampler.stream(N, seeds=5, batch_size=BATCH, **settings))
    assert [len(batch.images) for batch in batches] == [2, 2, 2, 1]
    assert not any(batch.cancelled for batch in batches)
    expected = cpu.sample(N, seeds=5, batch_size=BATCH, **settings)
    # Drawn one by one, by a loop that shares nothing with the stream except the backend.
    alone = [
        cpu.sample(1, seeds=5 + i, batch_size=BATCH, labels=int(expected.labels[i]), **_of(settings, i))  # type: ignore[index]
        for i in range(N)
    ]
    assert_same(joined(batches), joined(alone))
    assert_same(joined(batches), expected)


def _of(settings: dict[str, Any], index: int) -> dict[str, Any]:
    return {"temperature": settings["temperature"][index]} if "temperature" in settings else {}


def test_codes_given_as_a_view_are_those_of_each_sample(cpu: Sampler) -> None:
    top = cpu.sample(1, seeds=1, labels=1).codes["top"]
    view = np.broadcast_to(top, (N, *top.shape[1:]))
    streamed = joined(list(cpu.stream(N, seeds=5, labels=1, given={"top": view}, batch_size=BATCH)))
    repeated = cpu.sample(N, seeds=5, labels=1, given={"top": top.repeat(N, 0)}, batch_size=BATCH)
    assert_same(streamed, repeated)
    hole = top.copy()
    hole[0, 0, 0] = -1
    with pytest.raises(InputError, match="sample 0: a kept code follows a -1"):
        cpu.stream(N, labels=1, given={"top": np.broadcast_to(hole, view.shape)})
    with pytest.raises(InputError, match="range from"):
        cpu.stream(N, labels=1, given={"top": np.broadcast_to(np.int64(11), view.shape)})
    with pytest.raises(InputError, match="codes are given without labels"):
        cpu.stream(N, given={"top": view})


def test_arguments_are_checked_at_the_call(cpu: Sampler) -> None:
    calls: list[Callable[[], object]] = [
        lambda: cpu.stream(0),
        lambda: cpu.stream(MAX_STREAMED + 1),
        lambda: cpu.stream(1, batch_size=0),
        lambda: cpu.stream(1, callback=3),  # type: ignore[arg-type]
        lambda: cpu.stream(2, seeds=[1]),
        lambda: cpu.stream(3, seeds=2**64 - 2),
    ]
    for call in calls:
        with pytest.raises(InputError):
            call()
    assert [batch.seeds.tolist() for batch in cpu.stream(2, seeds=2**64 - 2)] == [[2**64 - 2, 2**64 - 1]]


@pytest.mark.parametrize("finished", [0, 1, 2])
def test_a_cancelled_stream_yields_what_is_finished(sampler: Sampler, finished: int) -> None:
    def callback(progress: Progress) -> bool:
        return progress.images_done < finished * BATCH

    batches = list(sampler.stream(N, seeds=5, batch_size=BATCH, callback=callback))
    assert len(batches) == finished
    assert [batch.cancelled for batch in batches] == [False, True][2 - finished :]
    samples = sampler.sample(N, seeds=5, batch_size=BATCH, callback=callback)
    assert (samples.cancelled, len(samples.images)) == (True, finished * BATCH)


def test_a_closed_stream_leaves_the_sampler_as_it_was(sampler: Sampler, cpu: Sampler) -> None:
    expected = cpu.sample(N, seeds=5, batch_size=BATCH)
    for taken in range(1, 5):  # more often than a decoder has buffers
        stream = sampler.stream(N, seeds=5, batch_size=BATCH)
        for _ in range(taken):
            next(stream)
        stream.close()
        assert next(stream, None) is None
    for _ in sampler.stream(N, seeds=5, batch_size=BATCH):
        break
    assert_same(sampler.sample(N, seeds=5, batch_size=BATCH), expected)


def test_an_error_half_way_leaves_the_sampler_as_it_was(sampler: Sampler, cpu: Sampler) -> None:
    def callback(progress: Progress) -> None:
        if progress.images_done == 2 * BATCH:
            raise OSError("no space")

    for _ in range(4):
        stream = sampler.stream(N, seeds=5, batch_size=BATCH, callback=callback)
        assert next(stream).seeds.tolist() == [5, 6]
        with pytest.raises(OSError, match="no space"):
            next(stream)
        assert next(stream, None) is None
    assert_same(sampler.sample(N, seeds=5, batch_size=BATCH), cpu.sample(N, seeds=5, batch_size=BATCH))


def test_between_two_batches_the_sampler_can_be_used(sampler: Sampler, cpu: Sampler) -> None:
    batches = []
    for batch in sampler.stream(N, seeds=5, batch_size=BATCH):
        other = sampler.sample(3, seeds=40, batch_size=3)
        assert np.array_equal(sampler.decode(batch.codes).shape, batch.images.shape)
        batches.append(batch)
    assert_same(joined(batches), cpu.sample(N, seeds=5, batch_size=BATCH))
    assert_same(other, cpu.sample(3, seeds=40, batch_size=3))


def test_a_batch_cannot_be_drawn_while_another_thread_draws(cpu: Sampler) -> None:
    stream = cpu.stream(N, seeds=5, batch_size=BATCH)
    next(stream)
    errors: list[str] = []

    def callback(progress: Progress) -> bool:
        def other() -> None:
            try:
                next(stream)
            except InputError as error:
                errors.append(str(error))

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        return False

    cpu.sample(1, callback=callback)
    assert len(errors) == 1
    assert "already running" in errors[0]


FORKED = """
import os, signal, sys
from latentloop import Bundle, InputError, Sampler
stream = Sampler(Bundle.open(sys.argv[1]), "cpu", 2).stream(6, seeds=1, batch_size=2)
next(stream)
child = os.fork()
if child == 0:
    signal.alarm(40)
    try:
        next(stream)
    except InputError as error:
        os._exit(0 if "forked" in str(error) else 1)
    os._exit(2)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), [batch.seeds.tolist() for batch in stream])
"""


def test_a_stream_ends_in_a_forked_process_and_goes_on_in_the_other(small_bundle: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", FORKED, str(small_bundle)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "0 [[3, 4], [5, 6]]\n"


def test_the_decoder_runs_while_the_next_batch_is_drawn(small_bundle: Path) -> None:
    toy = sampler_on(bundle := Bundle.open(small_bundle), ToyBackend(bundle, "toy"))
    backend: Any = runs_of(toy).backend
    events: list[str] = []
    draw, decode = backend.draw, backend.decode

    def recorded_decode(codes: Any) -> Any:
        events.append("decode")
        decoding = decode(codes)

        def wait() -> Any:
            events.append("wait")
            return decoding.wait()

        return Decoding(wait)

    def recorded_draw(*arguments: Any) -> Any:
        events.append("draw")
        return draw(*arguments)

    backend.draw = recorded_draw
    backend.decode = recorded_decode
    assert len(list(toy.stream(6, batch_size=2))) == 3
    assert events == ["draw", "decode", "draw", "decode", "wait", "draw", "decode", "wait", "wait"]


def test_memory_does_not_grow_with_the_number_of_samples(small_bundle: Path) -> None:
    toy = sampler_on(bundle := Bundle.open(small_bundle), ToyBackend(bundle, "toy"))
    top = np.zeros((1, 4, 6), np.int64)

    def peak(n: int) -> int:
        tracemalloc.start()
        given = {"top": np.broadcast_to(top, (n, 4, 6))}
        for _ in toy.stream(n, seeds=1, labels=1, given=given, batch_size=3):
            pass
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return highest

    peak(30)
    few, many = peak(300), peak(3000)
    image, codes = 32 * 48 * 3, 8 * (24 + 96)
    assert many - few < 2700 * 16 + 20_000  # seeds and labels
    assert few < 3 * 3 * (5 * image + codes) + 300 * 16 + 100_000  # images, and as float32 before rounding
