"""The loop over one level's codes on a GPU: the same views as on a CPU, as addresses of device memory.

The steps of a row are the same work at the same addresses whenever the rings stand in the same phase, so they are
captured once per phase and replayed; so is the row's graph, once per row. What differs between images (random numbers,
settings, codes) is copied to and from fixed places.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from latentloop.backends.gpu.device_graph import DeviceGraph, Tensor
from latentloop.backends.gpu.staging import Staging
from latentloop.backends.gpu.state_buffers import DeviceStateBuffers, entry
from latentloop.bundles.manifest import Binding, GraphFile, Level, Prior
from latentloop.bundles.views import check_size
from latentloop.draws.level_inputs import LevelInputs
from latentloop.engines.engine_set import EnginePrior
from latentloop.kernels.driver import Driver

AnyPrior = Prior | EnginePrior
Load = Callable[[GraphFile, int], DeviceGraph]  # a graph of the manifest, for a batch size


@dataclass(frozen=True)
class Run:
    """One graph over given memory, and copies, (target, source): a graph is given its own memory in place of views that
    are not aligned, and of outputs that overlap an input.
    """

    graph: DeviceGraph
    tensors: dict[str, Tensor]
    before: list[tuple[Tensor, Tensor]]
    after: list[tuple[Tensor, Tensor]]


class DeviceLoop:
    """One level's loop for one batch size. Everything is enqueued on ``stream``, whose device is current."""

    def __init__(
        self, level: Level, prior: AnyPrior, load: Load, batch: int, driver: Driver, device: int, staging: Staging
    ) -> None:
        check_size(level, prior.memories, batch)
        self.level, self.prior, self.batch = level, prior, batch
        self._load, self._driver, self._device, self._stream = load, driver, device, staging.stream
        self.buffers = DeviceStateBuffers(prior.memories, batch, driver, device, staging)
        grid = (level.height, level.width, batch)
        self._uniform = self.buffers.allocate("float32", grid, device)
        self._forced = self.buffers.allocate("int64", grid, device)
        self.codes = self.buffers.allocate("int64", grid, device)  # of finished rows
        for name, count in (("row", level.height), ("column", level.width)):
            staging.copy_in(self.buffers[name], np.arange(count)[:, None])
        self._graphs: dict[str, DeviceGraph] = {}
        self._captured: dict[Hashable, Any] = {}
        self._warm: set[str] = set()
        self._in_place_of_views: dict[tuple[str, str], Tensor] = {}  # by role and binding
        self._prepared: dict[Hashable, list[Run]] = {}  # what cannot be captured

    @property
    def captures(self) -> int:
        """How many pieces of work have been captured: at most a grid's rows and, for each step graph, a ring's rows."""
        return len(self._captured)

    def begin(self, level_inputs: LevelInputs, upper: Tensor | None, staging: Staging) -> None:
        """Fresh state and the batch's settings; ``upper`` [H', W', B] where the codes above are on the device."""
        self.buffers.clear_rings()
        for name, value in level_inputs.settings().items():
            if name in self.buffers:
                staging.copy_in(self.buffers[name], value)
        staging.copy_in(self._uniform, level_inputs.uniform)
        staging.copy_in(self._forced, level_inputs.forced)
        if upper is not None and "upper" in self.buffers:
            self.buffers.copy(self.buffers["upper"], upper)
        if "condition" in self.prior.graphs:
            self._enqueue([self._run("condition", 0, 0)])

    def enqueue_row(self, i: int, role: str) -> None:
        """All of row i; its codes are then in ``codes[i]``. ``role``: the steps' graph."""
        self.buffers.copy(self.buffers["uniform"], entry(self._uniform, i))
        self.buffers.copy(self.buffers["forced"], entry(self._forced, i))
        phase = i % self.buffers["codes"].shape[0]
        columns = range(0, self.level.width, self.prior.columns_per_step)
        self._replay(("row", i), "row", lambda: [self._run("row", i, 0)])
        self._replay((role, phase), role, lambda: [self._run(role, i, j) for j in columns])
        drawn = Binding("code", "codes", "columns", count=self.level.width)
        self.buffers.copy(entry(self.codes, i), self.buffers.view(drawn, i, 0))

    def _run(self, role: str, i: int, j: int) -> Run:
        described = self.prior.graphs[role]
        if role not in self._graphs:
            self._graphs[role] = self._load(described, self.batch)
        run = Run(self._graphs[role], {}, [], [])
        inputs = {binding.name: self.buffers.view(binding, i, j) for binding in described.inputs}
        for name, view in inputs.items():
            run.tensors[name] = view
            if not view.is_aligned:
                run.tensors[name] = self._own(role, name, view)
                run.before.append((run.tensors[name], view))
        passed_on = {replace(binding, name="") for binding in described.inputs}  # where an output is bound so, too
        for binding in described.outputs:
            view = self.buffers.view(binding, i, j)
            # A step reads a whole row of keys, of which it masks the columns that it writes.
            overlaps = replace(binding, name="") not in passed_on and any(map(view.overlaps, inputs.values()))
            run.tensors[binding.name] = view
            if overlaps or not view.is_aligned:
                run.tensors[binding.name] = self._own(role, binding.name, view)
                run.after.append((view, run.tensors[binding.name]))
        return run

    def _own(self, role: str, name: str, view: Tensor) -> Tensor:
        """Memory in place of a view, the same in every run of the graph."""
        if (role, name) not in self._in_place_of_views:
            self._in_place_of_views[role, name] = self.buffers.allocate(view.dtype, view.shape, self._device)
        return self._in_place_of_views[role, name]

    def _replay(self, key: Hashable, role: str, work: Callable[[], list[Run]]) -> None:
        """The work of that key, captured when it is first met where that is possible."""
        captured = self._captured.get(key)
        if captured is None:
            runs = self._prepared.get(key) or work()
            if not (self._driver.can_capture and self._graphs[role].capturable):
                self._prepared[key] = runs
                self._enqueue(runs)
                return
            if role not in self._warm:
                # A first run settles shapes and memory, which a capture must not do. Doing it twice changes nothing:
                # no graph reads what it writes.
                self._enqueue(runs[:1])
                self._warm.add(role)
            with _gc_paused(), self._driver.capture(self._stream) as captured:
                self._enqueue(runs)
            self._captured[key] = captured
        self._driver.replay(captured, self._stream)

    def _enqueue(self, runs: Iterable[Run]) -> None:
        for run in runs:
            for target, source in run.before:
                self.buffers.copy(target, source)
            run.graph.enqueue(run.tensors, self._stream)
            for target, source in run.after:
                self.buffers.copy(target, source)


@contextmanager
def _gc_paused() -> Iterator[None]:
    """The collector may find another sampler in a cycle, and its contexts must not go while a capture is under way."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
