"""`latentloop sample --ray`: the same files as those of one machine, whatever dies meanwhile."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bulk_folders import journal
from command_line import PROGRAM, run
from killed_runs import digests

pytest.importorskip("ray", reason='Ray is not installed: pip install "latentloop[ray]"')
from ray_nodes import QUIET, Nodes, ray_nodes, wait_until

N = 200  # images in shards of 4: 50 shards


def command(bundle: Path, folder: Path, *options: object, n: int = N) -> tuple[object, ...]:
    sizes = ("--shard-size", 4, "--batch-size", 2, "--threads", 1)
    return "sample", bundle, "-n", n, "--seed", 7, *sizes, "--out", f"{folder}/", *options


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    """A cluster of two nodes."""
    with ray_nodes() as cluster:
        cluster.add()
        yield cluster


def started(*arguments: object, **variables: str) -> subprocess.Popen[str]:
    """Starts the program in a process group of its own."""
    return subprocess.Popen(
        [str(PROGRAM), *map(str, arguments)],
        env={**os.environ, **QUIET, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Returns the exit status, and what the program wrote to stdout and stderr."""
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def lines(folder: Path) -> int:
    """Returns the number of finished shards."""
    path = folder / "journal.jsonl"
    return path.read_bytes().count(b"\n") - 1 if path.exists() else 0


def files(folder: Path) -> dict[str, str]:
    """Returns the digests of a run's files, except the journal."""
    return {name: digest for name, digest in digests(folder).items() if name != "journal.jsonl"}


def check_same(folder: Path, whole: Path) -> None:
    """The folder has the files of one machine, and its journal the same lines, in any order."""
    assert files(folder) == files(whole)
    (header, *shards), (expected, *others) = journal(folder), journal(whole)
    assert header == expected
    assert sorted(shards, key=lambda shard: shard["shard"]) == others


