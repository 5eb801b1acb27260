"""Training in two processes equals training in one, up to rounding; a single process is not affected."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_training import PRIOR, VQVAE, parse, write_blobs

from latentloop.errors import InputError
from latentloop.export.checkpoints.checkpoint import load_checkpoint
from latentloop.export.commands import train
from latentloop.export.train import distributed
from latentloop.export.train.codebook import EmaCodebook

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "latentloop"]


def _train(command: str, folder: Path, out: Path, *, processes: int, **paths: Path) -> None:
    paths = {"data": folder, **paths, "out": out}
    if processes == 1:
        assert train.run(parse(command, **paths)) == 0
        return
    options = [part for name, value in paths.items() for part in (f"--{name}", str(value))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*TORCHRUN, "train", *command.split(), *options], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1  # one process reports


@pytest.mark.slow
def test_two_processes_train_the_same_weights_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With restarts of codes, and with a data set that the leader encodes for the other process."""
    restarts: list[int] = []
    original = EmaCodebook.restart_unused

    def restart_unused(self: EmaCodebook, vectors: torch.Tensor, generator: torch.Generator) -> int:
        restarts.append(original(self, vectors, generator))
        return restarts[-1]

    monkeypatch.setattr(EmaCodebook, "restart_unused", restart_unused)
    folder = write_blobs(tmp_path / "images")
    vqvae = tmp_path / "one" / "vqvae.safetensors"
    commands: tuple[tuple[str, str, dict[str, Path]], ...] = (
        ("vqvae", f"{VQVAE} --steps 14 --flip --ema-decay 0.5", {}),
        ("top", f"{PRIOR} --level top --steps 8 --dropout 0 --weight-decay 0.1", {"vqvae": vqvae}),
    )
    for name, command, paths in commands:
        outs = [tmp_path / parent / f"{name}.safetensors" for parent in ("one", "two")]
        for processes, out in enumerate(outs, 1):
            for cache in vqvae.parent.glob("*.codes-*"):
                cache.unlink()
            _train(command, folder, out, processes=processes, **paths)
        one, two = (load_checkpoint(out).weights for out in outs)
        for key, value in one.items():
            np.testing.assert_allclose(two[key], value, rtol=1e-3, atol=1e-4, err_msg=key)
        assert not list((tmp_path / "two").glob("*.state"))
    assert sum(restarts) > 0


def test_a_single_process_is_not_affected() -> None:
    vectors, indices = torch.arange(12.0).view(6, 2), torch.tensor([4, 0])
    torch.testing.assert_close(distributed.gather_rows(vectors, indices), vectors[indices])
    torch.testing.assert_close(distributed.local_part(vectors), vectors)
    network = torch.nn.Linear(2, 2)
    assert distributed.data_parallel(network, "cpu") is network
    assert (distributed.rank(), distributed.world_size(), distributed.is_leader()) == (0, 1, True)


def test_parts_and_rows_of_three_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parts of all processes are the batch, and every row is gathered from the process that has it."""
    batch, indices = torch.arange(12.0).view(6, 2), torch.tensor([5, 0, 2, 3])
    monkeypatch.setattr(distributed, "world_size", lambda: 3)
    parts, rows = [], []
    for rank in range(3):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        parts.append(distributed.local_part(batch))
        rows.append(distributed.gather_rows(parts[-1], indices))
    torch.testing.assert_close(torch.cat(parts), batch)
    torch.testing.assert_close(torch.stack(rows).sum(0), batch[indices])


def test_batches_and_devices_that_do_not_fit_the_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(distributed, "world_size", lambda: 3)
        with pytest.raises(InputError, match="batch is 8, expected a multiple of the 3 processes"):
            distributed.check_batch(8)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(InputError, match="device is 'cuda:1', expected cpu or cuda"):
        distributed.join("cuda:1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(InputError, match="process 2 on 1 GPUs; start fewer"):
        distributed.join("cuda")
