"""Packages that are broken, missing or shadowed: errors name the package and a remedy, and do not blame a bundle."""

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
from latentloop.environment.import_checks import blocked_imports, import_failures
from latentloop.environment.packages import broken_import, import_package, package_error, require
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
    "exit": ("raise SystemExit(3)", "SystemExit: 3"),
    "too old": ("__version__ = '1.19.2'\nclass InferenceSession: pass", "it is 1.19.2, expected 1.20 or later"),
    "partial": ("__version__ = '1.32.0'\nclass InferenceSession: pass", "no attribute 'SessionOptions'"),
    "another project": ("VERSION = 1", "no attribute 'InferenceSession'"),
}
REMEDY = "pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime"


def create_package(folder: Path, name: str, source: str) -> None:
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text(source, encoding="utf-8")


def create_large_packages(folder: Path) -> None:
    """Creates packages that import, for `info`: importing the real ones is slow."""
    for name, module in {"torch": "nn", "onnx": "helper", "safetensors": "numpy"}.items():
        create_package(folder, name, "")
        (folder / name / f"{module}.py").touch()


def latentloop(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs a command in a working directory whose packages take precedence over installed ones."""
    command = [sys.executable, "-m", "latentloop", *map(str, arguments)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=100)


@pytest.mark.parametrize("kind", ONNXRUNTIME)
def test_a_broken_onnxruntime_is_named(tmp_path: Path, kind: str) -> None:
    source, reason = ONNXRUNTIME[kind]
    create_package(tmp_path, "onnxruntime", source)
    done = latentloop(tmp_path, "sample", "-n", "1", "--out", tmp_path / "x.png")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("latentloop: error: the installation of onnxruntime is broken (")
    assert reason in done.stderr
    assert f"{tmp_path / 'onnxruntime'} is imported, and no installed package owns it: rename" in done.stderr
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
    create_package(tmp_path / "cwd", "onnxruntime", "")
    for name, arguments in commands.items():
        done = latentloop(tmp_path / "cwd", name, *arguments)
        assert done.returncode == 1
        assert done.stderr.startswith("latentloop: error: the installation of onnxruntime is broken (")


def test_info_reports_a_broken_onnxruntime(tmp_path: Path, small_bundle: Path) -> None:
    source, reason = ONNXRUNTIME["too old"]
    create_package(tmp_path, "onnxruntime", source)
    create_large_packages(tmp_path)
    done = latentloop(tmp_path, "info", "--json", "--bundle", small_bundle)
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    assert reason in report["broken"]["onnxruntime"]
    assert reason in report["devices"]["cpu"]
    assert report["bundle"]["levels"][0]["name"] == "top"
    assert report["broken"].keys() == {"onnxruntime"}


IMPORTS_THAT_END_THE_PROCESS = {
    "abort": ("import os\nos.abort()", "its import ends the process by SIGABRT"),
    "bus error": ("import os, signal\nos.kill(os.getpid(), signal.SIGBUS)", "its import ends the process by SIGBUS"),
    "exit": ("raise SystemExit(3)", "its import ends the process with the status 3"),
    "exit with status 0": ("import os\nos._exit(0)", "its import ends the process with the status 0"),
    "BaseException": ("raise BaseException('gone')", "BaseException: gone"),
}


def test_info_survives_an_onnxruntime_that_ends_the_process(tmp_path: Path) -> None:
    source, reason = IMPORTS_THAT_END_THE_PROCESS["abort"]
    create_package(tmp_path, "onnxruntime", source)
    create_large_packages(tmp_path)
    done = latentloop(tmp_path, "info", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    assert report["broken"].keys() == {"onnxruntime"}
    assert reason in report["broken"]["onnxruntime"]
    assert reason in report["devices"]["cpu"]
    assert report["bundle"]["classes"]
    done = latentloop(tmp_path, "info")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(rf"^onnxruntime .*, broken: .*{reason}", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("packages", [{"numpy": "numpy"}, {"PIL": "pillow", "pycuda": "pycuda"}], ids=" ".join)
def test_info_survives_other_packages_that_end_the_process(tmp_path: Path, packages: dict[str, str]) -> None:
    for package in packages:
        create_package(tmp_path, package, "import os\nos.abort()")
    create_large_packages(tmp_path)
    done = latentloop(tmp_path, "info")
    assert (done.returncode, done.stderr) == (0, "")
    for distribution in packages.values():
        broken = rf"^{distribution} .*, broken: its import ends the process by SIGABRT"
        assert re.search(broken, done.stdout, re.MULTILINE)


def test_a_truncated_onnxruntime_is_named(tmp_path: Path) -> None:
    spec = find_spec("onnxruntime")
    assert spec is not None
    assert spec.origin is not None
    source, copied = Path(spec.origin).parent, tmp_path / "onnxruntime"
    (copied / "capi").mkdir(parents=True)
    for file in (*source.glob("*.py"), *source.glob("capi/*.py")):
        shutil.copy(file, copied / file.relative_to(source))
    (library,) = source.glob("capi/onnxruntime_pybind11_state*.so")
    with library.open("rb") as whole:
        (copied / "capi" / library.name).write_bytes(whole.read(2**20))
    create_large_packages(tmp_path)
    for arguments in (("info",), ("sample", "-n", "1", "--out", tmp_path / "x.png")):
        done = latentloop(tmp_path, *arguments)
        assert done.returncode == (0 if arguments == ("info",) else 1)
        assert f"{library.name}: truncated, {2**20} of {library.stat().st_size} bytes" in done.stdout + done.stderr


def test_imports_are_blocked_only_within_the_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create_package(tmp_path, "dangerous", "")
    monkeypatch.syspath_prepend(tmp_path)
    with blocked_imports({"dangerous": "it ends the process"}), pytest.raises(ImportError, match="it ends the process"):
        import_package("dangerous")
    assert import_package("dangerous")


@pytest.mark.parametrize(("package", "distribution"), [("numpy", "numpy"), ("PIL", "pillow")])
@pytest.mark.parametrize("source", ["", "import no_such_library"])
def test_other_broken_packages_are_named(tmp_path: Path, package: str, distribution: str, source: str) -> None:
    create_package(tmp_path, package, source)
    done = latentloop(tmp_path, "sample", "-n", "1", "--out", tmp_path / "x.png")
    assert done.returncode == 1
    assert done.stderr.startswith(f"latentloop: error: the installation of {distribution} is broken (")
    assert f"pip install --force-reinstall {distribution}" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(("package", "distribution"), [("numpy", "numpy"), ("PIL", "pillow")])
def test_info_reports_other_broken_packages(tmp_path: Path, package: str, distribution: str) -> None:
    create_package(tmp_path, package, "")
    create_large_packages(tmp_path)
    done = latentloop(tmp_path, "info")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(rf"^{distribution} .*, broken: .*{package}", done.stdout, re.MULTILINE)


def test_an_import_that_ends_the_process_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    endings = {kind.replace(" ", "_"): case for kind, case in IMPORTS_THAT_END_THE_PROCESS.items()}
    for name, (source, _) in endings.items():
        create_package(tmp_path, name, source)
    create_package(tmp_path, "valid", "")
    (tmp_path / "folder").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    reasons = import_failures([*endings, "valid", "folder", "json"])
    assert reasons.pop("folder").endswith("folder has no __init__.py")
    assert reasons.keys() == endings.keys()
    for name, (_, reason) in endings.items():
        assert reason in reasons[name]


def test_a_broken_package_is_not_reported_as_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create_package(tmp_path, "half_installed", "import half_installed.library")
    (tmp_path / "left_behind").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    for name, reason in {"half_installed": "'half_installed.library'", "left_behind": "has no __init__.py"}.items():
        with pytest.raises(MissingError, match=rf"{name} is broken .*{reason}.*pip install --force-reinstall {name}$"):
            require("counting", "json", name)
    with pytest.raises(ImportError):
        import_package("left_behind")


def test_a_broken_tensorrt_is_not_reported_as_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: Callable[..., str]
) -> None:
    create_package(tmp_path, "tensorrt", "raise OSError('libnvinfer.so.10: cannot open shared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    with pytest.raises(MissingError, match=r"installation of tensorrt is broken \(OSError: libnvinfer"):
        tensorrt_module("tensorrt")
    assert tensorrt_module("tensorrt_rtx") is None
    with pytest.raises(MissingError, match="libnvinfer"):
        open_builder()
    assert "libnvinfer" in fails(1, "build-engines")


def test_a_broken_cuda_python_is_not_reported_as_missing(tmp_path: Path) -> None:
    create_package(tmp_path, "cuda", "raise OSError('libcudart.so.12')")
    script = "from latentloop.kernels.driver import open_driver; open_driver('cuda-python')"
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert "the installation is broken: OSError: libcudart.so.12" in done.stderr


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
def test_the_bundle_is_not_blamed_for_a_missing_part_of_onnxruntime(
    small_bundle: Path, owner: object, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler = Sampler(Bundle.open(small_bundle), "cpu", 1)
    monkeypatch.delattr(owner, name)
    with pytest.raises(MissingError, match=f"the installation of onnxruntime is broken .*{name}.*{REMEDY}"):
        sampler.sample(1)


def test_errors_of_latentloop_are_not_reported_as_a_broken_installation() -> None:
    for error in (ValueError("x"), ImportError("x"), ImportError("x", name="latentloop.absent"), AttributeError("x")):
        assert broken_import(error) is None


def test_a_package_that_is_not_installed_is_reported_as_missing() -> None:
    missing = ModuleNotFoundError("No module named 'no_such_package'", name="no_such_package")
    assert (
        str(package_error("no_such_package", missing))
        == "no_such_package is not installed: pip install no_such_package"
    )
