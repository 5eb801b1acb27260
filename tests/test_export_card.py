"""The model card of `latentloop export --card`: what it says, its picture, and that the bundle stays the same."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import pixels, run
from common_layout_files import random_vqvae as common_vqvae
from common_layout_files import save
from conftest import CLASS_NAMES, vqvae_checkpoint
from huggingface_hub import ModelCard
from hypothesis import given
from hypothesis import strategies as st
from random_models import CLASSES, SMALL, plain_weights, random_prior, random_vqvae
from test_gpu_bundles import BUNDLES

from latentloop import Bundle, BundleError, Sampler
from latentloop.export.bundle import BundleSource
from latentloop.export.bundle.card_picture import card_picture
from latentloop.export.bundle.checks import check_source
from latentloop.export.bundle.markdown_text import escaped
from latentloop.export.bundle.writing import write_checked_bundle
from latentloop.export.checkpoints.checkpoint import Checkpoint
from latentloop.export.configuration import PriorConfig, VqvaeConfig
from latentloop.images import grid
from latentloop.io.card_mark import is_unedited, marked

TRAINED = Path(__file__).parent / "trained"
FILES = tuple(f"--{part}={TRAINED}/current-{part}.safetensors" for part in ("vqvae", "top", "bottom"))


@pytest.fixture(scope="module")
def planets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "planets"
    assert run("data", "planets", "--train", 1, "--test", 2, "--seed", 7, "--processes", 1, "--out", folder) == 0
    return folder


@pytest.fixture(scope="module")
def exported(planets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained model with figures, in float16."""
    out = tmp_path_factory.mktemp("exported") / "bundle"
    assert run("export", *FILES, "--data", planets, "--weights=float16", "--licence=MIT", "--card", "--out", out) == 0
    return out


def card_of(bundle: Path) -> str:
    content = (bundle / "README.md").read_bytes()
    assert is_unedited(content)
    return content.decode()


def front_matter(bundle: Path) -> dict[str, Any]:
    """Returns the front matter as a hub's own library reads it."""
    return dict(ModelCard.load(bundle / "README.md").data.to_dict())


def section(card: str, title: str) -> str:
    match = re.search(rf"^## {title}\n\n(.*?)(?=^## |^<!-- )", card, re.MULTILINE | re.DOTALL)
    assert match is not None
    return match[1]


def without_card(bundle: Path) -> dict[str, bytes]:
    names = ("README.md", "samples.png")
    return {file.name: file.read_bytes() for file in bundle.iterdir() if file.name not in names}


def test_the_card_describes_the_model(exported: Path) -> None:
    assert front_matter(exported) == {
        "license": "mit",
        "library_name": "latentloop",
        "pipeline_tag": "unconditional-image-generation",
        "tags": ["vq-vae-2", "pixelsnail", "image-generation", "onnx"],
    }
    card, manifest = card_of(exported), Bundle.open(exported).manifest
    assert "# VQ-VAE-2 for RGB images of 32 x 32 pixels" in card
    model = section(card, "Model")
    for level in manifest.levels:
        assert f"| {level.name} | {level.height} x {level.width} | {level.codebook_size} | " in model
    assert "stored as float16" in model
    assert "- Classes: none\n" in model
    files = section(card, "Files")
    for file in exported.iterdir():
        if file.name not in ("README.md", "samples.png"):
            assert f"| `{file.name}` | {file.stat().st_size:,} |" in files
    assert f"| all | {sum(map(len, without_card(exported).values())):,} |" in files
    origin = section(card, "Origin")
    for name, model_of in manifest.provenance["models"].items():
        assert f"| {name} | {model_of['file']} | {model_of['sha256'][:11]}… | LatentLoop |" in origin
    assert section(card, "Licence").strip() == "MIT"


def test_parameters_are_those_of_the_checkpoints(exported: Path) -> None:
    from latentloop.export.checkpoints.checkpoint import load_checkpoint

    model = section(card_of(exported), "Model")
    counts = [
        sum(value.size for value in load_checkpoint(TRAINED / f"current-{part}.safetensors").weights.values())
        for part in ("top", "bottom", "vqvae")
    ]
    for count in counts[:2]:
        assert f" | {count:,} |\n" in model
    assert f"{counts[2]:,} parameters of the VQ-VAE; {sum(counts):,} parameters in all" in model


