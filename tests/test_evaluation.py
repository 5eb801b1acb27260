"""The evaluation of a bundle on images: its figures, what is missing and why, the command, and its page."""

from __future__ import annotations

import json
import math
import re
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import PROGRAM, run
from numpy.typing import NDArray
from PIL import Image

from latentloop import Bundle, InputError, Sampler, evaluate
from latentloop.evaluation.pixel_errors import mean_squared_errors
from latentloop.evaluation.similarity import ssim

CLASSES = ("coat", "bag", "boot")


@pytest.fixture(scope="module")
def sampler(small_bundle: Path) -> Sampler:
    return Sampler(Bundle.open(small_bundle), "cpu", threads=1)


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Two images of each class of the small bundle, in folders of the classes' names."""
    for label, name in enumerate(CLASSES):
        (tmp_path / "data" / name).mkdir(parents=True)
        for index in range(2):
            noise = np.random.default_rng([label, index]).integers(0, 256, (32, 48, 3), np.uint8)
            Image.fromarray(noise).save(tmp_path / "data" / name / f"{index}.png")
    return tmp_path / "data"


def images_of(n: int) -> NDArray[np.uint8]:
    return np.random.default_rng(3).integers(0, 256, (n, 32, 48, 3), np.uint8)


def test_the_figures_are_those_of_the_sampler(sampler: Sampler) -> None:
    images, labels = images_of(5), np.array([0, 1, 2, 0, 1])
    evaluation = evaluate(sampler, images, labels)
    codes = sampler.encode(images)
    decoded, nats = sampler.decode(codes), sampler.log_likelihood(codes, labels)
    for level in evaluation.levels:
        bits = -nats[level.name] / math.log(2)
        assert level.bits is not None
        assert level.bits_by_position is not None
        assert np.allclose(level.bits, bits.sum((1, 2)))
        assert np.allclose(level.bits_by_position, bits.mean(0))
        assert level.bits_per_code == pytest.approx(bits.mean())
        assert level.counts.tolist() == np.bincount(codes[level.name].ravel(), minlength=11).tolist()
    total = -sum(float(values.sum()) for values in nats.values()) / math.log(2) / 5
    assert evaluation.bits_per_image == pytest.approx(total)
    assert evaluation.bits_per_dimension == pytest.approx(total / (32 * 48 * 3))
    assert np.array_equal(evaluation.squared_errors, mean_squared_errors(images, decoded))
    assert evaluation.ssim is not None
    assert np.array_equal(evaluation.ssim, ssim(images, decoded))
    predicted = [sampler.classify(each).probabilities.argmax(1) for each in (images, decoded)]
    assert evaluation.accuracy == pytest.approx((predicted[0] == labels).mean())
    assert evaluation.accuracy_of_reconstructions == pytest.approx((predicted[1] == labels).mean())
    assert evaluation.ms_ssim is None
    assert evaluation.missing == {"ms_ssim": "images of 32 x 48 pixels have too few scales, it needs 176 x 176"}
    by_class = evaluation.by_class()
    assert by_class is not None
    assert [figures["images"] for figures in by_class.values()] == [2, 2, 1]


def test_figures_do_not_depend_on_batches(sampler: Sampler) -> None:
    images = images_of(18)  # one batch of 16, and one of 2
    whole = evaluate(sampler, images, "bag")
    parts = [evaluate(sampler, images[i : i + 9], "bag") for i in (0, 9)]
    assert whole.bits_per_image == pytest.approx(np.mean([part.bits_per_image for part in parts]), rel=1e-5)
    assert np.allclose(whole.squared_errors, np.concatenate([part.squared_errors for part in parts]), atol=0.5)


def test_without_labels_the_classifier_finds_them(sampler: Sampler) -> None:
    images = images_of(4)
    evaluation = evaluate(sampler, images)
    found = sampler.classify(sampler.decode(sampler.encode(images))).probabilities.argmax(1)
    assert evaluation.labels is not None
    assert evaluation.labels.tolist() == found.tolist()
    assert evaluation.bits_per_image == pytest.approx(evaluate(sampler, images, found).bits_per_image)
    assert not evaluation.labels_are_given
    assert evaluation.accuracy is None
    assert evaluation.by_class() is None
    assert evaluation.missing["accuracy"] == "the images have no labels of the bundle's classes"


def test_a_codec_has_no_bits_and_no_classes(grey_bundle: Path) -> None:
    sampler = Sampler(Bundle.open(grey_bundle), "cpu", threads=1)
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 1), np.uint8)
    evaluation = evaluate(sampler, images)
    assert evaluation.bits_per_image is None
    assert evaluation.missing["bits"] == "the bundle has no prior for top, bottom"
    assert evaluation.missing["classes"] == "the bundle has no classes"
    assert evaluation.to_json()["levels"][0]["bits_per_code"] is None
    with pytest.raises(InputError, match="images are none"):
        evaluate(sampler, images[:0])


def test_a_sampler_is_needed(small_bundle: Path) -> None:
    wrong: list[Any] = [None, "path", Sampler, Bundle.open(small_bundle)]
    for value in wrong:
        with pytest.raises(InputError, match=r"^sampler is .*, expected a Sampler, such as Sampler\(bundle\)"):
            evaluate(value, images_of(1))


