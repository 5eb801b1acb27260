"""Faults to insert into the GPU backend, one at a time, and a program that detects them with whole sampling runs.

``python gpu_mutants.py BUNDLE SOURCES FOLDER`` prints, as JSON, the error of each fault; an empty text if the fault was
not detected. BUNDLE has engines, SOURCES is the folder of the backend's sources, and FOLDER gets changed copies of it.
"""

from __future__ import annotations

import json
import shutil
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gpu_arrays import put
from gpu_machines import CAPTURE, WAIT, WatchedDriver, check_images, check_same, simulate_machine
from mutants import Mutant

from latentloop import Bundle, Sampler
from latentloop.kernels.driver.stream import LEGACY, Stream
from latentloop.sampling.sampler import runs_of

PACKAGE = "latentloop.backends.gpu"
SIDE = Stream(0x1000)
SYNCHRONIZE = "self._driver.synchronize(self._driver.record(self._stream))"
FIRST_SHAPES = "name not in self._shapes and tensor.shape[-1] != 12"
SYNCHRONISING = '"disable_synchronize_execution_providers", "0"'

# Omitted, because they do not change the results: the kernels of another profile, a column that is drawn twice.
MUTANTS = [
    Mutant("one capture for all phases", "enqueue_row", "_replay((role, phase)", "_replay((role, 0)"),
    Mutant("one capture for both steps", "enqueue_row", "_replay((role, phase)", "_replay((0, phase)"),
    Mutant("one capture for all rows", "enqueue_row", '_replay(("row", i)', '_replay(("row", 0)'),
    Mutant(
        "the ring of the previous row", "enqueue_row", "self.buffers.view(…, i, 0)", "self.buffers.view(…, i - 1, 0)"
    ),
    Mutant(
        "captured work is not replayed at once",
        "_replay",
        "_captured[key] = captured",
        "_captured[key] = captured; return",
    ),
    Mutant("no run before a capture", "_replay", "self._enqueue(runs[:1])", "pass"),
    Mutant("a new capture for every row", "_replay", "captured = self._captured.get(…)", "captured = None"),
    Mutant("the first step is omitted", "enqueue_row", "range(0,", "range(2,"),
    Mutant("codes from the padding", "enqueue_row", '"columns", count', '"columns", first=-1, count'),
    Mutant("codes of the previous row", "enqueue_row", "self.codes.row(i)", "self.codes.row(max(i - 1, 0))"),
    Mutant("random numbers of the previous row", "enqueue_row", "_uniform.row(i)", "_uniform.row(max(i - 1, 0))"),
    Mutant("random numbers of the first row", "enqueue_row", "_uniform.row(i)", "_uniform.row(0)"),
    Mutant("no codes are forced", "enqueue_row", 'self.buffers.copy(self.buffers["forced"], …)', "pass"),
    Mutant("state of the previous image", "begin", "self.buffers.clear_rings()", "pass"),
    Mutant("upper codes of the previous batch", "begin", 'self.buffers.copy(self.buffers["upper"], …)', "pass"),
    Mutant(
        "the condition of the previous batch",
        "begin",
        'if "condition"',
        'if "condition" not in self._graphs and "condition"',
    ),
    Mutant("inputs that are not aligned", "_run", "if not view.is_aligned", "if False"),
    Mutant("inputs that are not copied", "_run", "run.copies_before.append(…)", "pass"),
    Mutant("outputs that are not aligned", "_run", "overlaps or not view.is_aligned", "overlaps"),
    Mutant("outputs that are not copied", "_run", "run.copies_after.append(…)", "pass"),
    Mutant("outputs that overlap an input", "_run", "overlaps or not view.is_aligned", "not view.is_aligned"),
    Mutant(
        "outputs copied before the run", "_enqueue", "in run.copies_before", "in run.copies_before + run.copies_after"
    ),
    Mutant("a view one column off", "view", "view_index(…, j)", "view_index(…, j + (binding.name == 'codes'))"),
    Mutant(
        "a view one row off", "view", "view_index(…, i, j)", "view_index(…, i + (binding.name == 'residual_next'), j)"
    ),
    Mutant("the history as far as the row", "view", '() if … == "entries" else', ""),
    Mutant("a history without a fill", "DeviceStateBuffers.__init__", "self._zero(…)", "pass"),
    Mutant("zeros for every fill", "clear_rings", "self.copy(…, self._fills[name])", "self._zero(…)"),
    Mutant("no fill before the first image", "__init__", "staging.copy_in(self._fills[name], …)", "pass"),
    Mutant("buffers released at once", "_buffer", "_in_use.append(…)", "_pool.setdefault(capacity, []).append(…)"),
    Mutant("buffers without a reference during the copy", "_buffer", "self._in_use.append(…)", "pass"),
    Mutant(
        "values copied from the caller's array", "copy_in", "_driver.copy_in(…, buffer,", "_driver.copy_in(…, values,"
    ),
    Mutant("codes read before the copy has finished", "GpuBackend.draw", "self._driver.synchronize(…)", "pass"),
    Mutant("rows read before the copy has finished", "_wait_for_row", "self._driver.synchronize(…)", "pass"),
    Mutant(
        "buffers of rows released at once", "rows", 'copy_out(…["logits"])', 'copy_out(…["logits"]); copies.release()'
    ),
    Mutant("given codes are not the condition", "draw", "with_upper(upper)", "with_upper(None)"),
    Mutant("no filter", "begin", "STEPS[level_inputs.is_filtered]", '"step"'),
    Mutant("the loop of another batch size", "_begin", "if loop is None or …:", "if loop is None:"),
    Mutant("the host waits after every level", "draw", "= None, loop.codes", f"= None, loop.codes; {SYNCHRONIZE}"),
    Mutant("the caller's work is not waited for", "run_on_device", "self._driver.wait(self._stream, …)", "pass"),
    Mutant("the caller does not wait", "run_on_device", "self._driver.wait(stream, …)", "pass"),
    Mutant("every part is the first", "_run_slice", "_view(…, start)", "_view(…, 0)"),
    Mutant("the last part is too long", "run_on_device", "min(start, …)", "start"),
    Mutant("arrays that are not aligned", "_run_slice", "if view.is_aligned", "if True"),
    Mutant("arrays that are not copied", "_run_slice", "self._driver.copy(substitute.pointer, …)", "pass"),
    Mutant("results that are not copied", "_run_slice", "copies_out.append(…)", "pass"),
    Mutant("images read before the copy has finished", "PendingOutputs.wait", "self._codec.wait(…)", "pass"),
    Mutant("a context deleted during its work", "_prepare", "weakref.finalize(…).atexit = False", "pass"),
    Mutant("the default stream", "enqueue", "execute_async_v3(…)", "execute_async_v3(1)"),
    Mutant("shapes of the first batch", "enqueue", "self._shapes.get(…) != tensor.shape", FIRST_SHAPES),
    Mutant("a session on a stream of its own", "_open", '"user_compute_stream": …}', '"user_compute_stream": "0"}'),
    Mutant("addresses of the first run", "enqueue", "key = tuple(…)", "key = ()"),
    Mutant("the host waits for every run", "_options", '"disable_synchronize_execution_providers", "1"', SYNCHRONISING),
]


