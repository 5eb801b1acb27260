"""One interface: every command that reads a bundle takes `--bundle`; unknown options name the nearest known one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import run

Fails = Callable[..., str]


@pytest.mark.parametrize("command", ["sample", "info", "verify"])
def test_a_bundle_is_an_option_or_a_plain_argument(
    command: str, small_bundle: Path, tmp_path: Path, fails: Fails, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--json", *(("-n", 1, "--force", "--out", tmp_path / "a.png") if command == "sample" else ()))
    for named in (("--bundle", small_bundle), (small_bundle,), (small_bundle, "--bundle", f"{small_bundle}/.")):
        assert run(command, *named, *options) == 0
        assert str(small_bundle) in capsys.readouterr().out
    message = f"two bundles are named, {small_bundle} and --bundle {tmp_path}: leave one of them out"
    assert message in fails(2, command, small_bundle, "--bundle", tmp_path, *options)


def test_engines_are_built_for_the_bundle_of_either_form(small_bundle: Path, tmp_path: Path, fails: Fails) -> None:
    for named in (("--bundle", tmp_path / "absent"), (tmp_path / "absent",)):
        assert f"{tmp_path}/absent: no such directory" in fails(1, "build-engines", *named)
    assert "two bundles are named" in fails(2, "build-engines", small_bundle, "--bundle", tmp_path)


@pytest.mark.parametrize("command", ["encode", "decode", "reconstruct"])
def test_a_bundle_among_the_inputs_is_an_error_that_names_the_option(
    command: str, small_bundle: Path, tmp_path: Path, fails: Fails, photos: Path
) -> None:
    out = ("--out", tmp_path / ("a.npz" if command == "encode" else "a.png"))
    expected = f"{small_bundle} is a bundle, expected an input of the command: "
    assert f"{expected}name it with --bundle {small_bundle}" in fails(2, command, small_bundle, *out)
    assert f"{expected}{small_bundle} is used" in fails(2, command, small_bundle, "--bundle", small_bundle, *out)
    assert f"{expected}name it" in fails(2, command, photos, small_bundle, *out)
    assert f"unexpected arguments: {photos};" in fails(2, "verify", small_bundle, photos)


def test_a_folder_of_images_may_hold_another_manifest(small_bundle: Path, photos: Path, tmp_path: Path) -> None:
    (photos / "manifest.json").write_text('{"format": "of another program"}')
    assert run("encode", photos, "--bundle", small_bundle, "--out", tmp_path / "a.npz") == 0


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("sample --labels ocean", "no option --labels, did you mean --label?; see `latentloop sample --help`"),
        ("sample --labels=ocean --out a.png", "no option --labels, did you mean --label?"),
        ("sample -labels ocean", "no option -labels, did you mean --label?"),
        ("sample --temp 1", "no option --temp, did you mean --temperature?"),
        ("sample --top_k 1", "no option --top_k, did you mean --top-k?"),
        ("sample --top 1", "no option --top, did you mean --top-k or --top-p?"),
        ("sample --quick", "no option --quick; see `latentloop sample --help`"),
        ("encode --resise a.png", "no option --resise, did you mean --resize?"),
        ("decode --bundel x a.npz", "no option --bundel, did you mean --bundle?"),
        ("reconstruct --skipbad a.png", "no option --skipbad, did you mean --skip-bad?"),
        ("verify --device=cpu --presicion int8", "no option --presicion, did you mean --precision?"),
        ("info --jsn", "no option --jsn, did you mean --json?"),
        ("export --vqvea x", "no option --vqvea, did you mean --vqvae?"),
        ("build-engines --flavor x", "no option --flavor, did you mean --flavour?"),
        ("data planets --trian 1", "no option --trian, did you mean --train?"),
        (
            "train vqvae --codebook 5",
            "no option --codebook, did you mean --codebook-size?; see `latentloop train vqvae",
        ),
        ("bench nearest --repeat 3", "no option --repeat, did you mean --repeats?; see `latentloop bench nearest"),
        ("bench --round 3", "no option --round, did you mean --rounds?; see `latentloop bench --help`"),
    ],
)
def test_unknown_options_name_the_nearest_one(command: str, message: str, fails: Fails) -> None:
    assert message in fails(2, *command.split())


def test_values_and_short_options_are_not_taken_for_unknown_options(
    small_bundle: Path, tmp_path: Path, fails: Fails, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ("sample", small_bundle, "--out", tmp_path / "a.png")
    assert run(*common, "-n2") == 0
    assert ": 2 images in " in capsys.readouterr().out
    assert "seeds holds -1, expected" in fails(2, *common, "--seed", "-1", "--force")
    assert "label '-x y' is not one of" in fails(2, *common, "--label", "-x y", "--force")
    assert "label '--labels' is not one of" in fails(2, *common, "--label=--labels", "--force")
    folder = shutil.copytree(small_bundle, tmp_path / "--labels")
    assert run("verify", "--", folder) == 0
