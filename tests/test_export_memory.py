"""An export keeps only a small part of the weights in memory, sampling one level if it must; both state their needs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from random_models import PRIORS, plain_weights, random_prior, random_vqvae

from latentloop.cli.program import main
from latentloop.export.bundle import BundleSource, needs, write_bundle
from latentloop.export.bundle.checks import check_source
from latentloop.export.checkpoints.checkpoint import Checkpoint, save_checkpoint
from latentloop.export.checkpoints.lazy_arrays import LazyWeights, in_memory
from latentloop.export.configuration import PriorConfig, VqvaeConfig
from latentloop.export.graphs.builder import WEIGHTS_FILE
from latentloop.export.specification.rowstep_weights import arrange

KEPT = "latentloop.export.checkpoints.lazy_arrays.KEPT"

# Three priors of random weights, each written, then exported, without ever being in memory as a whole.
CHILD = """
import json, sys
from pathlib import Path
import torch
from latentloop.bench.machine.memory import peak, reset_peak
from latentloop.export.bundle import BundleSource, write_bundle
from latentloop.export.bundle.checks import check_source
from latentloop.export.bundle.needs import needs
from latentloop.export.configuration import PriorConfig, VqvaeConfig
from latentloop.export.layouts.reading import read_prior, read_vqvae
from random_checkpoints import save_random

folder, small = Path(sys.argv[1]), {"channels": 128, "residual_channels": 256, "codebook_size": 32}
torch.set_num_threads(1)

codes = {"condition_codes": 32, "condition_channels": 8, "condition_blocks": 1}
priors = {
    "top": PriorConfig(1, 1, blocks=4, residual_blocks=4, **small),
    "middle": PriorConfig(2, 2, blocks=4, residual_blocks=4, **small, **codes),
    "bottom": PriorConfig(4, 4, attention=False, blocks=4, residual_blocks=4, **small, **codes),
}
vqvae = VqvaeConfig(levels=3, channels=16, residual_channels=4, code_channels=4, codebook_size=32)
for name, config in priors.items():
    save_random(folder / f"{name}.safetensors", config)
save_random(folder / "vqvae.safetensors", vqvae)
results = {}
for weights in ("float32", "float16"):
    if not reset_peak():
        break
    before = peak()
    source = BundleSource(
        read_vqvae(folder / "vqvae.safetensors"), [read_prior(folder / f"{name}.safetensors") for name in priors],
        weights=weights,
    )
    write_bundle(folder / weights, source)
    results[weights] = {
        "level": (folder / "bottom.safetensors").stat().st_size,
        "used": peak() - before,
        "peak": peak(),
        "stated": needs(check_source(source)).memory,
        "disk": needs(check_source(source)).disk,
        "weights": (folder / weights / "weights.safetensors").stat().st_size,
    }
print(json.dumps(results))
"""


# Two images of that bundle, drawn one after the other, in this precision, with that much memory in the machine.
DRAW = """
import json, sys
from pathlib import Path
from latentloop import Bundle, Sampler
from latentloop.bench.machine.memory import peak, reset_peak
from latentloop.bundles import memory
from latentloop.bundles.memory import sampling_memory

