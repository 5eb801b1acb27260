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
from mutants import Mutant, replace_once

from latentloop import Bundle, Sampler
from latentloop.kernels.driver.stream import LEGACY, Stream

PACKAGE = "latentloop.backends.gpu"
SIDE = Stream(0x1000)
WHOLE_HISTORY = 'index = () if binding.view == "entries" else view_index(binding, buffer, i, j)'

# Omitted, because they do not change the results: the kernels of another profile, a column that is drawn twice.
MUTANTS = [
    Mutant("one capture for all phases", "loop", "self._replay((role, phase), role", "self._replay((role, 0), role"),
    Mutant("one capture for both steps", "loop", "self._replay((role, phase), role", "self._replay((0, phase), role"),
    Mutant("one capture for all rows", "loop", 'self._replay(("row", i)', 'self._replay(("row", 0)'),
    Mutant(
        "the ring of the previous row",
        "loop",
        "self.buffers.view(codes_of_row, i, 0)",
        "self.buffers.view(codes_of_row, i - 1, 0)",
    ),
    Mutant(
        "captured work is not replayed at once",
        "loop",
        "self._captured[key] = captured\n",
        "self._captured[key] = captured; return\n",
    ),
    Mutant("no run before a capture", "loop", "self._enqueue(runs[:1])", "pass"),
    Mutant("a new capture for every row", "loop", "captured = self._captured.get(key)", "captured = None"),
    Mutant("the first step is omitted", "loop", "range(0, self.level.width,", "range(2, self.level.width,"),
    Mutant("codes from the padding", "loop", '"columns", count=', '"columns", first=-1, count='),
    Mutant(
        "codes of the previous row",
        "loop",
        "self.buffers.copy(self.codes.row(i), self",
        "self.buffers.copy(self.codes.row(max(i - 1, 0)), self",
    ),
    Mutant("random numbers of the previous row", "loop", "self._uniform.row(i)", "self._uniform.row(max(i - 1, 0))"),
    Mutant("random numbers of the first row", "loop", "self._uniform.row(i)", "self._uniform.row(0)"),
    Mutant("no codes are forced", "loop", 'self.buffers.copy(self.buffers["forced"], self._forced.row(i))', "pass"),
    Mutant("state of the previous image", "loop", "self.buffers.clear_rings()", "pass"),
    Mutant("upper codes of the previous batch", "loop", 'self.buffers.copy(self.buffers["upper"], upper)', "pass"),
    Mutant(
        "the condition of the previous batch",
        "loop",
        'if "condition" in self.prior.graphs:',
        'if "condition" in self.prior.graphs and "condition" not in self._graphs:',
    ),
    Mutant(
        "inputs that are not aligned",
        "loop",
        "if not view.is_aligned:\n                run.tensors[name] =",
        "if False:\n                run.tensors[name] =",
    ),
    Mutant("inputs that are not copied", "loop", "run.copies_before.append((run.tensors[name], view))", "pass"),
    Mutant("outputs that are not aligned", "loop", "if overlaps or not view.is_aligned", "if overlaps"),
    Mutant("outputs that are not copied", "loop", "run.copies_after.append((view, run.tensors[binding.name]))", "pass"),
    Mutant("outputs that overlap an input", "loop", "if overlaps or not view.is_aligned", "if not view.is_aligned"),
    Mutant(
        "outputs copied before the run",
        "loop",
        "for target, source in run.copies_before:",
        "for target, source in run.copies_before + run.copies_after:",
    ),
    Mutant(
        "a view one column off",
        "state_buffers",
        WHOLE_HISTORY,
        WHOLE_HISTORY.replace(", j)", ", j + (binding.name == 'codes'))"),
    ),
    Mutant(
        "a view one row off",
        "state_buffers",
        WHOLE_HISTORY,
        WHOLE_HISTORY.replace(", i, j)", ", i + (binding.name == 'residual_next'), j)"),
    ),
    Mutant(
        "the history as far as the row", "state_buffers", WHOLE_HISTORY, "index = view_index(binding, buffer, i, j)"
    ),
    Mutant("a history without a fill", "state_buffers", "self._zero(tensor)", "pass"),
    Mutant(
        "zeros for every fill",
        "state_buffers",
        "self.copy(self._tensors[name], self._fills[name])",
        "self._zero(self._tensors[name])",
    ),
    Mutant("no fill before the first image", "state_buffers", "staging.copy_in(self._fills[name], values)", "pass"),
    Mutant(
        "buffers released at once",
        "staging",
        "self._in_use.append(buffer)",
        "self._pool.setdefault(size, []).append(buffer)",
    ),
    Mutant("buffers without a reference during the copy", "staging", "self._in_use.append(buffer)", "pass"),
    Mutant(
        "values copied from the caller's array",
        "staging",
        "self._driver.copy_in(tensor.pointer, buffer,",
        "self._driver.copy_in(tensor.pointer, values,",
    ),
    Mutant(
        "codes read before the copy has finished",
        "backend",
        "                self._driver.synchronize(self._driver.record(self._stream))\n                drawn =",
        "                drawn =",
    ),
    Mutant(
        "rows read before the copy has finished",
        "backend",
        "            self._driver.synchronize(event)\n        finished",
        "            pass\n        finished",
    ),
    Mutant(
        "buffers of rows released at once",
        "backend",
        'copies.copy_out(loop.buffers["logits"])\n',
        'copies.copy_out(loop.buffers["logits"])\n                    copies.release()\n',
    ),
    Mutant(
        "given codes are not the condition",
        "backend",
        "source.with_upper(upper)",
        "source.with_upper(None)",
    ),
    Mutant("no filter", "loop", "STEPS[level_inputs.is_filtered]", '"step"'),
    Mutant(
        "the loop of another batch size", "backend", "loop is None or loop.batch != level_inputs.batch", "loop is None"
    ),
    Mutant(
        "the host waits after every level",
        "backend",
        "upper, upper_on_device = None, loop.codes\n",
        "upper, upper_on_device = None, loop.codes\n"
        "                    self._driver.synchronize(self._driver.record(self._stream))\n",
    ),
    Mutant(
        "the caller's work is not waited for",
        "codec",
        "self._driver.wait(self._stream, self._driver.record(stream))",
        "pass",
    ),
    Mutant("the caller does not wait", "codec", "self._driver.wait(stream, self._driver.record(self._stream))", "pass"),
    Mutant("every part is the first", "codec", "_view(pointer, substitute, start)", "_view(pointer, substitute, 0)"),
    Mutant("the last part is too long", "codec", "min(start, n - count)", "start"),
    Mutant("arrays that are not aligned", "codec", "if view.is_aligned:", "if True:"),
    Mutant(
        "arrays that are not copied",
        "codec",
        "self._driver.copy(substitute.pointer, view.pointer, view.size, self._stream)",
        "pass",
    ),
    Mutant("results that are not copied", "codec", "copies_out.append((view, substitute))", "pass"),
    Mutant("images read before the copy has finished", "codec", "self._codec.wait(self._event)", "pass"),
    Mutant(
        "a context deleted during its work",
        "codec",
        "weakref.finalize(self._prepared, wait_for_stream, self._driver, self._number, self._stream).atexit = False",
        "pass",
    ),
    Mutant("the default stream", "tensorrt_engines", "execute_async_v3(stream.handle)", "execute_async_v3(1)"),
    Mutant(
        "shapes of the first batch",
        "tensorrt_engines",
        "self._shapes.get(name) != tensor.shape",
        "name not in self._shapes and tensor.shape[-1] != 12",
    ),
    Mutant("a session on a stream of its own", "onnxruntime_sessions", "str(stream.handle)}", '"0"}'),
    Mutant(
        "addresses of the first run",
        "onnxruntime_sessions",
        "key = tuple(tensor.pointer for tensor in tensors.values())",
        "key = ()",
    ),
    Mutant(
        "the host waits for every run",
        "onnxruntime_sessions",
        '"disable_synchronize_execution_providers", "1"',
        '"disable_synchronize_execution_providers", "0"',
    ),
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
        patched: Any = sampler._backend
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
            replace_once(copied / f"{mutant.file}.py", mutant.text, mutant.replacement)
        import_from(copied)
        errors[mutant.fault if mutant else ""] = search.fault()
    print(json.dumps(errors, indent=1))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
