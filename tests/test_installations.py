"""Packages that are broken, missing or hidden: named as such, with what to do, and never blamed on a bundle."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import onnxruntime
import pytest

from latentloop import Bundle, MissingError, Sampler
from latentloop.backends.gpu.tensorrt_module import tensorrt_module
from latentloop.environment.packages import broken_import, import_package, refused, require, unusable, why_broken
from latentloop.export.tensorrt.builder import open_builder

ONNXRUNTIME = {
    "no __init__": ("", "no attribute 'InferenceSession'"),
    "no shared library": (
        "raise ModuleNotFoundError(\"No module named 'onnxruntime.capi.x'\", name='onnxruntime.capi.x')",
        "No module named 'onnxruntime.capi.x'",
    ),
    "no CUDA": ("raise OSError('libcudart.so.12: cannot open shared object file')", "OSError: libcudart.so.12: "),
    "several lines": ("raise RuntimeError('one\\ntwo')", "RuntimeError: one two"),
    "with a cause": (
        "try:\n    raise ImportError('libx.so.1')\nexcept ImportError as e:\n    raise ImportError('advice') from e",
        "ImportError: libx.so.1",
    ),
    "an exit": ("raise SystemExit(3)", "SystemExit: 3"),
    "too old": ("__version__ = '1.19.2'\nclass InferenceSession: pass", "it is 1.19.2, expected 1.20 or later"),
    "half of it": ("__version__ = '1.32.0'\nclass InferenceSession: pass", "no attribute 'SessionOptions'"),
    "another project": ("VERSION = 1", "no attribute 'InferenceSession'"),
}
REMEDY = "pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime"


def fake(folder: Path, name: str, text: str) -> None:
    """A package of that name."""
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text(text, encoding="utf-8")


def fake_torch(folder: Path) -> None:
    """One that is sound, for `info`: to import the real one takes long."""
    fake(folder, "torch", "")
    (folder / "torch" / "nn.py").touch()


def latentloop(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs a command in that working directory, whose packages come before those installed."""
    command = [sys.executable, "-m", "latentloop", *map(str, arguments)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=100)


@pytest.mark.parametrize("kind", ONNXRUNTIME)
def test_a_broken_onnxruntime_is_named(tmp_path: Path, kind: str) -> None:
    text, reason = ONNXRUNTIME[kind]
    fake(tmp_path, "onnxruntime", text)
    done = latentloop(tmp_path, "sample", "-n", "1", "--out", tmp_path / "x.png")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("latentloop: error: the installation of onnxruntime is broken (")
    assert reason in done.stderr
    assert f"{tmp_path / 'onnxruntime'} is imported, which no installed package brought: rename" in done.stderr
    assert REMEDY in done.stderr


def test_every_command_that_needs_onnxruntime_names_it(small_bundle: Path, photos: Path, tmp_path: Path) -> None:
    commands: dict[str, list[object]] = {
        "encode": [photos, "--bundle", small_bundle, "--out", "codes.npz"],
        "reconstruct": [photos, "--bundle", small_bundle, "--out", "x.png"],
        "decode": [tmp_path / "codes.npz", "--bundle", small_bundle, "--out", "y.png"],
        "verify": [small_bundle],
    }
    assert latentloop(tmp_path, "encode", *commands["encode"]).returncode == 0
    (tmp_path / "cwd").mkdir()
    fake(tmp_path / "cwd", "onnxruntime", "")
    for name, arguments in commands.items():
        done = latentloop(tmp_path / "cwd", name, *arguments)
        assert done.returncode == 1
        assert done.stderr.startswith("latentloop: error: the installation of onnxruntime is broken (")


@pytest.mark.parametrize("kind", ["no __init__", "no shared library", "too old"])
def test_info_tells_of_a_broken_onnxruntime(tmp_path: Path, kind: str, small_bundle: Path) -> None:
    text, reason = ONNXRUNTIME[kind]
    fake(tmp_path, "onnxruntime", text)
    fake_torch(tmp_path)
    done = latentloop(tmp_path, "info", "--json", "--bundle", small_bundle)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert reason in found["broken"]["onnxruntime"]
    assert reason in found["devices"]["cpu"]
    assert found["bundle"]["levels"][0]["name"] == "top"
    assert found["broken"].keys() == {"onnxruntime"}


ENDING = {
    "abort": ("import os\nos.abort()", "its import ends the process by SIGABRT"),
    "bus error": ("import os, signal\nos.kill(os.getpid(), signal.SIGBUS)", "its import ends the process by SIGBUS"),
    "exit": ("raise SystemExit(3)", "SystemExit: 3"),
    "exit as if all were well": ("import os\nos._exit(0)", "its import ends the process with the status 0"),
    "no exception that is caught": ("raise BaseException('gone')", "BaseException: gone"),
}


