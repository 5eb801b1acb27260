"""Where memory is short, one level's prior is loaded at a time, and large images are decoded in smaller batches."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from latentloop import Bundle, BundleError, Sampler
from latentloop.bundles import memory
from latentloop.bundles.memory import sampling_memory
from latentloop.cli.program import main
from latentloop.environment import machine
from latentloop.sampling.sampler import runs_of


def sessions(bundle: Bundle) -> set[str]:
    """Returns the graphs that the bundle keeps loaded."""
    return {key[1] for key in bundle._caches[-1] if isinstance(key, tuple) and key[0] == "session"}


def test_one_level_at_a_time_gives_the_same_results(small_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundles = [Bundle.open(small_bundle) for _ in range(2)]
    samplers = [Sampler(bundle, "cpu", threads=1) for bundle in bundles]
    results = []
    for sampler, limit in zip(samplers, (None, 1), strict=True):
        monkeypatch.setattr(memory, "memory_limit", lambda limit=limit: limit)
        samples = sampler.sample(5, seeds=3, batch_size=2)
        results.append((samples, sampler.log_likelihood(samples.codes, samples.labels)))
    (samples, nats), (others, other_nats) = results
    assert np.array_equal(samples.images, others.images)
    for level in bundles[0].levels:
        assert np.array_equal(samples.codes[level.name], others.codes[level.name])
        assert np.array_equal(nats[level.name], other_nats[level.name])
    names = [level.name for level in bundles[0].levels]
    assert all(any(file.startswith(f"{name}.") for file in sessions(bundles[0])) for name in names)
    last = names[-1]
    assert {file.split(".")[0] for file in sessions(bundles[1])} == {last, "decoder"}
    assert list(runs_of(samplers[1]).backend._loops) == [last]  # type: ignore[attr-defined]


def test_large_images_are_encoded_and_decoded_in_smaller_batches(
    small_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler = Sampler(Bundle.open(small_bundle), "cpu", threads=1)
    images = np.random.default_rng(0).integers(0, 256, (7, *sampler.bundle.image_shape), np.uint8)
    by_three = [images[start : start + 3] for start in range(0, 7, 3)]
    codes = [sampler.encode(part) for part in by_three]
    decoded = [sampler.decode(part) for part in codes]
    height, width, _ = sampler.bundle.image_shape
    monkeypatch.setattr(memory, "CODEC_PIXELS", 3 * height * width + 1)
    together = sampler.encode(images)
    for name, values in together.items():
        assert np.array_equal(values, np.concatenate([part[name] for part in codes]))
    assert np.array_equal(sampler.decode(together), np.concatenate(decoded))
    monkeypatch.setattr(memory, "CODEC_PIXELS", 1)
    assert sampler.decode(together).shape == images.shape


def test_the_needs_count_weights_and_state(small_bundle: Path) -> None:
    bundle = Bundle.open(small_bundle)
    one, two, three = (sampling_memory(bundle, "float32", batch) for batch in (1, 2, 3))
    assert one.total == one.others + sum(one.levels.values())
    assert one.one_level == one.others + max(one.levels.values())
    assert two.total - one.total == three.total - two.total > 0
    assert sampling_memory(bundle, "int8", 1).total < one.total


def test_weights_that_cannot_be_read_are_named(small_bundle: Path, tmp_path: Path) -> None:
    bundle = Bundle.open(small_bundle)
    bundle.path = tmp_path
    for content in (b"", b"\x01", (2).to_bytes(8, "little") + b"[]", (9).to_bytes(8, "little") + b'{"a": {}}'):
        (tmp_path / bundle.manifest.weights).write_bytes(content)
        with pytest.raises(BundleError, match=bundle.manifest.weights):
            sampling_memory(bundle, "float32", 1)


def test_info_states_the_needs(
    small_bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(memory, "memory_limit", lambda: None)
    assert main(["info", str(small_bundle), "--json"]) == 0
    stated = json.loads(capsys.readouterr().out)["bundle"]["memory"]
    needed = sampling_memory(Bundle.open(small_bundle), "int8", 1)
    assert stated["int8"]["bytes"] == needed.total
    assert stated["int8"]["levels"] == needed.levels
    assert not stated["int8"]["one_level_at_a_time"]
    monkeypatch.setattr(memory, "memory_limit", lambda: 1)
    assert main(["info", str(small_bundle), "--json"]) == 0
    stated = json.loads(capsys.readouterr().out)["bundle"]["memory"]
    assert stated["int8"]["bytes"] == needed.one_level
    assert main(["info", str(small_bundle)]) == 0
    assert "the priors are loaded one after the other" in capsys.readouterr().out


def test_the_memory_of_a_container_is_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = tmp_path / "memory.max", tmp_path / "limit_in_bytes"
    monkeypatch.setattr(machine, "CGROUP_LIMITS", tuple(map(str, files)))
    whole = machine.memory_limit()
    assert whole is not None
    assert whole > 2**28
    files[0].write_text("max\n")
    assert machine.memory_limit() == whole
    files[1].write_text("1048576\n")
    assert machine.memory_limit() == 2**20
    files[1].write_text("9223372036854771712\n")  # what version 1 says without a limit
    assert machine.memory_limit() == whole