class Search:
    """Runs that together detect every fault, by comparison with the CPU."""

    def __init__(self, bundle: Path) -> None:
        self.bundle = bundle
        self.cpu = Sampler(Bundle.open(bundle), "cpu", threads=1)
        upper = np.random.default_rng(0).integers(0, 11, (3, 4, 6))
        self.calls: list[dict[str, Any]] = [
            {},
            {"seeds": 7},
            {"top_k": 3},
            {"given": {"top": upper}},
            {"given": {"top": np.where(np.arange(24).reshape(4, 6) < 9, upper, -1)}},
            {"n": 5, "seeds": 8, "batch_size": 2, "labels": [0, 1, 2, 0, 1]},
        ]
        self.expected = [self._draw(self.cpu, arguments) for arguments in self.calls]
        codes, labels = self.expected[0].codes, self.expected[0].labels
        # The default bundle has more rows than phases, and attention at the top level. With these seeds every random
        # number differs by at least 3e-5 from the next limit of the cumulative distribution.
        self.default = self._draw(Sampler(Bundle.default(), "cpu"), {"seeds": 80})
        self.likelihood = self.cpu.log_likelihood(codes, labels)
        self.images = np.random.default_rng(0).integers(0, 256, (3, 32, 48, 3), np.uint8)
        self.codes = self.cpu.encode(self.images)

    def fault(self) -> str:
        """Returns the first error of the runs, or an empty text."""
        try:
            for device in ("tensorrt", "cuda"):
                with pytest.MonkeyPatch.context() as patch:
                    self._run(patch, device)
            with pytest.MonkeyPatch.context() as patch:
                simulate_machine(patch, WatchedDriver())
                check_same(self._draw(Sampler(Bundle.default(), "cuda"), {"seeds": 80}), self.default)
        except Exception as error:
            return " ".join(f"{type(error).__name__}: {error}".split())[:200]
        return ""

    def _run(self, patch: pytest.MonkeyPatch, device: str) -> None:
        driver = WatchedDriver(seed=1, early=device == "cuda")
        simulate_machine(patch, driver)
        sampler = Sampler(Bundle.open(self.bundle), device)
        for arguments, expected in zip(self.calls, self.expected, strict=True):
            check_same(self._draw(sampler, arguments), expected, f"{device}, {arguments}")
        likelihood = sampler.log_likelihood(self.expected[0].codes, self.expected[0].labels)
        for name, values in self.likelihood.items():
            np.testing.assert_allclose(likelihood[name], values, rtol=1e-4, atol=1e-5)
        self._draw(sampler, {})
        driver.events.clear()
        self._draw(sampler, {})
        self._draw(sampler, {})
        assert driver.events.count(WAIT) == 4, "the host waits more than twice per batch"
        assert driver.events.count(CAPTURE) == 0, "work is captured a second time"
        self._run_arrays(driver, sampler)
        del sampler
        driver.finish()
        assert driver.faults == [], driver.faults

    def _run_arrays(self, driver: WatchedDriver, sampler: Sampler) -> None:
        patched: Any = runs_of(sampler).backend
        patched.arrays.encode.__func__.__globals__["LARGEST_RUN"] = 2  # three images are processed in two parts
        for offset in (0, 8):
            images = put(driver, self.images, "u8", SIDE, offset=offset)
            codes = sampler.encode_on_gpu(images, SIDE)
            with driver.use(0):
                driver.zero(int(images.tensor.data_ptr()), self.images.nbytes, SIDE)
            for name, values in self.codes.items():
                np.testing.assert_array_equal(codes[name].numpy(), values)
            arrays = {name: put(driver, values, "i64", LEGACY, offset=offset) for name, values in self.codes.items()}
            check_images(sampler.decode_on_gpu(arrays).numpy(), self.cpu.decode(self.codes))
            sampler.encode_on_gpu(put(driver, self.images[:1], "u8", SIDE), SIDE)

    def _draw(self, sampler: Sampler, changes: dict[str, Any]) -> Any:
        return sampler.sample(**{"n": 3, "seeds": 70, "labels": 1, **changes})


def import_from(folder: Path) -> None:
    """Makes the modules of ``folder`` the GPU backend."""
    for name in [name for name in sys.modules if name == PACKAGE or name.startswith(f"{PACKAGE}.")]:
        del sys.modules[name]
    import_module(PACKAGE).__path__ = [str(folder)]
    assert Path(str(import_module(f"{PACKAGE}.loop").__file__)).parent == folder


def main(bundle: Path, sources: Path, folder: Path) -> None:
    search = Search(bundle)
    errors = {}
    for number, mutant in enumerate([None, *MUTANTS]):
        copied = folder / str(number)
        shutil.copytree(sources, copied, ignore=shutil.ignore_patterns("__pycache__"))
        if mutant is not None:
            mutant.insert(copied)
        import_from(copied)
        errors[mutant.fault if mutant else ""] = search.fault()
    print(json.dumps(errors, indent=1))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
