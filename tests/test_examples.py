"""The Python scripts of examples/ run as a newcomer runs them, and write what they say."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from command_line import pixels
from embedded import installed_library

from latentloop import Bundle, Sampler, evaluate
from latentloop.images import grid, write_image

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPTS = {  # and the folders that they write by default
    "sample": "sampled",
    "export": "exported",
    "complete": "completed",
    "stream": "streamed",
    "evaluate": "evaluated",
    "embed": "embedded",
}
needs_export = pytest.mark.skipif(
    find_spec("torch") is None or find_spec("onnx") is None, reason='PyTorch is not installed: pip install ".[export]"'
)


def run_example(folder: Path, name: str, *arguments: object, status: int = 0, **variables: object) -> str:
    """Runs a script in a folder, with variables added to the environment, and returns what it prints."""
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), *map(str, arguments)]
    environment = {**os.environ, **{variable: str(value) for variable, value in variables.items()}}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == status, done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def sampler() -> Sampler:
    return Sampler(Bundle.default())


def test_every_script_is_short_and_on_the_page() -> None:
    page = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    scripts = {path.stem: path.read_text(encoding="utf-8") for path in EXAMPLES.glob("*.py")}
    assert {*SCRIPTS, "ray_data"} == set(scripts)  # tests/test_scaling.py runs ray_data.py
    for name, text in scripts.items():
        assert len(text.splitlines()) <= 40, name
        assert f"[`{name}.py`]({name}.py)" in page, name


@pytest.mark.parametrize("name", SCRIPTS)
def test_nothing_is_replaced(tmp_path: Path, name: str) -> None:
    folder = tmp_path / SCRIPTS[name]
    folder.mkdir()
    for arguments in ((), (folder,)):
        printed = run_example(tmp_path, name, *arguments, status=1)
        assert printed.endswith(f"{SCRIPTS[name]} exists: name another folder\n")
        assert "Traceback" not in printed
    assert not list(folder.iterdir())


def test_sample(tmp_path: Path, sampler: Sampler) -> None:
    printed = run_example(tmp_path, "sample")
    classes = sampler.bundle.classes
    expected = sampler.sample(8, labels=classes, seeds=1).images
    for index, (name, image) in enumerate(zip(classes, expected, strict=True)):
        np.testing.assert_array_equal(pixels(tmp_path / "sampled" / f"{name}-seed{index + 1}.png"), image)
    calm = sampler.sample(8, labels="gas", seeds=1, temperature={"bottom": 0.7}, top_p={"top": 0.9}).images
    np.testing.assert_array_equal(pixels(tmp_path / "sampled" / "calm-gas.png"), grid(calm, columns=4, scale=2))
    assert len(list((tmp_path / "sampled").iterdir())) == 9
    assert "wrote 8 images, uint8 [8, 64, 64, 3], to sampled\n" in printed


@pytest.mark.parametrize("own", [False, True], ids=["drawn", "own"])
def test_complete(tmp_path: Path, sampler: Sampler, own: bool) -> None:
    picture = sampler.sample(1, labels="ice" if own else "lava", seeds=5).images
    if own:  # its centre is used
        write_image(tmp_path / "wide.png", np.pad(picture[0], ((0, 0), (10, 10), (0, 0))))
    printed = run_example(tmp_path, "complete", "out", *(["wide.png"] if own else []))
    assert printed.startswith(f"the picture looks most like {'ice' if own else 'lava'}\n")
    assert "completed.png, keeping 32 of 64 top, 128 of 256 bottom codes" in printed
    assert "varied.png, keeping 64 of 64 top, 0 of 256 bottom codes" in printed

    rows = {}
    for name in ("completed", "varied"):
        written = pixels(tmp_path / "out" / f"{name}.png").astype(float)
        rows[name] = np.stack([written[:128:2, 130 * i : 130 * i + 128 : 2] for i in range(6)])  # [6, 64, 64, 3]
        np.testing.assert_array_equal(rows[name][0], picture[0])
        np.testing.assert_array_equal(rows[name][1], sampler.decode(sampler.encode(picture))[0])
        assert len({image.tobytes() for image in rows[name][2:]}) == 4
    changed = np.abs(rows["completed"][2:] - rows["completed"][1]).mean((2, 3))  # [4, 64], by row of pixels
    assert changed[:, :16].max() < 0.5
    assert changed[:, 40:].mean(1).min() > 2
    assert np.abs(rows["varied"][2:] - rows["varied"][1])[:, :32].mean((1, 2, 3)).min() > 2


def test_stream(tmp_path: Path, sampler: Sampler) -> None:
    printed = run_example(tmp_path, "stream", "out", 20)
    expected = [batch.images for batch in sampler.stream(20, labels="ocean", seeds=1, batch_size=16)]
    for number, images in enumerate(expected):
        np.testing.assert_array_equal(pixels(tmp_path / "out" / f"batch{number}.png"), grid(images, columns=4))
    mean = np.concatenate(expected).mean(axis=0)
    np.testing.assert_allclose(pixels(tmp_path / "out" / "mean.png"), mean, atol=0.5)
    assert printed.splitlines() == [
        "top level finished, after 0 of 20 images",
        "bottom level finished, after 0 of 20 images",
        "top level finished, after 16 of 20 images",
        "bottom level finished, after 16 of 20 images",
        "wrote 2 batches and the mean of 20 images to out",
    ]


def test_evaluate(tmp_path: Path, sampler: Sampler) -> None:
    samples = sampler.sample(16, seeds=1)
    printed = run_example(tmp_path, "evaluate")
    evaluation = evaluate(sampler, samples.images, samples.labels)
    assert f"top: {evaluation.levels[0].bits_per_code:.2f} bits per code" in printed
    assert f"PSNR {evaluation.psnr.mean():.1f} dB" in printed
    worst = samples.images[int(evaluation.psnr.argmin())]
    np.testing.assert_array_equal(pixels(tmp_path / "evaluated" / "worst.png")[:64, :64], worst)


def test_embed(tmp_path: Path) -> None:
    installed_library()
    if shutil.which("cc") is None:
        pytest.skip("cc is not installed")
    printed = run_example(tmp_path, "embed")
    assert printed.endswith("image.ppm: the same image as Python draws\n")
    image = pixels(tmp_path / "embedded" / "image.ppm")
    np.testing.assert_array_equal(image, Sampler(Bundle.default(), "cpu").sample(1, seeds=7).images[0])


def test_embed_says_what_is_missing_and_leaves_nothing(tmp_path: Path) -> None:
    message = "cc is missing: install a C compiler\n"
    assert run_example(tmp_path, "embed", status=1, PATH=tmp_path) == message
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "sitecustomize.py").write_text(
        "import os.path\nexists = os.path.lexists\n"
        "os.path.lexists = lambda path: exists(path) and not str(path).endswith('liblatentloop.so')\n"
    )
    (tmp_path / "cc").touch(mode=0o755)
    printed = run_example(tmp_path, "embed", status=1, PATH=tmp_path, PYTHONPATH=tmp_path / "modules")
    assert printed.startswith("latentloop: error: the C library was not built: install ")
    assert printed.count("\n") == 1
    assert not (tmp_path / "embedded").exists()


@pytest.mark.parametrize("missing", ["ray", "pandas", "pyarrow"])
def test_ray_data_says_what_is_missing(tmp_path: Path, missing: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(f"import sys\nsys.modules['{missing}'] = None\n")
    printed = run_example(tmp_path, "ray_data", status=1, PYTHONPATH=tmp_path)
    assert printed.startswith("Ray Data cannot be used (")
    assert printed.endswith('): pip install "ray[data]"\n')
    assert printed.count("\n") == 1


@pytest.mark.slow
@needs_export
def test_export(tmp_path: Path, sampler: Sampler) -> None:
    """The default bundle was made from the same checkpoints."""
    printed = run_example(tmp_path, "export")
    assert "exported/bundle: verified on cpu in float32\n" in printed
    assert "top: 8 x 8 codes, each one of 512\nbottom: 16 x 16 codes, each one of 512\n" in printed
    exported = Sampler(Bundle.open(tmp_path / "exported" / "bundle")).sample(8, seeds=1)
    picture = pixels(tmp_path / "exported" / "samples.png")
    np.testing.assert_array_equal(picture, grid(exported.images, columns=4, scale=2))
    for level, codes in sampler.sample(8, seeds=1).codes.items():
        np.testing.assert_array_equal(exported.codes[level], codes)


@needs_export
def test_export_says_what_is_wrong_and_leaves_nothing(tmp_path: Path) -> None:
    printed = run_example(tmp_path, "export", "out", "absent.pt", "top.pt", "bottom.pt", status=1)
    assert printed == "latentloop: error: cannot read absent.pt: No such file or directory\n"
    assert not (tmp_path / "out").exists()
