"""The loop over one level's codes on a GPU. Views of state buffers are addresses of device memory.

Rows with the same index modulo the rows of the ring of codes, their *phase*, run the same step graphs at the same
addresses. These runs are captured once per phase as a CUDA graph and replayed; the row graph is captured once per row.
Values that differ between images (random numbers, settings, codes) are copied to and from fixed addresses.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from latentloop.backends.gpu.device_graph import DeviceGraph, LoadGraph, Tensor
from latentloop.backends.gpu.staging import Staging
from latentloop.backends.gpu.state_buffers import DeviceStateBuffers
from latentloop.bundles.manifest import STEPS, Binding, Level, Prior
from latentloop.bundles.views import check_size
from latentloop.draws.level_inputs import LevelInputs
from latentloop.kernels.driver import Driver


@dataclass(frozen=True)
class GraphRun:
    """One run of a graph on its tensors, with the copies (target, source) before and after it.

    A substitute tensor takes the place of a view that is not aligned, or of an output that overlaps an input.
    """

    graph: DeviceGraph
    tensors: dict[str, Tensor] = field(default_factory=dict)
    copies_before: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    copies_after: list[tuple[Tensor, Tensor]] = field(default_factory=list)


class DeviceLoop:
    """The loop of one level for one batch size. The device must be current when methods are called."""

    def __init__(
        self, level: Level, prior: Prior, load: LoadGraph, batch: int, driver: Driver, device: int, staging: Staging
    ) -> None:
        """All work is enqueued on the stream of ``staging``. ``load`` must not refer to the backend: a reference cycle
        would keep the backend's memory until the garbage collector runs.
        """
        check_size(level, prior.memories, batch)
        self.level, self.prior, self.batch = level, prior, batch
        self._load, self._driver, self._stream = load, driver, staging.stream
        self.buffers = DeviceStateBuffers(prior.memories, batch, driver, device, staging)
        grid = (level.height, level.width, batch)
        self._uniform = self.buffers.allocate("float32", grid)
        self._forced = self.buffers.allocate("int64", grid)
        self.codes = self.buffers.allocate("int64", grid)  # of finished rows
        self._step = STEPS[False]  # the role of the step graph
        self._graphs: dict[str, DeviceGraph] = {}
        self._substitutes: dict[tuple[str, str], Tensor] = {}  # by role and name of the binding
        self._warmed_up: set[str] = set()  # roles
        self._captured: dict[Hashable, Any] = {}
        self._uncaptured: dict[Hashable, list[GraphRun]] = {}  # runs that cannot be captured

    @property
    def captures(self) -> int:
        """The number of captured CUDA graphs: at most one per row and, for each step graph, one per phase."""
        return len(self._captured)

    def begin(self, level_inputs: LevelInputs, upper: Tensor | None, staging: Staging) -> None:
        """Resets the state and copies the inputs of a batch. ``upper`` [H', W', B] are the codes of the level above, if
        they are on the device.
        """
        self._step = STEPS[level_inputs.is_filtered]
        self.buffers.clear_rings()
        for name, value in level_inputs.constants(self.buffers).items():
            staging.copy_in(self.buffers[name], value)
        staging.copy_in(self._uniform, level_inputs.uniform)
        staging.copy_in(self._forced, level_inputs.forced)
        if upper is not None and "upper" in self.buffers:
            self.buffers.copy(self.buffers["upper"], upper)
        if "condition" in self.prior.graphs:
            self._enqueue([self._run("condition", 0, 0)])

    def enqueue_row(self, i: int) -> None:
        """Enqueues row i, which writes its codes to ``codes[i]``."""
        self.buffers.copy(self.buffers["uniform"], self._uniform.row(i))
        self.buffers.copy(self.buffers["forced"], self._forced.row(i))
        phase = i % self.buffers["codes"].shape[0]
        columns, role = range(0, self.level.width, self.prior.columns_per_step), self._step
        self._replay(("row", i), "row", lambda: [self._run("row", i, 0)])
        self._replay((role, phase), role, lambda: [self._run(role, i, j) for j in columns])
        codes_of_row = Binding("code", "codes", "columns", count=self.level.width)
        self.buffers.copy(self.codes.row(i), self.buffers.view(codes_of_row, i, 0))

    def _run(self, role: str, i: int, j: int) -> GraphRun:
        """Prepares a run of a graph at row i and column j."""
        graph_file = self.prior.graphs[role]
        if role not in self._graphs:
            self._graphs[role] = self._load(graph_file.file, self.batch, self._stream)
        run = GraphRun(self._graphs[role])
        inputs = {binding.name: self.buffers.view(binding, i, j) for binding in graph_file.inputs}
        for name, view in inputs.items():
            run.tensors[name] = view
            if not view.is_aligned:
                run.tensors[name] = self._substitute(role, name, view)
                run.copies_before.append((run.tensors[name], view))
        # An output with the view of an input has the same values: the graph passes them on.
        input_views = {replace(binding, name="") for binding in graph_file.inputs}
        for binding in graph_file.outputs:
            view = self.buffers.view(binding, i, j)
            # A step reads a whole row of keys, in which it masks the columns that it writes.
            overlaps = replace(binding, name="") not in input_views and any(map(view.overlaps, inputs.values()))
            run.tensors[binding.name] = view
            if overlaps or not view.is_aligned:
                run.tensors[binding.name] = self._substitute(role, binding.name, view)
                run.copies_after.append((view, run.tensors[binding.name]))
        return run

    def _substitute(self, role: str, name: str, view: Tensor) -> Tensor:
        """Returns the tensor that takes the place of a view; it is the same in every run of the graph."""
        if (role, name) not in self._substitutes:
            self._substitutes[role, name] = self.buffers.allocate(view.dtype, view.shape)
        return self._substitutes[role, name]

    def _replay(self, key: Hashable, role: str, prepare: Callable[[], list[GraphRun]]) -> None:
        """Replays the runs of ``key``, which are prepared and captured on first use. If they cannot be captured, they
        are enqueued one by one.
        """
        captured = self._captured.get(key)
        if captured is None:
            runs = self._uncaptured.get(key) or prepare()
            if not (self._driver.can_capture and self._graphs[role].capturable):
                self._uncaptured[key] = runs
                self._enqueue(runs)
                return
            if role not in self._warmed_up:
                # The first run of a graph sets shapes and allocates, which is not allowed during a capture. Running it
                # twice changes nothing, because no graph reads values that it writes.
                self._enqueue(runs[:1])
                self._warmed_up.add(role)
            with _gc_paused(), self._driver.capture(self._stream) as captured:
                self._enqueue(runs)
            self._captured[key] = captured
        self._driver.replay(captured, self._stream)

    def _enqueue(self, runs: Iterable[GraphRun]) -> None:
        for run in runs:
            for target, source in run.copies_before:
                self.buffers.copy(target, source)
            run.graph.enqueue(run.tensors, self._stream)
            for target, source in run.copies_after:
                self.buffers.copy(target, source)


@contextmanager
def _gc_paused() -> Iterator[None]:
    """Pauses garbage collection: during a capture it must not destroy TensorRT contexts of other samplers."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
