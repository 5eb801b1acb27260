"""Copies and pickles of bundles and samplers, and their use in spawned and forked processes."""

from __future__ import annotations

import copy
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corrupted_bundles import edit_manifest, error_of
from gpu_machines import Machines

from latentloop import Bundle, InputError, Sampler

# Scripts run in their own processes, whose only threads are those of the sampler. An alarm ends a child that hangs.
FORKED = """
import os, signal, sys
import numpy as np
from latentloop import Bundle, Sampler
before, after = sys.argv[1:3]
sampler = Sampler(Bundle.open(sys.argv[3]), "cpu", 3)
def work():
    images = sampler.sample(20, seeds=1, labels=1).images
    return images, sampler.classify(images).probabilities, sampler.encode(images)["top"]
if before == "used":
    expected = work()
child = os.fork()
if child == 0:
    signal.alarm(40)
    if after == "used":
        results = work()
        if before == "used":
            assert all(map(np.array_equal, results, expected))
    sys.exit(3)  # an ordinary exit, which destroys sampler and bundle
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
if before == "used":
    assert all(map(np.array_equal, work(), expected))
"""

SPAWNED = """
import multiprocessing, sys
from latentloop import Bundle, Sampler
def work(sampler, bundle):
    sampler.sample(1, seeds=1, labels=1)
    sys.exit(0 if bundle.manifest == sampler.bundle.manifest else 1)
if __name__ == "__main__":
    sampler = Sampler(Bundle.open(sys.argv[2]), "cpu", 2)
    sampler.sample(1)
    process = multiprocessing.get_context(sys.argv[1]).Process(target=work, args=(sampler, sampler.bundle))
    process.start()
    process.join(40)
    print(process.exitcode)
"""

FORKED_WITHIN_ROWS = """
import os, signal, sys
import numpy as np
from latentloop import Bundle, InputError, Sampler
from latentloop.draws.level_inputs import LevelInputs
from latentloop.sampling.sampler import runs_of
sampler = Sampler(Bundle.open(sys.argv[1]), "cpu", 2)
level = sampler.bundle.manifest.levels[0]
codes = np.zeros((1, level.height, level.width), np.int64)
rows = runs_of(sampler).rows(level, LevelInputs.forcing(codes, None, np.zeros(1, np.int64)))
next(rows)
child = os.fork()
if child == 0:
    signal.alarm(40)
    try:
        next(rows)
    except InputError as error:
        os._exit(0 if "forked" in str(error) else 1)
    os._exit(2)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
assert len(list(rows)) == level.height - 1
"""

FORKED_WITH_THREADS = """
import os, sys, threading, time
from latentloop import Bundle
bundle = Bundle.open(sys.argv[1])
THREADS = 4
made, values, making = [], [None] * THREADS, threading.Event()
def make():
    made.append(0)
    making.set()
    time.sleep(0.01)
    return object()
def use(index, barrier):
    barrier.wait()
    values[index] = bundle.cached("key", make)
def use_in_threads():
    made.clear()
    barrier = threading.Barrier(THREADS)
    threads = [threading.Thread(target=use, args=(index, barrier)) for index in range(THREADS)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    return len(made) == len(set(map(id, values))) == 1
sys.setswitchinterval(1e-6)
threading.Thread(target=bundle.cached, args=("slow", lambda: making.set() or time.sleep(5)), daemon=True).start()
making.wait()  # a thread of the parent holds the lock at every fork
results = []
for _ in range(30):
    child = os.fork()
    if child == 0:
        os._exit(0 if use_in_threads() else 1)
    results.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(sum(results), flush=True)
os._exit(0)
"""