@pytest.mark.slow
@pytest.mark.parametrize("options", [("--format", "npz", "--codes", "BESIDE"), ("--format", "png", "--best", 0.5)])
def test_the_same_files_as_one_machine(
    nodes: Nodes,
    small_bundle: Path,
    tmp_path: Path,
    options: tuple[object, ...],
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, whole = tmp_path / "ray", tmp_path / "whole"
    own = [whole if option == "BESIDE" else option for option in options]
    assert run(*command(small_bundle, whole, *own, "--json", n=30)) == 0
    expected = json.loads(capsys.readouterr().out)
    options = tuple(folder if option == "BESIDE" else option for option in options)
    status, out, err = ended(started(*command(small_bundle, folder, *options, "--json", "--ray", nodes.address, n=30)))
    assert (status, err) == (0, "")
    summary = json.loads(out)
    for name in ("images", "shards", "seeds", "labels", "candidates", "confidence", "device", "threads", "batch_size"):
        assert summary[name] == expected[name], name
    check_same(folder, whole)
    # The command goes on with or without Ray.
    assert run(*command(small_bundle, folder, *options, n=30)) == 0
    assert "all 30 images are there already" in capsys.readouterr().out


@pytest.mark.slow
def test_a_killed_worker_a_lost_node_and_a_killed_driver(nodes: Nodes, small_bundle: Path, tmp_path: Path) -> None:
    whole, folder = tmp_path / "whole", tmp_path / "ray"
    assert run(*command(small_bundle, whole, "--format", "npz")) == 0
    extra = nodes.add()
    arguments = command(small_bundle, folder, "--format", "npz", "--ray", nodes.address)
    # The driver is killed half-way.
    first = started(*arguments)
    wait_until(lambda: lines(folder) >= 5)
    first.kill()
    ended(first)
    done = lines(folder)
    assert 5 <= done < N // 4
    # The same command goes on; a worker, then a node are killed.
    second = started(*arguments)
    wait_until(lambda: lines(folder) >= done + 3)
    os.kill(nodes.workers()[0], signal.SIGKILL)
    wait_until(lambda: extra.workers() and lines(folder) >= done + 8)
    extra.kill()
    assert lines(folder) < N // 4
    status, out, err = ended(second)
    assert (status, err) == (0, f"latentloop: {folder}/: goes on after {4 * done} of {N} images\n")
    assert f"{folder}/: {N} images, {N - 4 * done} of them now, in " in out
    check_same(folder, whole)


@pytest.mark.slow
def test_ctrl_c_ends_it_and_the_same_command_goes_on(nodes: Nodes, small_bundle: Path, tmp_path: Path) -> None:
    whole, folder = tmp_path / "whole", tmp_path / "ray"
    assert run(*command(small_bundle, whole)) == 0
    arguments = command(small_bundle, folder, "--ray", nodes.address)
    first = started(*arguments)
    wait_until(lambda: lines(folder) >= 3)
    os.killpg(first.pid, signal.SIGINT)
    status, out, err = ended(first)
    done = 4 * lines(folder)
    assert (status, err) == (
        130,
        f"latentloop: interrupted, {done} of {N} images were finished and written; the same command goes on\n",
    )
    assert f"{done} images in " in out
    assert not (folder / ".unfinished").exists()
    assert ended(started(*arguments))[0] == 0
    check_same(folder, whole)


@pytest.mark.slow
def test_machines_that_differ_are_refused(small_bundle: Path, tmp_path: Path) -> None:
    folder, whole = tmp_path / "ray", tmp_path / "whole"
    with ray_nodes() as nodes:
        nodes.add(LATENTLOOP_INSTRUCTION_SET="portable")
        arguments = command(small_bundle, folder, "--ray", nodes.address)
        status, out, err = ended(started(*arguments))
        if status == 0:
            pytest.skip("this processor has no other instruction set")
        assert (status, out) == (2, "")
        assert err.count("\n") == 1
        assert re.match(r"latentloop: error: Ray's node [\d.]+ \(\w{8}\): instruction_set is '", err)
        assert "start anew with LATENTLOOP_INSTRUCTION_SET=portable, which the command passes on to all" in err
        variables = {"LATENTLOOP_INSTRUCTION_SET": "portable"}
        status, _, err = ended(started(*arguments, "--force", **variables))
        assert (status, err) == (0, "")
        local = ended(started(*command(small_bundle, whole), **variables))
        assert local[0] == 0
        check_same(folder, whole)


@pytest.mark.slow
def test_a_cluster_for_one_command(small_bundle: Path, tmp_path: Path) -> None:
    folder, whole = tmp_path / "ray", tmp_path / "whole"
    assert run(*command(small_bundle, whole, "--format", "tar", n=30)) == 0
    status, _, err = ended(started(*command(small_bundle, folder, "--format", "tar", "--ray", "local", n=30)))
    assert (status, err) == (0, "")
    check_same(folder, whole)


@pytest.mark.slow
def test_what_the_cluster_cannot_do(nodes: Nodes, small_bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "a"
    for options, message in (
        (("--device", "cuda"), "--device cuda: no node of the Ray cluster has a GPU"),
        (("--threads", 9), "--threads 9: no node of the Ray cluster has so many processors, the largest has 1"),
        (("--batch-size", 10**6), "batch_size is 1000000, expected at most 4096"),
        (("--precision", "int4"), "): precision is 'int4', expected one that the bundle has"),
    ):
        status, out, err = ended(started(*command(small_bundle, folder, "--ray", nodes.address), *options))
        assert (status, out) == (2, "")
        assert message in err
        assert err.count("\n") == 1
    assert not folder.exists()


def test_addresses_that_are_none(
    small_bundle: Path, tmp_path: Path, fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "a"
    for address, message in (
        ("127.0.0.1:1", "--ray 127.0.0.1:1: nothing answers there"),
        ("ray://127.0.0.1:1", "--ray ray://127.0.0.1:1: nothing answers there"),
        ("here", "--ray here: expected auto, local, host:port or ray://host:port"),
    ):
        assert message in fails(2, *command(small_bundle, folder, "--ray", address))
    message = fails(2, *command(small_bundle, folder, "--ray", "auto", "--codes", tmp_path / "a.npz"))
    assert f"--ray divides the run: --codes {folder}/ writes a file of each shard" in message
    message = fails(2, *command(small_bundle, folder, "--ray", "auto", "--shard", "0/2"))
    assert "--shard: not allowed with argument --ray" in message
    assert "--ray applies to a folder of images" in fails(2, "sample", "--ray", "auto", "--out", tmp_path / "a.png")
    monkeypatch.setitem(sys.modules, "ray", None)
    message = fails(1, *command(small_bundle, folder, "--ray", "auto"))
    assert message == 'latentloop: error: a run on a Ray cluster needs ray: pip install "latentloop[ray]"\n'
    assert not folder.exists()


def test_ray_is_imported_only_if_it_is_asked_for(small_bundle: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from latentloop.cli.program import main; status = main(sys.argv[1:]);"
        "import latentloop.bulk.cluster.with_ray, latentloop.bulk.cluster.ray_cluster;"
        "sys.exit(status or 'ray' in sys.modules)"
    )
    arguments = map(str, command(small_bundle, tmp_path / "a", n=4))
    assert (
        subprocess.run([sys.executable, "-c", code, *arguments], stdout=subprocess.DEVNULL, timeout=60).returncode == 0
    )
