"""Bundles and samplers in other processes: copied, pickled, sent to a new process, or there after a fork."""

from __future__ import annotations

import copy
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gpu_machines import Machines
from spoilt_bundles import edit_manifest, refusal

from latentloop import Bundle, InputError, Sampler

# In a process of its own, whose only threads are the sampler's. An alarm ends a child that waits for ever.
FORKED = """
import os, signal, sys
import numpy as np
from latentloop import Bundle, Sampler
before, after = sys.argv[1:3]
sampler = Sampler(Bundle.open(sys.argv[3]), "cpu", 3)
def work():
    found = sampler.sample(20, seeds=1, labels=1)
    return found.images, sampler.classify(found.images).probabilities, sampler.encode(found.images)["top"]
if before == "used":
    expected = work()
child = os.fork()
if child == 0:
    signal.alarm(40)
    if after == "used":
        found = work()
        if before == "used":
            assert all(map(np.array_equal, found, expected))
    sys.exit(3)  # ends as any program does, with everything that it holds
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
sampler = Sampler(Bundle.open(sys.argv[1]), "cpu", 2)
level = sampler.bundle.manifest.levels[0]
codes = np.zeros((1, level.height, level.width), np.int64)
rows = sampler.rows(level, LevelInputs.forcing(codes, None, np.zeros(1, np.int64)))
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


def said(script: str, *arguments: object) -> str:
    """What a program prints that must end well."""
    command = [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def sampler(small_bundle: Path) -> Sampler:
    """One that has been used."""
    made = Sampler(Bundle.open(small_bundle), "cpu", 2)
    made.sample(1, seeds=7)
    return made


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda given: pickle.loads(pickle.dumps(given))])
def test_copies_and_pickles_draw_the_same(sampler: Sampler, again: object) -> None:
    assert callable(again)
    expected = sampler.sample(2, seeds=5).images
    made = again(sampler)
    assert (made.device, made.threads, made.precision) == ("cpu", 2, "float32")
    np.testing.assert_array_equal(made.sample(2, seeds=5).images, expected)
    bundle = again(sampler.bundle)
    np.testing.assert_array_equal(Sampler(bundle, "cpu", 2).sample(2, seeds=5).images, expected)


def test_a_pickle_is_opened_whatever_the_working_directory(
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
    (tmp_path / small_bundle.name).mkdir()  # another bundle, it might be
    monkeypatch.chdir(tmp_path)
    np.testing.assert_array_equal(opened.sample(1, seeds=7).images, sampler.sample(1, seeds=7).images)
    assert opened.bundle.golden()
    assert opened.bundle.path == small_bundle


def test_a_pickle_of_a_bundle_that_has_changed_is_refused(small_bundle: Path, tmp_path: Path) -> None:
    path = shutil.copytree(small_bundle, tmp_path / "copy")
    pickled = pickle.dumps(Bundle.open(path))
    (path / "golden.npz").write_bytes(b"")
    assert "golden.npz" in refusal(lambda: pickle.loads(pickled))
    shutil.copy(small_bundle / "golden.npz", path)
    edit_manifest(path, "licence", value="another")
    assert f"{path} has changed since its Bundle was copied or pickled" in refusal(lambda: pickle.loads(pickled))
    shutil.rmtree(path)
    assert str(path) in refusal(lambda: pickle.loads(pickled))


@pytest.mark.parametrize("before", ["used", "unused"])
@pytest.mark.parametrize("after", ["used", "unused"])
def test_a_forked_process_samples_and_ends(small_bundle: Path, before: str, after: str) -> None:
    assert said(FORKED, before, after, small_bundle) == "3"


def test_rows_begun_before_a_fork_are_refused_after_it(small_bundle: Path) -> None:
    assert said(FORKED_WITHIN_ROWS, small_bundle) == "0"


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_a_process_takes_a_sampler_as_its_argument(small_bundle: Path, tmp_path: Path, method: str) -> None:
    program = tmp_path / "program.py"  # spawn imports it
    program.write_text(SPAWNED, encoding="utf-8")
    done = subprocess.run([sys.executable, program, method, small_bundle], capture_output=True, text=True, timeout=100)
    assert (done.stdout.strip(), done.stderr) == ("0", "")


def test_a_sampler_on_a_gpu_says_that_it_cannot_follow_a_fork(
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