@pytest.mark.parametrize("kind", ENDING)
def test_info_survives_an_onnxruntime_that_ends_the_process(tmp_path: Path, kind: str) -> None:
    text, reason = ENDING[kind]
    fake(tmp_path, "onnxruntime", text)
    fake_torch(tmp_path)
    done = latentloop(tmp_path, "info", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert found["broken"].keys() == {"onnxruntime"}
    assert reason in found["broken"]["onnxruntime"]
    assert reason in found["devices"]["cpu"]
    assert found["bundle"]["classes"]
    done = latentloop(tmp_path, "info")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(rf"^onnxruntime .*, broken: .*{reason}", done.stdout, re.MULTILINE)


@pytest.mark.parametrize(("package", "brought_by"), [("numpy", "numpy"), ("PIL", "pillow"), ("pycuda", "pycuda")])
def test_info_survives_another_package_that_ends_the_process(tmp_path: Path, package: str, brought_by: str) -> None:
    fake(tmp_path, package, "import os\nos.abort()")
    fake_torch(tmp_path)
    done = latentloop(tmp_path, "info")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(rf"^{brought_by} .*, broken: its import ends the process by SIGABRT", done.stdout, re.MULTILINE)


def test_an_onnxruntime_that_was_cut_short_is_named(tmp_path: Path) -> None:
    there = find_spec("onnxruntime")
    assert there is not None
    assert there.origin is not None
    source, copied = Path(there.origin).parent, tmp_path / "onnxruntime"
    (copied / "capi").mkdir(parents=True)
    for file in (*source.glob("*.py"), *source.glob("capi/*.py")):
        shutil.copy(file, copied / file.relative_to(source))
    (library,) = source.glob("capi/onnxruntime_pybind11_state*.so")
    with library.open("rb") as whole:
        (copied / "capi" / library.name).write_bytes(whole.read(2**20))
    fake_torch(tmp_path)
    for arguments in (("info",), ("sample", "-n", "1", "--out", tmp_path / "x.png")):
        done = latentloop(tmp_path, *arguments)
        assert done.returncode == (0 if arguments == ("info",) else 1)
        assert f"{library.name}: truncated, {2**20} of {library.stat().st_size} bytes" in done.stdout + done.stderr


def test_a_package_is_refused_only_for_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(tmp_path, "dangerous", "")
    monkeypatch.syspath_prepend(tmp_path)
    with refused({"dangerous": "it ends the process"}), pytest.raises(ImportError, match="it ends the process"):
        import_package("dangerous")
    assert import_package("dangerous")


@pytest.mark.parametrize(("package", "brought_by"), [("numpy", "numpy"), ("PIL", "pillow"), ("tqdm", "tqdm")])
@pytest.mark.parametrize("text", ["", "import no_such_library"])
def test_the_other_packages_are_named_too(tmp_path: Path, package: str, brought_by: str, text: str) -> None:
    fake(tmp_path, package, text)
    done = latentloop(tmp_path, "sample", "-n", "1", "--out", tmp_path / "x.png")
    assert done.returncode == 1
    assert done.stderr.startswith(f"latentloop: error: the installation of {brought_by} is broken (")
    assert f"pip install --force-reinstall {brought_by}" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(("package", "brought_by"), [("numpy", "numpy"), ("PIL", "pillow")])
def test_info_tells_of_the_others(tmp_path: Path, package: str, brought_by: str) -> None:
    fake(tmp_path, package, "")
    fake_torch(tmp_path)
    done = latentloop(tmp_path, "info")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(rf"^{brought_by} .*, broken: .*{package}", done.stdout, re.MULTILINE)


def test_an_import_that_ends_the_process_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(tmp_path, "crashing", "import os\nos.abort()")
    fake(tmp_path, "sound", "")
    (tmp_path / "left").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    found = why_broken(["crashing", "sound", "left", "json"])
    assert found.pop("left").endswith("left has no __init__.py")
    assert found == {"crashing": "its import ends the process by SIGABRT"}


def test_a_package_that_is_broken_is_not_called_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(tmp_path, "half_installed", "import half_installed.library")
    (tmp_path / "left_behind").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    for name, reason in {"half_installed": "'half_installed.library'", "left_behind": "has no __init__.py"}.items():
        with pytest.raises(MissingError, match=rf"{name} is broken .*{reason}.*pip install --force-reinstall {name}$"):
            require("counting", "json", name)
    with pytest.raises(ImportError):
        import_package("left_behind")


def test_a_broken_tensorrt_is_not_called_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: Callable[..., str]
) -> None:
    fake(tmp_path, "tensorrt", "raise OSError('libnvinfer.so.10: cannot open shared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    with pytest.raises(MissingError, match=r"installation of tensorrt is broken \(OSError: libnvinfer"):
        tensorrt_module("tensorrt")
    assert tensorrt_module("tensorrt_rtx") is None
    with pytest.raises(MissingError, match="libnvinfer"):
        open_builder()
    assert "libnvinfer" in fails(1, "build-engines")


def test_a_broken_cuda_python_is_not_called_missing(tmp_path: Path) -> None:
    fake(tmp_path, "cuda", "raise OSError('libcudart.so.12')")
    script = "from latentloop.kernels.driver import open_driver; open_driver('cuda-python')"
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert "its installation is broken: OSError: libcudart.so.12" in done.stderr


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (onnxruntime, "SessionOptions"),
        (onnxruntime, "InferenceSession"),
        (onnxruntime.InferenceSession.__mro__[1], "io_binding"),
        (onnxruntime.InferenceSession.__mro__[1], "get_inputs"),
        (onnxruntime.SessionOptions, "add_session_config_entry"),
    ],
)
def test_a_part_that_onnxruntime_lacks_is_not_blamed_on_the_bundle(
    small_bundle: Path, owner: object, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler = Sampler(Bundle.open(small_bundle), "cpu", 1)
    monkeypatch.delattr(owner, name)
    with pytest.raises(MissingError, match=f"the installation of onnxruntime is broken .*{name}.*{REMEDY}"):
        sampler.sample(1)


def test_errors_of_our_own_are_not_a_broken_installation() -> None:
    for error in (ValueError("x"), ImportError("x"), ImportError("x", name="latentloop.absent"), AttributeError("x")):
        assert broken_import(error) is None


def test_a_package_that_was_never_installed_is_missing() -> None:
    missing = ModuleNotFoundError("No module named 'no_such_package'", name="no_such_package")
    assert str(unusable("no_such_package", missing)) == "no_such_package is not installed: pip install no_such_package"