def output_of(script: str, *arguments: object) -> str:
    """Runs a script, which must succeed, and returns its output."""
    command = [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", script, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@pytest.fixture
def sampler(small_bundle: Path) -> Sampler:
    """A sampler that has been used."""
    sampler = Sampler(Bundle.open(small_bundle), "cpu", 2)
    sampler.sample(1, seeds=7)
    return sampler


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_copies_and_pickles_draw_the_same_images(sampler: Sampler, duplicate: Callable[[Any], Any]) -> None:
    expected = sampler.sample(2, seeds=5).images
    copied = duplicate(sampler)
    assert (copied.device, copied.threads, copied.precision) == ("cpu", 2, "float32")
    np.testing.assert_array_equal(copied.sample(2, seeds=5).images, expected)
    bundle = duplicate(sampler.bundle)
    np.testing.assert_array_equal(Sampler(bundle, "cpu", 2).sample(2, seeds=5).images, expected)


def test_a_pickle_is_opened_from_any_working_directory(
    small_bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(small_bundle.parent)
    pickled = pickle.dumps(Bundle.open(small_bundle.name))
    monkeypatch.chdir(tmp_path)
    assert pickle.loads(pickled).golden()


def test_the_working_directory_may_change(
    small_bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sampler: Sampler
) -> None:
    monkeypatch.chdir(small_bundle.parent)
    opened = Sampler(Bundle.open(small_bundle.name), "cpu", 2)
    (tmp_path / small_bundle.name).mkdir()  # the relative path now leads to another directory
    monkeypatch.chdir(tmp_path)
    np.testing.assert_array_equal(opened.sample(1, seeds=7).images, sampler.sample(1, seeds=7).images)
    assert opened.bundle.golden()
    assert opened.bundle.path == small_bundle


def test_a_pickle_of_a_bundle_that_has_changed_is_rejected(small_bundle: Path, tmp_path: Path) -> None:
    path = shutil.copytree(small_bundle, tmp_path / "copy")
    pickled = pickle.dumps(Bundle.open(path))
    (path / "golden.npz").write_bytes(b"")
    assert "golden.npz" in error_of(lambda: pickle.loads(pickled))
    shutil.copy(small_bundle / "golden.npz", path)
    edit_manifest(path, "licence", value="another")
    assert f"{path} has changed since its Bundle was copied or pickled" in error_of(lambda: pickle.loads(pickled))
    shutil.rmtree(path)
    assert str(path) in error_of(lambda: pickle.loads(pickled))


@pytest.mark.parametrize("before", ["used", "unused"])
@pytest.mark.parametrize("after", ["used", "unused"])
def test_a_forked_process_samples_and_ends(small_bundle: Path, before: str, after: str) -> None:
    assert output_of(FORKED, before, after, small_bundle) == "3"


def test_threads_of_a_forked_process_share_the_cache_of_a_bundle(small_bundle: Path) -> None:
    assert output_of(FORKED_WITH_THREADS, small_bundle) == "0"


def test_an_iteration_over_rows_cannot_continue_after_a_fork(small_bundle: Path) -> None:
    assert output_of(FORKED_WITHIN_ROWS, small_bundle) == "0"


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_a_sampler_can_be_the_argument_of_a_process(small_bundle: Path, tmp_path: Path, method: str) -> None:
    program = tmp_path / "program.py"  # a file, because spawned processes import it
    program.write_text(SPAWNED, encoding="utf-8")
    command = [sys.executable, str(program), method, str(small_bundle)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert (result.stdout.strip(), result.stderr) == ("0", "")


def test_a_sampler_on_a_gpu_cannot_be_used_after_a_fork(
    small_engines: Path, machines: Machines, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    machines()
    sampler = Sampler(Bundle.open(small_engines), device, 1)
    expected = sampler.sample(1, seeds=1).images
    parent = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: parent + 1)
    for use in (lambda: sampler.sample(1), lambda: sampler.encode(expected), lambda: sampler.encode_on_gpu(expected)):
        with pytest.raises(InputError, match=f"on {device}:0 .* survive a fork: .*'spawn'"):
            use()
    monkeypatch.setattr(os, "getpid", lambda: parent)
    np.testing.assert_array_equal(sampler.sample(1, seeds=1).images, expected)
