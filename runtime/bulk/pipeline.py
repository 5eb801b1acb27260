"""Work in the order of its submission, in another thread, with a bound on what waits."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType


class Pipeline:
    """Runs tasks one after the other in a thread, while the caller goes on. After an error no further task is run.

    Use it as a context manager: at the end of the block the running task is awaited, and those that wait are dropped.
    """

    def __init__(self, waiting: int = 2) -> None:
        """``waiting``: submitted tasks, at most, that are not finished."""
        self._waiting, self._failed = waiting, False
        self._thread = ThreadPoolExecutor(1, "latentloop-writer")
        self._tasks: deque[Future[None]] = deque()

    def submit(self, task: Callable[[], None]) -> None:
        """Adds a task, as soon as there is room. Raises the error of an earlier task."""
        while len(self._tasks) >= self._waiting:
            self._tasks.popleft().result()
        self._tasks.append(self._thread.submit(self._run, task))

    def finish(self) -> None:
        """Returns when all tasks are finished. Raises the error of a task."""
        while self._tasks:
            self._tasks.popleft().result()

    def _run(self, task: Callable[[], None]) -> None:
        if self._failed:
            return
        try:
            task()
        except BaseException:
            self._failed = True
            raise

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._failed = True
        self._thread.shutdown(cancel_futures=True)