def json_of(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    assert run("evaluate", *arguments, "--json", "--threads", 1) == 0
    return json.loads(capsys.readouterr().out)


def test_the_command_takes_classes_from_folders(
    folders: Path, small_bundle: Path, sampler: Sampler, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = json_of(capsys, folders, "--bundle", small_bundle)
    files = sorted(folders.rglob("*.png"))
    images = np.stack([np.asarray(Image.open(file)) for file in files])
    expected = evaluate(sampler, images, [file.parent.name for file in files]).to_json()
    assert {name: summary[name] for name in expected} == expected
    assert summary["labels"] == "given"
    assert summary["classes"]["boot"]["images"] == 2
    other = json_of(capsys, folders, "--bundle", small_bundle, "--label", "bag")
    assert list(other["classes"]) == ["bag"]
    assert other["bits_per_image"] != summary["bits_per_image"]
    few = json_of(capsys, folders, "--bundle", small_bundle, "-n", 4)
    assert [few["classes"][name]["images"] for name in CLASSES] == [2, 1, 1]
    int8 = json_of(capsys, folders, "--bundle", small_bundle, "--precision", "int8")
    assert int8["bits_per_image"] != summary["bits_per_image"]


def test_the_command_prints_tables(folders: Path, small_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("evaluate", folders, "--bundle", small_bundle, "--threads", 1) == 0
    out = capsys.readouterr().out
    assert re.search(r"^bottom +8 x 12 +\d+ of 11 ", out, re.MULTILINE)
    assert re.search(r"^coat +2 ", out, re.MULTILINE)
    assert "not a likelihood of the pixels" in out
    assert "No MS-SSIM: images of 32 x 48 pixels have too few scales" in out


class Elements(HTMLParser):
    """The names of a page's elements, and the addresses that it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]


def test_the_page_holds_its_pictures_and_no_script(folders: Path, small_bundle: Path, tmp_path: Path) -> None:
    odd = folders / "coat" / "<script>alert(1)</script>.png"
    odd.parent.mkdir(exist_ok=True)
    (folders / "coat" / "0.png").rename(folders / "coat" / "a<b>&.png")
    page = tmp_path / "page.html"
    assert run("evaluate", folders, "--bundle", small_bundle, "--out", page, "--threads", 1) == 0
    text = page.read_text(encoding="utf-8")
    elements = Elements(text)
    assert "script" not in elements.names
    assert "b" not in elements.names
    assert "a&lt;b&gt;&amp;.png" in text
    assert elements.names.count("svg") == 2
    assert elements.names.count("img") == 2 * 2 * 6 + 2 * 2  # pairs twice, heat maps with their scales
    assert all(address.startswith("data:image/png;base64,") for address in elements.addresses)
    assert run("evaluate", folders, "--bundle", small_bundle, "--out", page) == 1  # it exists
    assert page.read_text(encoding="utf-8") == text


def test_wrong_uses(folders: Path, small_bundle: Path, tmp_path: Path, fails: Callable[..., str]) -> None:
    command = ("evaluate", folders, "--bundle", small_bundle)
    assert "expected .html" in fails(2, *command, "--out", tmp_path / "page.pdf")
    assert "scarf" in fails(2, *command, "--label", "scarf")
    message = "--label is given 2 times (coat, bag), expected one class for all images"
    assert message in fails(2, *command, "--label", "coat", "--label", "bag")
    assert "not a positive integer" in fails(2, *command, "-n", 0)
    assert "fp4" in fails(2, *command, "--precision", "fp4")
    assert "is a bundle" in fails(2, "evaluate", small_bundle)
    (folders / "bag" / "0.png").write_bytes(b"no image")
    assert "--skip-bad leaves them out" in fails(2, *command)
    assert not list(tmp_path.glob("*.pdf"))


def test_bad_images_can_be_left_out(folders: Path, small_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folders / "bag" / "0.png").write_bytes(b"no image")
    summary = json_of(capsys, folders, "--bundle", small_bundle, "--skip-bad")
    assert summary["images"] == 5
    assert len(summary["skipped"]) == 1


def test_ctrl_c_reports_on_the_finished_images(folders: Path, small_bundle: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    code = (
        "import signal, sys\n"
        "from latentloop.evaluation.evaluator import Evaluator\n"
        "from latentloop.cli import main\n"
        "add = Evaluator.add\n"
        "def stopped(*arguments):\n"
        "    result = add(*arguments)\n"
        "    signal.raise_signal(signal.SIGINT)\n"
        "    return result\n"
        "Evaluator.add = stopped\n"
        "from latentloop.sampling.sampler import Sampler\n"
        "Sampler.default_batch_size = 2\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    command = [PROGRAM.parent / "python", "-c", code, "evaluate", folders, "--bundle", small_bundle, "--out", page]
    done = subprocess.run([*map(str, command), "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 130, done.stderr
    summary = json.loads(done.stdout)
    assert summary["cancelled"]
    assert summary["images"] == 2
    assert "2 of 6 images were evaluated" in done.stderr
    text = page.read_text(encoding="utf-8")
    assert "2 images of 32 x 48 x 3; interrupted, 2 of 6 images;" in text