path, precision, limit = sys.argv[1], sys.argv[2], int(sys.argv[3])
memory.memory_limit = lambda: limit
bundle = Bundle.open(path)
needed = sampling_memory(bundle, precision, 1)
reset_peak()
codes = Sampler(bundle, "cpu", 1, precision).sample(2, seeds=1, batch_size=1).codes
results = {"peak": peak(), "total": needed.total, "one_level": needed.one_level, "fit": needed.all_levels_fit}
print(json.dumps(results | {"codes": {name: values.tolist() for name, values in codes.items()}}))
"""


def results_of(program: str, *arguments: object) -> Any:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("exported")
    return folder, results_of(CHILD, folder)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_three_levels_are_drawn_in_less_memory_than_two_need(
    exported: tuple[Path, dict[str, Any]], precision: str
) -> None:
    folder, results = exported
    if not results:
        pytest.skip("the peak of memory cannot be reset")
    all_levels, one_level = (results_of(DRAW, folder / "float32", precision, limit) for limit in (2**40, 1))
    assert all_levels["fit"]
    assert not one_level["fit"]
    assert one_level["codes"] == all_levels["codes"]
    assert 0.8 * all_levels["total"] < all_levels["peak"] < 1.2 * all_levels["total"]
    assert 0.8 * one_level["one_level"] < one_level["peak"] < 1.2 * one_level["one_level"]
    assert one_level["peak"] < 0.6 * all_levels["peak"]


@pytest.mark.slow
def test_three_levels_are_exported_in_less_memory_than_two_need(exported: tuple[Path, dict[str, Any]]) -> None:
    _, results = exported
    if not results:
        pytest.skip("the peak of memory cannot be reset")
    for sizes in results.values():
        assert sizes["level"] > 150e6
        assert sizes["used"] < 2 * sizes["level"], sizes
        assert 0.5 * sizes["stated"] < sizes["peak"] < 1.1 * sizes["stated"], sizes
        assert sizes["disk"] == pytest.approx(sizes["weights"], rel=0.02)


def lazily(config: PriorConfig) -> Checkpoint:
    weights = plain_weights(random_prior(config))
    return Checkpoint(config, LazyWeights({name: in_memory(v.astype(np.float32)) for name, v in weights.items()}))


def arrays_in(value: Any) -> list[NDArray[Any]]:
    """Returns the arrays of a structure that are in memory."""
    if isinstance(value, np.ndarray):
        return [value]
    if isinstance(value, tuple):
        return [array for item in value for array in arrays_in(item)]
    return [array for item in vars(value).values() for array in arrays_in(item)] if is_dataclass(value) else []


@pytest.mark.parametrize("kept", [1 << 26, -1])
@pytest.mark.parametrize("name", PRIORS)
def test_the_weights_that_are_counted_are_those_in_memory(
    name: str, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(KEPT, kept)
    checkpoint = lazily(PRIORS[name])
    arranged = arrange(PRIORS[name], checkpoint.weights, np.float32, lazy=True)
    count = sum(array.size for array in arrays_in(arranged) if array is not arranged.background)
    c = PRIORS[name]
    zeros = (c.reach * c.kernel + c.reach) * c.channels  # the tables' rows for no code
    taps_of_both = c.reach * c.reach * c.codebook_size * c.channels  # summed in a table
    biases = c.blocks * c.channels if c.attention else 0  # summed
    assert needs.resident(checkpoint) == count - zeros + taps_of_both + biases


def test_the_command_states_large_needs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = VqvaeConfig(bottom_stride=4, channels=2, residual_channels=1, code_channels=1, codebook_size=2)
    save_checkpoint(tmp_path / "v.safetensors", Checkpoint(config, plain_weights(random_vqvae(config))))
    command = ["export", f"--vqvae={tmp_path / 'v.safetensors'}", "--image=16"]
    assert main([*command, f"--out={tmp_path / 'small'}"]) == 0
    assert "needs" not in capsys.readouterr().err
    monkeypatch.setattr(needs, "WORTH_SAYING", 0)
    assert main([*command, f"--out={tmp_path / 'large'}"]) == 0
    assert "this export needs about 0.6 GB of memory and 0.0 GB of disk space" in capsys.readouterr().err


def test_the_disk_space_is_that_of_the_files(tmp_path: Path) -> None:
    weights = plain_weights(random_vqvae(VqvaeConfig()))
    vqvae = Checkpoint(VqvaeConfig(), weights)
    for stored in ("float32", "float16"):
        source = BundleSource(vqvae, image=(16, 16), weights=stored)
        stated = needs.needs(check_source(source))
        write_bundle(tmp_path / stored, source)
        assert stated.disk == pytest.approx((tmp_path / stored / WEIGHTS_FILE).stat().st_size, rel=0.02)
        saved = needs.needs(check_source(source), saves=True)
        assert saved.disk == 2 * stated.disk
        measured = needs.needs(check_source(source), measures=True)
        assert measured.memory >= stated.memory