def test_figures_are_those_that_data_measured(
    planets: Path, exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("export", *FILES, "--data", planets, "--out", tmp_path / "plain") == 0
    printed = capsys.readouterr().out
    figures = section(card_of(exported), "Figures")
    assert "before the weights were rounded to float16" in figures
    for part, unit in (("reconstruction", "dB"), ("top prior", "bits per code"), ("bottom prior", "bits per code")):
        match = re.search(rf"^(\d+) images: {part}: ([\d.]+) {unit}", printed, re.MULTILINE)
        assert match is not None
        assert re.search(rf"^\| {part} \| {match[2]} {unit}.* \| {match[1]} \|$", figures, re.MULTILINE)


def test_the_bundle_is_the_same_with_a_card(planets: Path, exported: Path, tmp_path: Path) -> None:
    options = ("--data", planets, "--weights=float16", "--licence=MIT")
    assert run("export", *FILES, *options, "--out", tmp_path / "plain") == 0
    assert without_card(exported) == without_card(tmp_path / "plain")
    assert set(without_card(exported)) == {file.name for file in (tmp_path / "plain").iterdir()}
    assert Bundle.open(exported).manifest == Bundle.open(tmp_path / "plain").manifest
    assert run("verify", exported, "--device", "cpu") == 0


def test_the_picture_is_what_the_bundle_draws(exported: Path) -> None:
    images = Sampler(Bundle.open(exported), "cpu").sample(64, seeds=0).images
    np.testing.assert_array_equal(pixels(exported / "samples.png"), grid(images, 8, scale=2))
    caption = "Samples: seeds 0 to 63, temperature 1, on a CPU in float32."
    assert f"![Samples](samples.png)\n\n{caption}\n" in card_of(exported)


def test_the_code_on_the_card_runs(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    use = section(card_of(exported), "Use")
    code = re.findall(r"```python\n(.*?)```", use, re.DOTALL)
    exec(code[0].replace("hf://OWNER/NAME", str(exported)), {})
    assert pixels(tmp_path / "four.png").shape == (2 * 34 - 2, 2 * 34 - 2, 3)
    shell = re.findall(r"```sh\n(.*?)```", use, re.DOTALL)[0].splitlines()
    assert shell[0] == 'pip install "latentloop[hub]"'
    assert run(*shell[1].replace("hf://OWNER/NAME", str(exported)).split()[1:]) == 0


def test_without_data_the_card_has_no_figures(tmp_path: Path) -> None:
    assert run("export", *FILES, "--card", "--out", tmp_path / "bundle") == 0
    card = card_of(tmp_path / "bundle")
    assert section(card, "Figures").startswith("None were measured")
    assert "bits per code" not in card
    assert front_matter(tmp_path / "bundle")["license"] == "unknown"
    assert section(card, "Licence").startswith("Unknown")


@pytest.mark.parametrize("has_data", [True, False])
def test_a_codec_shows_reconstructions_of_data(has_data: bool, planets: Path, tmp_path: Path) -> None:
    out, photos = tmp_path / "codec", tmp_path / "photos"
    options = ("--data", planets) if has_data else ()
    assert run("export", FILES[0], *options, "--image", "32x32", "--card", "--out", out) == 0
    card = card_of(out)
    assert front_matter(out) == {
        "license": "unknown",
        "library_name": "latentloop",
        "tags": ["vq-vae-2", "image-compression", "onnx"],
    }
    assert (out / "samples.png").exists() == ("![Reconstructions](samples.png)" in card) == has_data
    assert "no prior: its codes must be given" in section(card, "Model")
    if has_data:
        picture = pixels(out / "samples.png")
        assert picture.shape[0] == 2 * (2 * 32 + 2) - 2
        originals, decoded = picture[:64].astype(float), picture[66:].astype(float)
        assert 0 < np.abs(originals - decoded).mean() < 25
    photos.mkdir()
    shutil.copy(next(planets.rglob("*.png")), photos / "1.png")
    code = re.findall(r"```python\n(.*?)```", card, re.DOTALL)[0].replace("hf://OWNER/NAME", str(out))
    exec(code.replace('"photos/"', repr(str(photos))).replace('"four.png"', repr(str(tmp_path / "4.png"))), {})


def test_the_layout_of_another_implementation_is_named(tmp_path: Path) -> None:
    file = save(tmp_path / "vq|v*ae.pt", common_vqvae())
    assert run("export", "--vqvae", file, "--image", "32x32", "--vqvae-inplace", "--card", "--out", tmp_path / "b") == 0
    origin = section(card_of(tmp_path / "b"), "Origin")
    layout = Bundle.open(tmp_path / "b").manifest.provenance["models"]["vqvae"]["layout"]
    assert r"| vqvae | vq\|v\*ae.pt | " in origin
    assert f"{layout}, the older forward pass (in place) |\n" in origin


def source_of(priors: list[PriorConfig | None], classes: tuple[str, ...], **options: Any) -> BundleSource:
    config = VqvaeConfig(
        levels=len(priors), bottom_stride=2, channels=16, residual_channels=8, code_channels=8, codebook_size=11
    )
    vqvae = Checkpoint(config, plain_weights(random_vqvae(config)))
    checkpoints = [None if each is None else Checkpoint(each, plain_weights(random_prior(each))) for each in priors]
    names = classes if any(each and each.classes for each in priors) else ()
    return BundleSource(vqvae, checkpoints, classes=names, **options)


def write(path: Path, source: BundleSource) -> str:
    write_checked_bundle(path, check_source(source).rounded(), card=())
    return card_of(path)


@pytest.mark.parametrize("name", BUNDLES)
def test_every_kind_of_bundle_has_a_card(name: str, tmp_path: Path) -> None:
    card = write(tmp_path / "bundle", source_of(BUNDLES[name], CLASS_NAMES))
    bundle = Bundle.open(tmp_path / "bundle")
    can_draw = all(level.has_prior for level in bundle.levels)
    assert (tmp_path / "bundle" / "samples.png").exists() == can_draw
    assert front_matter(tmp_path / "bundle").get("pipeline_tag") == (
        "unconditional-image-generation" if can_draw else None
    )
    for level in bundle.levels:
        assert f"| {level.name} | {level.height} x {level.width} | 11 | " in card
    assert ("Samples, a row each: coat, bag, boot; seeds 0 to 23," in card) == bool(bundle.classes)
    assert ("- Classes: 3: coat, bag, boot\n" in card) == bool(bundle.classes)
    if bundle.classes:
        images = Sampler(bundle, "cpu").sample(24, labels=np.repeat([0, 1, 2], 8), seeds=0).images
        scale = -(-64 // bundle.image_shape[0])
        np.testing.assert_array_equal(pixels(tmp_path / "bundle" / "samples.png"), grid(images, 8, scale))


def test_a_grey_model(tmp_path: Path) -> None:
    source = replace(source_of([PriorConfig(4, 4, **SMALL)], ()), vqvae=vqvae_checkpoint(1), image=(16, 16))
    card = write(tmp_path / "bundle", replace(source, priors=()))
    assert "for grey images of 16 x 16 pixels" in card


def test_many_classes_and_slow_models_get_fewer_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many = {**CLASSES, "classes": 300}
    names = tuple(f"class {number}" for number in range(300))
    source = source_of([PriorConfig(4, 4, **{**SMALL, **many})], names)
    card = write(tmp_path / "bundle", source)
    assert "Samples, 8 of 300 classes, a row each: class 0, class 42," in card
    assert "class 99, and 200 more" in card
    checked = check_source(source)
    prior = checked.priors[0]
    assert prior is not None
    work = 2.0 * sum(value.size for value in prior.weights.values()) * 16  # of one image
    for affordable, drawn in ((20.0, 16), (3.0, 3), (0.0, 1)):
        monkeypatch.setattr("latentloop.export.inplace.check.BUDGET", work * affordable)
        picture = card_picture(tmp_path / "bundle", checked)
        assert picture is not None
        assert f"seeds 0 to {drawn - 1}, " in picture.caption


HOSTILE = (
    "# h\n---\nlicense: mit",
    "|a|b|\n|---|---|",
    "[x](javascript:alert(1))",
    "![x](http://e.x/p.png)",
    "<script>alert(1)</script>",
    "<!-- latentloop-card -->",
    "`code` ``` ~~~",
    "**b** _i_ $x$ &amp; www.e.x http://e.x a@e.x",
    "\u202eevil\x1b[31m\x00",
    "1. one",
    "- two",
    "...\n...",
)


def test_texts_of_checkpoints_do_not_break_the_card(tmp_path: Path) -> None:
    prior = PriorConfig(4, 4, **{**SMALL, **CLASSES, "classes": len(HOSTILE)})
    source = source_of([prior], HOSTILE, licence="\n".join(HOSTILE))
    provenance = {"file": HOSTILE[1], "sha256": HOSTILE[4], "layout": HOSTILE[2], "size": 8}
    top = source.priors[0]
    assert top is not None
    source = replace(source, priors=[replace(top, provenance=provenance)])
    card = write(tmp_path / "bundle", source)
    assert front_matter(tmp_path / "bundle") == {
        "license": "other",
        "library_name": "latentloop",
        "pipeline_tag": "unconditional-image-generation",
        "tags": ["vq-vae-2", "pixelsnail", "image-generation", "onnx"],
    }
    assert card.count("\n---\n") == 1
    lines = card.splitlines()
    assert [line for line in lines if line.startswith("#")] == [
        "# VQ-VAE-2 for RGB images of 8 x 8 pixels",
        *(f"## {title}" for title in ("Model", "Figures", "Use", "Files", "Origin", "Licence")),
    ]
    plain = re.sub(r"```.*?```", "", card, flags=re.DOTALL)
    plain = re.sub(r"\\[!-/:-@\[-`{-~]", "", plain)  # escaped characters
    assert re.findall(r"!?\[[^]]*\]\([^)]*\)", plain) == ["![Samples](samples.png)"]
    assert re.findall(r"<[^>]*>", plain) == [lines[-1]]
    assert "http:" not in plain
    assert all(line.count("|") in (0, 3, 4, 5) for line in plain.splitlines())
    assert card.replace("\n", "").isprintable()


@given(st.text(max_size=60))
def test_escaped_text_reads_as_it_was(text: str) -> None:
    line = escaped(text)
    assert line.isprintable()
    shown = re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", line)
    if text.isprintable():
        assert shown == " ".join(text.split())
    bare = re.sub(r"\\[!-/:-@\[-`{-~]", "", line)
    assert not set(bare) & set("`*_[]()<>|~&@$#{}^")
    assert not re.match(r"[-+=]|\d+[.)]", line)


def test_long_texts_are_cut() -> None:
    assert escaped("x" * 300) == "x" * 199 + "…"


def test_force_replaces_a_bundle_with_a_card_but_no_edited_card(
    exported: Path, tmp_path: Path, fails: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = shutil.copytree(exported, tmp_path / "bundle")
    command = ("export", FILES[0], "--image", "32x32", "--force", "--out", bundle)
    card = bundle / "README.md"
    original = card.read_bytes()
    for content in (original + b"\n", original.replace(b"RGB", b"my"), b"# My notes\n", b"", marked("a")[:-1]):
        card.write_bytes(content)
        assert f"{bundle} also holds README.md" in fails(1, *command)
        assert card.read_bytes() == content
    card.write_bytes(original)
    picture = (bundle / "samples.png").read_bytes()
    (bundle / "samples.png").write_bytes(b"my picture")
    assert f"{bundle} also holds samples.png" in fails(1, *command)
    (bundle / "samples.png").write_bytes(picture)
    assert run(*command, "--card") == 0
    assert "no prior" in card_of(bundle)
    assert not (bundle / "samples.png").exists()
    assert run(*command) == 0
    assert not card.exists()


def test_nothing_is_written_if_the_card_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: Callable[..., str]
) -> None:
    def fail(*_: object) -> None:
        raise BundleError("does not run here")

    monkeypatch.setattr("latentloop.export.bundle.card.card_picture", fail)
    assert "does not run here" in fails(1, "export", *FILES, "--card", "--out", tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []
