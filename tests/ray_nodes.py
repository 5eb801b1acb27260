"""Ray clusters of nodes on this machine, which tests start and end, and the processes of their workers."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

RAY = Path(sysconfig.get_path("scripts")) / "ray"
QUIET = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}


class Node:
    """A node in processes of its own."""

    def __init__(self, options: list[str], variables: dict[str, str]) -> None:
        command = [str(RAY), "start", "--block", "--num-cpus=1", "--num-gpus=0", "--object-store-memory=100000000"]
        environment = {**os.environ, **QUIET, **variables}
        self._process = subprocess.Popen(
            [*command, *options],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        said = []
        for line in self._process.stdout:
            said.append(line)
            if "Ray runtime started" in line:
                return
        raise AssertionError("".join(said))

    def workers(self) -> list[int]:
        """Returns the processes of the workers that have started."""
        return [process for process in descendants(self._process.pid) if b"ray::Actor" in command_of(process)]

    def kill(self) -> None:
        """Ends all processes, at once."""
        for process in (*descendants(self._process.pid), self._process.pid):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


class Nodes:
    """A cluster. ``address`` is what `--ray` takes."""

    def __init__(self, stack: ExitStack, folder: str) -> None:
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        self._stack = stack
        head = [
            "--head",
            f"--port={port}",
            "--node-ip-address=127.0.0.1",
            f"--temp-dir={folder}",
            "--include-dashboard=false",
        ]
        if find_spec("grpc") is not None:  # then Ray also listens for clients at a fixed port
            head.append(f"--ray-client-server-port={free_port()}")
        self.nodes = [self._started(head, {})]

    def add(self, **variables: str) -> Node:
        """Starts a node with environment variables."""
        self.nodes.append(self._started([f"--address={self.address}", "--node-ip-address=127.0.0.1"], variables))
        return self.nodes[-1]

    def workers(self) -> list[int]:
        """Returns the processes of the workers of all nodes."""
        return [process for node in self.nodes for process in node.workers()]

    def _started(self, options: list[str], variables: dict[str, str]) -> Node:
        node = Node(options, variables)
        self._stack.callback(node.kill)
        return node


@contextmanager
def ray_nodes() -> Iterator[Nodes]:
    """Starts a cluster of one node, and ends it."""
    folder = tempfile.mkdtemp(prefix="r")  # a short path: it holds sockets
    try:
        with ExitStack() as stack:
            yield Nodes(stack, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    """Returns a port that nothing uses."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def descendants(process: int) -> list[int]:
    """Returns the processes that a process has started, and those that these have."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, ValueError):
                continue
            parents.setdefault(parent, []).append(int(entry.name))
    found, new = [], [process]
    while new:
        new = [child for each in new for child in parents.get(each, ())]
        found += new
    return found


def command_of(process: int) -> bytes:
    """Returns the command line of a process, empty if it has ended."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


def wait_until(condition: object, seconds: float = 60) -> None:
    """Returns when a function without arguments returns a true value. Raises AssertionError after so many seconds."""
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
