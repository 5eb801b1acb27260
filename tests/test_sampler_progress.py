"""The codes so far in a progress report: drawn or given ones, else -1, on the CPU and on the simulated GPU."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gpu_machines import Machines
from numpy.typing import NDArray

from latentloop import Bundle, InputError, Progress, Sampler, Samples, sample_best
from latentloop.images import Images

N, BATCH = 5, 2  # so that the last batch is padded
GRIDS = {"top": (4, 6), "bottom": (8, 12)}
Codes = dict[str, NDArray[np.int64]]


@pytest.fixture(scope="module")
def cpu(small_engines: Path) -> Sampler:
    return Sampler(Bundle.open(small_engines), "cpu", threads=1)


@pytest.fixture(params=["cpu", "gpu"])
def sampler(request: pytest.FixtureRequest, cpu: Sampler, small_engines: Path, machines: Machines) -> Sampler:
    if request.param == "cpu":
        return cpu
    machines(seed=3)
    return Sampler(Bundle.open(small_engines), "tensorrt")


def draw(sampler: Sampler, **changes: Any) -> Samples:
    return sampler.sample(**{"n": N, "seeds": 1, "labels": 1, "batch_size": BATCH, **changes})


def expected_codes(finished: Samples, given: Codes, progress: Progress) -> Codes:
    """Returns the codes so far of a report, from those of the finished samples."""
    part = slice(progress.images_done, min(progress.images_done + BATCH, N))
    codes, names = {}, list(GRIDS)
    for name in names:
        whole = finished.codes[name][part].copy()
        rows = progress.rows_done if name == progress.level else GRIDS[name][0]
        if names.index(name) > names.index(progress.level):
            rows = 0
        whole[:, rows:] = given[name][part, rows:] if name in given else -1
        codes[name] = whole
    return codes


def prefix(codes: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    flat = codes.reshape(N, -1).copy()
    flat[:, length:] = -1
    return flat.reshape(codes.shape)


@pytest.mark.parametrize("case", ["nothing given", "a prefix of both levels", "the top level", "the bottom level"])
def test_every_report_has_the_codes_so_far(sampler: Sampler, cpu: Sampler, case: str) -> None:
    plain = draw(cpu)
    top, bottom = plain.codes["top"], plain.codes["bottom"]
    given: Codes = {
        "nothing given": {},
        "a prefix of both levels": {"top": prefix(top, 8), "bottom": prefix(bottom, 50)},
        "the top level": {"top": top},
        "the bottom level": {"bottom": bottom},
    }[case]
    reports: list[Progress] = []

    def callback(progress: Progress) -> None:
        assert set(progress.codes) == set(GRIDS)
        reports.append(progress)  # whose codes stay as they are

    finished = draw(sampler, given=given, callback=callback)
    drawn = [name for name in GRIDS if name not in given or (given[name] < 0).any()]
    assert len(reports) == 3 * sum(GRIDS[name][0] for name in drawn)
    for progress in reports:
        assert progress.rows_total == GRIDS[progress.level][0]
        for name, codes in expected_codes(finished, given, progress).items():
            assert progress.codes[name].dtype == np.int64
            np.testing.assert_array_equal(progress.codes[name], codes, f"{progress}, {name}")
    np.testing.assert_array_equal(reports[-1].codes["bottom"], finished.codes["bottom"][-1:])


def test_reading_and_changing_codes_does_not_change_the_samples(sampler: Sampler, cpu: Sampler) -> None:
    def callback(progress: Progress) -> None:
        assert progress.codes is progress.codes
        if progress.rows_done % 2:
            for codes in progress.codes.values():
                codes[:] = 0

    read = draw(sampler, callback=callback)
    for name, codes in draw(cpu).codes.items():
        np.testing.assert_array_equal(read.codes[name], codes)


def test_codes_are_not_copied_unless_they_are_read(sampler: Sampler, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("latentloop.sampling.runs._with_given", fail)
    monkeypatch.setattr("latentloop.backends.gpu.backend.GpuBackend._drawn", fail)
    monkeypatch.setattr("latentloop.sampling.runs.Runs._preview", fail)
    assert len(draw(sampler, callback=lambda _: None).images) == N


def test_codes_first_read_after_the_callback_are_an_error(sampler: Sampler) -> None:
    reports: list[Progress] = []

    def callback(progress: Progress) -> bool:
        reports.append(progress)
        return len(reports) < 6

    assert draw(sampler, callback=callback).cancelled
    for progress in reports:
        with pytest.raises(InputError, match="first read after its callback: read them in the callback"):
            _ = progress.codes


@pytest.mark.parametrize("kept", [0, 50])
def test_a_preview_is_the_decoded_codes_so_far(sampler: Sampler, cpu: Sampler, kept: int) -> None:
    given = {"top": draw(cpu).codes["top"], "bottom": prefix(draw(cpu).codes["bottom"], kept)} if kept else {}
    previews: list[tuple[Progress, Images]] = []

    def callback(progress: Progress) -> None:
        for codes in progress.codes.values():
            codes[codes > 5] = 5  # the arrays are the caller's
        preview = progress.preview()
        assert preview is progress.preview()
        previews.append((progress, preview))

    samples = draw(sampler, given=given, callback=callback)
    assert len(previews) == 3 * (GRIDS["bottom"][0] + (0 if kept else GRIDS["top"][0]))
    for progress, preview in previews:
        decoded = cpu.decode(expected_codes(samples, given, progress))
        assert preview.dtype == np.uint8
        np.testing.assert_array_equal(preview, decoded, str(progress))
        if (progress.level, progress.rows_done) == ("bottom", GRIDS["bottom"][0]):
            part = slice(progress.images_done, progress.images_done + BATCH)
            np.testing.assert_array_equal(preview, samples.images[part])


def test_previews_change_neither_samples_nor_the_images_before_them(sampler: Sampler) -> None:
    """Batches are decoded while the next is drawn, by the decoder that previews use."""
    plain, seen = draw(sampler), draw(sampler, callback=lambda progress: progress.preview().any() or None)
    np.testing.assert_array_equal(seen.images, plain.images)
    for name, codes in plain.codes.items():
        np.testing.assert_array_equal(seen.codes[name], codes)


def test_a_batch_can_be_previewed_while_its_stream_is_read(sampler: Sampler, cpu: Sampler) -> None:
    finished: list[Images] = []

    def callback(progress: Progress) -> None:
        if (progress.level, progress.rows_done) == ("bottom", GRIDS["bottom"][0]):
            finished.append(progress.preview())

    batches = [batch.images for batch in sampler.stream(N, seeds=1, labels=1, batch_size=BATCH, callback=callback)]
    assert len(batches) == len(finished) == 3
    for batch, preview in zip(batches, finished, strict=True):
        np.testing.assert_array_equal(batch, preview)


def test_a_preview_first_called_after_the_callback_is_an_error(sampler: Sampler) -> None:
    reports: list[Progress] = []
    draw(sampler, callback=reports.append)
    for progress in reports:
        with pytest.raises(InputError, match="codes or preview of a Progress were first read after its callback"):
            progress.preview()


def test_the_best_of_candidates_can_be_previewed(small_bundle: Path) -> None:
    sampler, previews = Sampler(Bundle.open(small_bundle), threads=1), []

    def callback(progress: Progress) -> None:
        previews.append(progress.preview())

    best = sample_best(sampler, 2, keep=0.5, labels=1, seeds=1, batch_size=4, callback=callback)
    plain = sample_best(sampler, 2, keep=0.5, labels=1, seeds=1, batch_size=4)
    np.testing.assert_array_equal(best.samples.images, plain.samples.images)
    for image in best.samples.images:
        assert any((image == candidate).all() for candidate in previews[-1])


def test_another_thread_may_draw_meanwhile(cpu: Sampler) -> None:
    other = Sampler(cpu.bundle, "cpu", threads=1)
    results: list[Samples] = []

    def callback(progress: Progress) -> None:
        if (progress.level, progress.rows_done) == ("bottom", 3):
            thread = threading.Thread(target=lambda: results.append(draw(other)))
            thread.start()
            thread.join()
            assert (progress.codes["bottom"][:, 3:] == -1).all()

    finished = draw(cpu, callback=callback)
    for name, codes in finished.codes.items():
        np.testing.assert_array_equal(results[0].codes[name], codes)
