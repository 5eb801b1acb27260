"""Workers that make shards for another process, without a cluster; and shards that arrive from them."""

from __future__ import annotations

import os
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from killed_runs import digests

from latentloop import Bundle, InputError, Sampler
from latentloop.bulk.cluster.worker import Worker, WorkerPlan, WorkerShard, check_machine, packed
from latentloop.bulk.journal import create_journal, open_journal
from latentloop.bulk.sample_run import CodesOutput, SampleRun
from latentloop.bulk.shards import Shards
from latentloop.bulk.writing import MadeShard, write_made, write_run
from latentloop.errors import OutputError
from latentloop.io.files import scratch_directory
from latentloop.sampling.sample_request import SampleRequest

N = 7


@pytest.fixture
def plan(small_bundle: Path) -> WorkerPlan:
    digest = Bundle.open(small_bundle).manifest.origin()["bundle"]
    return WorkerPlan(str(small_bundle), digest, "cpu", 1, "float32", is_encoded=True, instruction_set=None)


def run_of(bundle: Bundle, format: str, **settings: Any) -> SampleRun:
    request = SampleRequest.validated(bundle.manifest, N, seeds=3, settings=settings)
    return SampleRun(request, 2, Shards(N, 3), format, codes=CodesOutput({"top": {}, "bottom": {}}, {}))


def made(shard: WorkerShard) -> MadeShard:
    return MadeShard(shard.record, [content.data for content in shard.contents])


@pytest.mark.parametrize("format", ["png", "npz", "tar"])
def test_a_worker_makes_the_files_of_a_local_run(
    plan: WorkerPlan, small_bundle: Path, tmp_path: Path, format: str
) -> None:
    bundle = Bundle.open(small_bundle)
    run, fields = run_of(bundle, format), {"n": N, "shard_size": 3}
    with_journal = {name: create_journal(tmp_path / name, fields) for name in ("here", "there")}
    sampler = Sampler(bundle, "cpu", 1)
    assert write_run(run.on(sampler), tmp_path / "here", with_journal["here"], ()) == N
    worker = Worker(plan)
    worker.check(run)
    machine = worker.machine()
    assert (machine.device, machine.threads, machine.default_batch_size) == ("cpu", 1, 16)
    expected = {**machine.fields, "batch_size": 2}
    sent = pickle.loads(packed(run))
    shards = [worker.make(sent, expected, number, listed=True) for number in range(3)]
    assert [seed for shard in shards for seed in shard.drawn.seeds] == list(range(3, 3 + N))
    assert write_made(map(made, shards), tmp_path / "there", with_journal["there"]) == N
    for each in with_journal.values():
        each.close()
    assert digests(tmp_path / "there") == digests(tmp_path / "here")


def test_a_worker_with_another_bundle_or_machine_is_refused(
    plan: WorkerPlan, small_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"is another bundle, its digest is .*…, expected 0+…: give every machine"):
        Worker(replace(plan, digest="0" * 64)).machine()
    worker = Worker(plan)
    fields = {**worker.machine().fields, "batch_size": 2}
    run = run_of(Bundle.open(small_bundle), "npz")
    for change, message in (
        ({"instruction_set": "another"}, "instruction_set is .* here, and 'another' in the run"),
        ({"threads": 2}, "threads is 1 here, and 2 in the run: give all machines the same"),
        ({"device": "cuda:0"}, "device is 'cpu' here, and 'cuda:0' in the run"),
        ({"packages": {**fields["packages"], "pillow": "1"}}, "packages.pillow is '.*' here, and '1' in the run"),
    ):
        with pytest.raises(InputError, match=message):
            worker.make(run, {**fields, **change}, 0, listed=False)


@pytest.mark.parametrize(
    ("run", "own", "best"), [("avx512", "avx2", "avx2"), ("avx2", "avx512", "avx2"), ("portable", "avx2", "portable")]
)
def test_the_remedy_names_an_instruction_set_that_all_have(run: str, own: str, best: str) -> None:
    with pytest.raises(
        InputError, match=f"is '{own}' here, and '{run}' in the run: .* LATENTLOOP_INSTRUCTION_SET={best},"
    ):
        check_machine({"instruction_set": run}, {"instruction_set": own})


def test_the_instruction_set_of_the_process_that_starts_them(plan: WorkerPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTLOOP_INSTRUCTION_SET", "portable")
    chosen = WorkerPlan.passed_on()
    monkeypatch.delenv("LATENTLOOP_INSTRUCTION_SET")
    assert (chosen, WorkerPlan.passed_on()) == ("portable", None)
    Worker(replace(plan, instruction_set=chosen)).machine()
    assert os.environ["LATENTLOOP_INSTRUCTION_SET"] == "portable"
    monkeypatch.setenv("LATENTLOOP_INSTRUCTION_SET", "portable")  # so that it is removed at the end


def test_a_run_is_sent_in_little_space(small_bundle: Path) -> None:
    manifest, n = Bundle.open(small_bundle).manifest, 100_000
    given = np.broadcast_to(np.arange(24).reshape(1, 4, 6) % 8, (n, 4, 6))
    request = SampleRequest.validated(
        manifest, n, seeds=0, labels=1, given={"top": given}, settings={"temperature": 0.5}, largest=n
    )
    run = SampleRun(request, 2, Shards(n, 100), "png")
    content = packed(run)
    assert len(content) < n * 8 * 2 + 50_000  # seeds and labels
    again: SampleRun = pickle.loads(content)
    part = slice(500, 503)
    for one, other in ((again.request.take(part), request.take(part)),):
        np.testing.assert_array_equal(one.given["top"], other.given["top"])
        np.testing.assert_array_equal(one.seeds, other.seeds)
        assert one.settings["bottom"].recorded() == other.settings["bottom"].recorded()
    assert again.request.given["top"].shape == (n, 4, 6)


def test_a_shard_that_was_damaged_on_its_way_is_refused(plan: WorkerPlan, small_bundle: Path, tmp_path: Path) -> None:
    worker, run = Worker(plan), run_of(Bundle.open(small_bundle), "npz")
    fields = {**worker.machine().fields, "batch_size": 2}
    shards = [worker.make(run, fields, number, listed=False) for number in (2, 0)]
    shards[1].contents[0] = shards[1].contents[0].copy()
    shards[1].contents[0][-1] ^= 1
    journal = create_journal(tmp_path / "a", {"n": N})
    with pytest.raises(OutputError, match="shard 0 was damaged on its way here"):
        write_made(map(made, shards), tmp_path / "a", journal)
    assert [record.shard for record in journal.records()] == [2]
    journal.close()
    open_journal(tmp_path / "a").close()
    assert sorted(digests(tmp_path / "a")) == ["codes-00002.npz", "journal.jsonl", "shard-00002.npz"]


def test_nothing_stays_in_the_folder_for_temporary_files(
    plan: WorkerPlan, small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    worker, run = Worker(plan), run_of(Bundle.open(small_bundle), "png")
    worker.make(run, {**worker.machine().fields, "batch_size": 2}, 1, listed=False)
    with scratch_directory():
        assert len(list(tmp_path.iterdir())) == 2  # the folder and its lock
    assert not list(tmp_path.iterdir())
