"""The cache of codes: read if it fits, encoded again otherwise."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from tiny_training import SMALL

from latentloop.export.checkpoints.codes_digest import codes_digest
from latentloop.export.configuration import VqvaeConfig
from latentloop.export.data.codes import Levels
from latentloop.export.data.codes_cache import FORMAT, cache_key, cache_path, read_or_encode

COUNTS = {"training": 6, "held_out": 2}
KEY = cache_key("vqvae", "data", flip=True)


class _Encoder:
    """Returns random codes of two levels and records the calls."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __call__(self, part: str) -> Levels:
        self.calls.append(part)
        generator = np.random.default_rng(len(part))
        return [generator.integers(0, 16, (COUNTS[part], n, n)).astype(np.int16) for n in (2, 4)]


def _codes(path: Path, encoder: _Encoder, key: str = KEY) -> dict[str, Levels]:
    return read_or_encode(path, key, SMALL, 16, COUNTS, encoder)


def _assert_equal(codes: dict[str, Levels], expected: dict[str, Levels]) -> None:
    for part in COUNTS:
        for a, b in zip(codes[part], expected[part], strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_second_training_reads_the_codes(tmp_path: Path) -> None:
    path, encoder = cache_path(tmp_path / "vqvae.safetensors", KEY), _Encoder()
    assert path.name == f"vqvae.codes-{KEY[:12]}.safetensors"
    first = _codes(path, encoder)
    assert encoder.calls == ["training", "held_out"]
    _assert_equal(_codes(path, encoder), first)
    assert encoder.calls == ["training", "held_out"]
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def _sha256(tensors: dict[str, Any]) -> str:
    names = [f"{part}.{level}" for part in COUNTS for level in ("top", "bottom")]
    return hashlib.sha256(b"".join(tensors[name].tobytes() for name in names if name in tensors)).hexdigest()


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("training.top", lambda codes: codes[:5]),
        ("training.bottom", lambda codes: codes + np.int16(16)),
        ("held_out.bottom", lambda codes: codes - np.int16(16)),
        ("held_out.top", lambda codes: codes.astype(np.int32)),
        ("held_out.top", None),
    ],
)
def test_codes_that_do_not_fit_are_encoded_again(tmp_path: Path, name: str, change: object) -> None:
    path, encoder = tmp_path / "a.safetensors", _Encoder()
    first = _codes(path, encoder)
    tensors = load_file(path)
    if change is None:
        del tensors[name]
    else:
        assert callable(change)
        tensors[name] = np.ascontiguousarray(change(tensors[name]))
    save_file(tensors, path, metadata={"format": FORMAT, "key": KEY, "sha256": _sha256(tensors)})
    _assert_equal(_codes(path, encoder), first)
    assert len(encoder.calls) == 4
    _assert_equal(_codes(path, encoder), first)
    assert len(encoder.calls) == 4


@pytest.mark.parametrize("has_checksum", [True, False])
def test_codes_without_a_matching_checksum_are_encoded_again(tmp_path: Path, has_checksum: bool) -> None:
    path, encoder = tmp_path / "a.safetensors", _Encoder()
    first = _codes(path, encoder)
    with safe_open(path, framework="numpy") as opened:
        metadata = opened.metadata()
    tensors = load_file(path)
    assert metadata == {"format": FORMAT, "key": KEY, "sha256": _sha256(tensors)}
    if has_checksum:
        content, length = path.read_bytes(), sum(codes.nbytes for codes in tensors.values())
        path.write_bytes(content[:-length] + bytes(length))  # codes of zeros
    else:
        save_file(tensors, path, metadata={"format": FORMAT, "key": KEY})
    _assert_equal(_codes(path, encoder), first)
    assert len(encoder.calls) == 4


def test_a_damaged_file_or_another_key_means_encoding_again(tmp_path: Path) -> None:
    path, encoder = tmp_path / "a.safetensors", _Encoder()
    first = _codes(path, encoder)
    path.write_bytes(path.read_bytes()[:-8])
    _assert_equal(_codes(path, encoder), first)
    _assert_equal(_codes(path, encoder, cache_key("vqvae", "data", flip=False)), first)
    assert len(encoder.calls) == 6


def test_a_cache_that_cannot_be_written_is_not_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    encoder = _Encoder()
    _assert_equal(_codes(tmp_path / "file" / "a.safetensors", encoder), {part: _Encoder()(part) for part in COUNTS})
    assert "the next training encodes the images again" in capsys.readouterr().err


def test_every_input_changes_the_key() -> None:
    keys = {cache_key(*names, flip=flip) for names in (("a", "b"), ("b", "b"), ("a", "c")) for flip in (True, False)}
    assert len(keys) == 6


def test_the_codes_digest_depends_only_on_what_decides_codes() -> None:
    weights = {
        name: np.arange(4, dtype=np.float32)
        for name in ("encoders.0.conv.weight", "to_code.0.bias", "level_decoders.0.conv.bias", "codebooks.1.embedding",
                     "decoder.conv.weight", "upsamplers.0.0.weight")
    }  # fmt: skip
    config = VqvaeConfig()
    digest = codes_digest(config, weights)
    assert codes_digest(config, dict(reversed(weights.items()))) == digest
    assert codes_digest(VqvaeConfig(inplace=True), weights) != digest
    for name in weights:
        changed = codes_digest(config, {**weights, name: weights[name] + 1})
        assert (changed == digest) == name.startswith(("decoder.", "upsamplers.")), name
