"""Codes know their VQ-VAE: `decode` and `sample --given` refuse those of another one, and accept other priors."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import codes, run
from conftest import vqvae_checkpoint
from corrupted_bundles import read_manifest, replace_file

from latentloop import Bundle
from latentloop.errors import InputError
from latentloop.export.bundle import BundleSource, write_bundle
from latentloop.export.bundle.checks import check_source
from latentloop.export.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from latentloop.export.checkpoints.codes_digest import codes_digest
from latentloop.export.configuration import VqvaeConfig
from latentloop.io.codes_file import open_codes, write_codes

UNRECORDED = "does not record which VQ-VAE made its codes: those of another one have no meaning here"


@pytest.fixture
def bundle(small_bundle: Path, tmp_path: Path) -> Callable[..., Path]:
    """Returns copies of the small bundle whose manifest has other values; None removes a value."""

    def copy(name: str, **values: Any) -> Path:
        path = shutil.copytree(small_bundle, tmp_path / name)
        manifest = read_manifest(path) | values
        kept = {key: value for key, value in manifest.items() if value is not None}
        (path / "manifest.json").write_text(json.dumps(kept))
        return path

    return copy


def other_priors(path: Path) -> Path:
    """Changes the bundle's digest: other graphs of the same VQ-VAE."""
    manifest = read_manifest(path)
    graphs = manifest["levels"][0]["prior"]["graphs"]
    replace_file(path, graphs["row_int8"]["file"], (path / graphs["row"]["file"]).read_bytes())
    return path


@pytest.fixture
def encoded(small_bundle: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    path = tmp_path / "codes.npz"
    assert run("encode", photos, "--bundle", small_bundle, "--out", path) == 0
    capsys.readouterr()
    return path


def readers(file: Path, bundle: Path) -> list[tuple[object, ...]]:
    """The commands that read codes."""
    common = ("--bundle", bundle, "--force", "--out", file.with_name("out.png"))
    return [("decode", file, *common), ("sample", "--given", file, "--keep", "top", "--label", "bag", *common)]


def test_codes_of_another_vqvae_are_refused(
    encoded: Path, bundle: Callable[..., Path], fails: Callable[..., str], small_bundle: Path
) -> None:
    expected = Bundle.open(small_bundle).manifest.codes_sha256
    assert expected is not None
    for command in readers(encoded, other_priors(bundle("other", codes_sha256="0123456789abcdef"))):
        error = fails(2, *command)
        assert f"{encoded}: another VQ-VAE made the codes of top" in error
        assert (
            f"its codes_sha256 is {expected[:12]}…, the bundle's 0123456789ab…; --bundle must name a bundle of that"
            in error
        )


def test_codes_fit_other_priors_of_the_same_vqvae(
    encoded: Path, bundle: Callable[..., Path], small_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = other_priors(bundle("other"))
    first, second = (Bundle.open(path).manifest for path in (small_bundle, other))
    assert first.digest() != second.digest()
    for command in readers(encoded, other):
        assert run(*command) == 0
        assert capsys.readouterr().err == ""


def test_a_note_says_that_the_vqvae_is_not_recorded(
    encoded: Path, small_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = encoded.with_name("plain.npz")
    np.savez(plain, **codes(encoded))  # type: ignore[arg-type]
    for command in readers(plain, small_bundle):
        assert run(*command) == 0
        assert capsys.readouterr().err == f"latentloop: {plain} {UNRECORDED}\n"


def test_bundles_of_earlier_releases(
    encoded: Path, bundle: Callable[..., Path], small_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded = {"models": {"vqvae": {"codes_sha256": "0123"}}}
    assert Bundle.open(bundle("trained", codes_sha256=None, provenance=recorded)).manifest.codes_sha256 == "0123"
    for number, provenance in enumerate(({}, {"models": 5}, {"models": {"vqvae": {"codes_sha256": 5}}})):
        unknown = bundle(f"unknown-{number}", codes_sha256=None, provenance=provenance)
        assert Bundle.open(unknown).manifest.codes_sha256 is None
        for command in readers(encoded, unknown):  # the same files: the same digest
            assert run(*command) == 0
            assert capsys.readouterr().err == ""
    for command in readers(encoded, other_priors(unknown)):
        assert run(*command) == 0
        expected = f"{encoded} was made with another bundle, whose codes may have another meaning"
        assert capsys.readouterr().err == f"latentloop: {expected}\n"


def test_every_run_that_made_a_level_counts(tmp_path: Path) -> None:
    mine = {"bundle": "a", "codes_sha256": "b"}
    theirs: dict[str, Any] = {"bundle": "c", "codes_sha256": "d", "seeds": 3}
    level = np.zeros((1, 2, 2), np.int64)
    path = tmp_path / "a.npz"
    earlier = {"bottom": [mine, theirs]}
    write_codes(path, {"top": level, "bottom": level}, {}, origin=mine, earlier_origins=earlier)
    file = open_codes(path)
    assert file.check_origin(mine, ["top"]) == ""
    assert file.check_origin({"bundle": "other", "codes_sha256": "b"}, ["top"]) == ""
    with pytest.raises(InputError, match="another VQ-VAE made the codes of bottom"):
        file.check_origin(mine, ["top", "bottom"])
    assert file.check_origin(mine, ["top", "middle"]) == f"middle of {path} {UNRECORDED}"


def test_the_identity_survives_rounding_and_a_new_export(tmp_path: Path) -> None:
    vqvae = vqvae_checkpoint(image_channels=3)
    assert isinstance(vqvae.config, VqvaeConfig)
    expected = codes_digest(vqvae.config, vqvae.weights)
    source = BundleSource(vqvae, image=(16, 16), weights="float16")
    write_bundle(tmp_path / "bundle", source)
    rounded = check_source(source).rounded().source.vqvae
    assert codes_digest(vqvae.config, rounded.weights) != expected
    save_checkpoint(tmp_path / "rounded.safetensors", rounded, dtype="float16")
    again = replace(source, vqvae=load_checkpoint(tmp_path / "rounded.safetensors"), weights="float32")
    write_bundle(tmp_path / "again", again)
    for name in ("bundle", "again"):
        assert Bundle.open(tmp_path / name).manifest.codes_sha256 == expected
