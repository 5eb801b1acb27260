"""The connection to a Ray cluster, and how many workers it has room for.

Only this module and ``with_ray`` import Ray, and only when a command asks for it.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TextIO, cast

from latentloop.environment.machine import available_threads
from latentloop.environment.packages import require
from latentloop.errors import InputError, LatentLoopError, OutputError

LOCAL = "local"  # the address for a cluster on this machine, which ends with the command
TIMEOUT = 5.0  # seconds for the first connection


@dataclass(frozen=True)
class Room:
    """Room for ``workers``, with so many ``threads`` and Ray's ``resources`` each."""

    workers: int
    threads: int
    resources: dict[str, float]


class LostError(Exception):
    """The connection to the cluster is lost: an OSError of Ray, which is none of the folder that is written."""


@contextmanager
def ray_cluster(address: str) -> Iterator[None]:
    """Connects this process to the cluster at ``address`` while the block runs: ``auto``, ``local``, host:port or
    ray://host:port. What Ray prints in its own threads meanwhile is dropped.

    Raises MissingError if Ray is not installed, InputError if the cluster cannot be reached.
    """
    require("a run on a Ray cluster", "ray", extra="ray")
    ray = import_module("ray")
    _check_reachable(address)
    local: dict[str, Any] = {}
    if address == LOCAL:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        local = {"num_cpus": available_threads(), "include_dashboard": False}
    logger = logging.getLogger("ray")
    level, propagate = logger.level, logger.propagate
    logger.setLevel(logging.CRITICAL)
    logger.propagate = False
    # The program prints in this thread; Ray's threads report what they hear of nodes and workers to people.
    with _without_native_stderr(), redirect_stdout(_of_this_thread(sys.stdout)):
        try:
            with _same_handlers():
                ray.init(address=address, log_to_driver=False, configure_logging=False, **local)
        except LatentLoopError:
            raise
        except Exception as error:
            raise InputError(
                f"--ray {address}: cannot connect to a Ray cluster: {_one_line(error)}: `ray start --head` starts one, "
                "and --ray local one for this command alone"
            ) from error
        try:
            yield
        except (ray.exceptions.RayError, ConnectionError, LostError) as error:
            raise OutputError(
                f"--ray {address}: the connection to the cluster is lost: {_one_line(error)}; the shards that are "
                "finished stay, and the same command goes on"
            ) from error
        finally:
            ray.shutdown()
            logger.setLevel(level)
            logger.propagate = propagate


def room(device: str, threads: int | None) -> Room:
    """Returns the room for workers on a ``device``, as Sampler has it: a GPU each if ``auto`` finds GPUs in the
    cluster, else ``threads`` processors each, by default those of its smallest node.

    Raises InputError if there is none.
    """
    ray = import_module("ray")
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    processors = [int(node.get("CPU", 0)) for node in nodes]
    gpus = sum(int(node.get("GPU", 0)) for node in nodes)
    if threads is None:
        threads = min((count for count in processors if count), default=1)
    if device != "cpu" and (gpus or device != "auto"):
        if not gpus:
            raise InputError(f"--device {device}: no node of the Ray cluster has a GPU")
        return Room(gpus, threads, {"num_gpus": 1, "num_cpus": 0})
    workers = sum(count // threads for count in processors)
    if not workers:
        raise InputError(
            f"--threads {threads}: no node of the Ray cluster has so many processors, the largest has "
            f"{max(processors, default=0)}"
        )
    return Room(workers, threads, {"num_cpus": threads})


def _check_reachable(address: str) -> None:
    """Raises InputError if nothing listens at an address: Ray itself would try for a long time."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        if address not in ("auto", LOCAL) and not address.startswith("ray://"):
            raise InputError(f"--ray {address}: expected auto, local, host:port or ray://host:port")
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), TIMEOUT).close()
    except (OSError, OverflowError) as error:
        raise InputError(f"--ray {address}: nothing answers there: {error}") from error


@contextmanager
def _same_handlers() -> Iterator[None]:
    """Restores the signal handlers that Ray replaces."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _without_native_stderr() -> Iterator[None]:
    """Drops what other threads, native code and child processes write to stderr."""
    with ExitStack() as stack:
        stream = sys.stderr
        if stream is sys.__stderr__ and stream is not None:
            stream.flush()
            before = os.dup(2)
            stream = stack.enter_context(open(before, "w", 1, stream.encoding, stream.errors))
            stack.callback(os.dup2, before, 2)
            with open(os.devnull, "wb") as nothing:
                os.dup2(nothing.fileno(), 2)
        with redirect_stderr(_of_this_thread(stream)):
            yield


def _of_this_thread(stream: TextIO) -> TextIO:
    """Returns a stream that drops what other threads write."""
    return stream if stream is None else cast(TextIO, _ThreadStream(stream))  # None: closed before the program started


class _ThreadStream:
    def __init__(self, stream: TextIO) -> None:
        self._stream, self._thread = stream, threading.get_ident()

    def write(self, text: str) -> int:
        """Writes in the thread that made the stream."""
        return self._stream.write(text) if threading.get_ident() == self._thread else len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _one_line(error: BaseException) -> str:
    """Returns the last line of an error's text: those before it may be a traceback on another machine."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return " ".join(lines[-1].split())[:300].rstrip(".")
