"""Bundles from a model hub: a local one that speaks the real protocol, and the cache that huggingface_hub lays out."""

from __future__ import annotations

import argparse
import copy
import errno
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import program, run
from documented_python import blocks
from embedded import EmbeddedBundle, Library, installed_library
from fake_gpu.driver import FakeDriver
from fake_gpu.tensorrt_module import tensorrt_module
from gpu_machines import CAPABILITY, Machines, check_same
from hub_server import Hub, Repository, running_hub, use_hub

from latentloop import Bundle, BundleError, InputError, MissingError, OutputError, Sampler
from latentloop._version import __version__
from latentloop.export.commands import export
from latentloop.export.tensorrt.builder import TensorRtBuilder

NAME = "me/small"


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running_hub() as hub:
        yield hub


@pytest.fixture
def cache(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of huggingface_hub, which asks the local hub."""
    use_hub(hub.url, tmp_path / "cache", monkeypatch)
    return tmp_path / "cache"


@pytest.fixture
def commit(hub: Hub, cache: Path, small_bundle: Path) -> str:
    """The commit of a small bundle on the hub."""
    return hub.add(
        NAME, small_bundle, names=("main", "v1"), others={"README.md": b"# A model", "samples.png": bytes(9000)}
    )


def go_offline(patch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    patch.setattr(constants, "HF_HUB_OFFLINE", True)


def refused(address: str, kind: type[Exception] = BundleError) -> str:
    """Returns the one line with which an address is refused."""
    with pytest.raises(kind) as caught:
        Bundle.open(address)
    assert type(caught.value) is kind
    text = str(caught.value)
    assert text.startswith(address)
    assert text.isprintable()
    return text


@pytest.mark.parametrize("revision", ["", "@main", "@v1", "@commit"])
def test_a_bundle_opens_by_its_address(revision: str, hub: Hub, commit: str, small_bundle: Path, cache: Path) -> None:
    address = f"hf://{NAME}{revision.replace('commit', commit)}"
    bundle = Bundle.open(address)
    assert (bundle.address, bundle.commit) == (address, commit)
    assert bundle.location == f"hf://{NAME}@{commit}"
    assert bundle.path == cache / f"models--me--small/snapshots/{commit}"
    assert bundle.location in repr(bundle)
    assert (bundle.path / "weights.safetensors").is_symlink()
    assert bundle.manifest == Bundle.open(small_bundle).manifest
    assert any(f"latentloop/{__version__}" in agent for agent in hub.agents)


def test_only_the_files_of_the_bundle_are_downloaded_and_only_once(hub: Hub, commit: str, small_bundle: Path) -> None:
    Bundle.open(f"hf://{NAME}@v1")
    assert sorted(hub.downloads()) == sorted(path.name for path in small_bundle.iterdir())
    Bundle.open(f"hf://{NAME}")
    Bundle.open(f"hf://{NAME}@{commit}")
    assert hub.downloads() == []


def test_it_samples_like_the_folder(commit: str, small_bundle: Path) -> None:
    plain, linked = (Sampler(Bundle.open(each), "cpu", 1) for each in (small_bundle, f"hf://{NAME}"))
    expected, samples = plain.sample(2, seeds=7), linked.sample(2, seeds=7)
    np.testing.assert_array_equal(samples.images, expected.images)
    for level, codes in expected.codes.items():
        np.testing.assert_array_equal(samples.codes[level], codes)


def test_the_c_library_draws_from_a_snapshot(commit: str, small_bundle: Path) -> None:
    library = Library(installed_library())
    snapshot = Bundle.open(f"hf://{NAME}").path
    drawn = []
    for folder in (snapshot, small_bundle):
        bundle = EmbeddedBundle(library, str(folder))
        with bundle.sampler() as sampler:
            drawn.append(sampler.sample(2, seeds=7)[0])
        bundle.close()
    np.testing.assert_array_equal(drawn[0], drawn[1])


def test_engines_come_with_the_bundle(hub: Hub, cache: Path, small_engines: Path, machines: Machines) -> None:
    commit = hub.add(NAME, small_engines, others={"engines/notes.txt": b"no set"})
    expected = Sampler(Bundle.open(small_engines), "cpu", 1).sample(2, seeds=3)
    machines(providers=False)
    bundle = Bundle.open(f"hf://{NAME}@{commit}")
    check_same(Sampler(bundle, "tensorrt", 1).sample(2, seeds=3), expected)
    assert not (bundle.path / "engines" / "notes.txt").exists()


def test_a_bundle_in_a_folder(hub: Hub, cache: Path, small_bundle: Path, grey_bundle: Path) -> None:
    hub.add(NAME, small_bundle, "models [1]/small*", others={"models [1]/small-other/manifest.json": b"{}"})
    bundle = Bundle.open(f"hf://{NAME}@main/models [1]/small*")
    assert bundle.path.name == "small*"
    assert bundle.address == f"hf://{NAME}@main/models [1]/small*"
    assert bundle.image_shape == (32, 48, 3)
    assert sorted(hub.downloads()) == sorted(f"models [1]/small*/{path.name}" for path in small_bundle.iterdir())
    text = refused(f"hf://{NAME}")
    assert "the top folder of the repository has no manifest.json, so it is no bundle" in text
    assert "hf://owner/name[@revision][/folder]" in text
    assert "the folder models of the repository has no manifest.json" in refused(f"hf://{NAME}/models")


def test_a_branch_that_moves_on_is_followed_and_a_commit_is_not(
    hub: Hub, commit: str, grey_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Bundle.open(f"hf://{NAME}@main")
    later = hub.add(NAME, grey_bundle)
    assert Bundle.open(f"hf://{NAME}@main").commit == later
    assert Bundle.open(f"hf://{NAME}@{commit}").image_shape == Bundle.open(f"hf://{NAME}@v1").image_shape == (32, 48, 3)
    assert copy.copy(opened).commit == commit  # not that of the branch


def test_without_a_connection_the_cache_is_used(commit: str, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    Bundle.open(f"hf://{NAME}@v1")
    hub.downloads()
    go_offline(monkeypatch)
    for revision in ("v1", commit):
        assert Bundle.open(f"hf://{NAME}@{revision}").commit == commit
    assert hub.requests == []
    for address in (f"hf://{NAME}@v2", f"hf://{NAME}", "hf://me/other"):
        text = refused(address)
        assert "is not in the cache" in text
        assert "HF_HUB_OFFLINE" in text


def test_an_incomplete_cache_is_told_offline(commit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Bundle.open(f"hf://{NAME}").path / "decoder.onnx"
    path.unlink()
    go_offline(monkeypatch)
    text = refused(f"hf://{NAME}")
    assert "HF_HUB_OFFLINE" in text
    assert "cache" in text


def test_a_missing_repository_and_a_missing_revision(hub: Hub, commit: str) -> None:
    text = refused("hf://me/none")
    assert f"no repository me/none at {hub.url}, or a private one (HTTP 401): check the name" in text
    assert "HF_TOKEN" in text
    assert "the repository has no revision v9: name a branch, a tag or a whole commit" in refused(f"hf://{NAME}@v9")
    assert "the repository has no revision" in refused(f"hf://{NAME}@{'0' * 40}")


@pytest.mark.parametrize(("status", "code"), [(403, "GatedRepo"), (401, "GatedRepo"), (403, "")])
def test_restricted_repositories(status: int, code: str, hub: Hub, cache: Path) -> None:
    repository = hub.repositories[NAME] = Repository(error=(status, code))
    repository.commit({"manifest.json": b"{}"}, "main")
    text = refused(f"hf://{NAME}")
    assert f"(HTTP {status})" in text
    assert "log in with `hf auth login`, or set HF_TOKEN" in text


def test_the_token_is_sent(hub: Hub, commit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    Bundle.open(f"hf://{NAME}")
    assert "Bearer hf_secret" in hub.tokens


def test_the_variables_of_huggingface_hub_apply(tmp_path: Path, small_bundle: Path) -> None:
    """In processes of their own: they are read once."""
    with running_hub() as gone:
        url = gone.url
    address = f"hf://{NAME}"
    environment = {**os.environ, "HF_ENDPOINT": url, "HF_HOME": str(tmp_path / "home")}
    command = ("verify", address, "--device", "cpu", "--json")
    done = program(*command, env=environment)
    assert done.returncode == 1
    assert done.stdout == ""
    problem = f"{address} is not in the cache, {tmp_path / 'home'}/hub, and {url} cannot be reached"
    assert done.stderr.startswith(f"latentloop: error: {problem}")
    assert done.stderr.count("\n") == 1
    assert "check the connection" in done.stderr
    with running_hub() as hub:
        commit = hub.add(NAME, small_bundle)
        online = program(*command, env={**environment, "HF_ENDPOINT": hub.url})
    offline = program(*command, env={**environment, "HF_HUB_OFFLINE": "1"})
    unreachable = program(*command, env=environment)
    for done in (online, offline, unreachable):
        assert done.returncode == 0
        assert done.stderr == ""  # no progress bar
        assert json.loads(done.stdout)["bundle"] == f"hf://{NAME}@{commit}"
    assert (tmp_path / f"home/hub/models--me--small/snapshots/{commit}").is_dir()


def test_a_dropped_connection_goes_on_where_it_was(hub: Hub, commit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1000)
    hub.cut["weights.safetensors"] = 5000
    with suppress(BundleError):  # the first releases of huggingface_hub do not try again by themselves
        Bundle.open(f"hf://{NAME}")
    Bundle.open(f"hf://{NAME}")
    assert hub.ranges == ["bytes=5000-"]


def test_an_interrupted_download_goes_on(hub: Hub, commit: str, cache: Path) -> None:
    hub.failing["weights.safetensors"] = 500
    text = refused(f"hf://{NAME}")
    assert "500" in text
    before = set(hub.downloads())
    assert "weights.safetensors" in before
    hub.failing.clear()
    cached = {path.name for path in cache.glob("*/snapshots/*/*")}
    assert "manifest.json" in cached
    Bundle.open(f"hf://{NAME}")
    later = hub.downloads()
    assert "weights.safetensors" in later
    assert not cached & set(later)


def test_a_damaged_file_in_the_cache(commit: str, cache: Path) -> None:
    path = Bundle.open(f"hf://{NAME}").path / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.resolve().write_bytes(content)
    with pytest.raises(BundleError) as caught:
        Bundle.open(f"hf://{NAME}@v1")
    text = str(caught.value)
    assert text.startswith(f"hf://{NAME}@{commit}: {path} has SHA-256 ")
    repository = cache / "models--me--small"
    assert text.endswith(f"to download it again, remove {repository}")
    shutil.rmtree(repository)
    Bundle.open(f"hf://{NAME}@v1")


def test_a_repository_that_lacks_files_or_holds_another_manifest(hub: Hub, cache: Path, small_bundle: Path) -> None:
    commit = hub.add(NAME, small_bundle)
    files = hub.repositories[NAME].commits[commit]
    del files["decoder.onnx"]
    text = refused(f"hf://{NAME}")
    assert f"commit {commit} lists decoder.onnx in its manifest.json, but has no such file" in text
    for content, problem in ((b"{", "not readable as JSON"), (b'{"format": "other"}', "format")):
        hub.repositories[NAME].commit({"manifest.json": content}, "main")
        assert problem in refused(f"hf://{NAME}")


def test_names_that_lead_out_of_the_repository_are_refused(hub: Hub, cache: Path, small_bundle: Path) -> None:
    manifest = json.loads((small_bundle / "manifest.json").read_bytes())
    manifest["files"]["../../../secret"] = {"size": 1, "sha256": "0" * 64}
    hub.add(NAME, small_bundle, others={"manifest.json": json.dumps(manifest).encode()})
    assert "secret" in refused(f"hf://{NAME}")


@pytest.mark.parametrize(
    ("number", "expected"), [(errno.ENOSPC, "is full: free space, or set HF_HOME"), (errno.EACCES, "cannot be used")]
)
def test_a_cache_that_cannot_be_written(
    number: int, expected: str, commit: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("huggingface_hub.file_download.http_get", fail)
    text = refused(f"hf://{NAME}", OutputError)
    assert expected in text
    assert str(cache) in text


def test_without_huggingface_hub_one_sentence_tells_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, fails: Callable[..., str]
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingError) as caught:
        Bundle.open("hf://me/small@v1")
    assert str(caught.value) == ('opening hf://me/small@v1 needs huggingface_hub: pip install "latentloop[hub]"')
    assert 'pip install "latentloop[hub]"' in fails(1, "verify", "hf://me/small")


def test_directories_open_without_huggingface_hub(small_bundle: Path) -> None:
    code = "import sys, latentloop as l; l.Bundle.open(sys.argv[1]); assert 'huggingface_hub' not in sys.modules"
    subprocess.run([sys.executable, "-c", code, str(small_bundle)], check=True)


def test_names_that_huggingface_hub_refuses(cache: Path) -> None:
    assert "Cannot have -- or .." in refused("hf://me/a--b", InputError)


def test_a_pickle_opens_the_same_commit(hub: Hub, commit: str, cache: Path, grey_bundle: Path) -> None:
    bundle = Bundle.open(f"hf://{NAME}@main")
    content = pickle.dumps(bundle)
    hub.add(NAME, grey_bundle)
    hub.downloads()
    same = pickle.loads(content)
    assert hub.downloads() == []
    shutil.rmtree(cache)  # as on another machine
    other = pickle.loads(content)
    for each in (same, other):
        assert (each.address, each.commit, each.path) == (bundle.address, commit, bundle.path)
    assert "weights.safetensors" in hub.downloads()


def outputs(kind: str, folder: Path, photos: Path, address: str) -> list[tuple[Any, ...]]:
    named = ("--bundle", address)
    commands: dict[str, list[tuple[Any, ...]]] = {
        "sample": [("sample", address, "-n", 2, "--seed", 1, "--out", folder / "x.png")],
        "folder": [("sample", "-n", 2, "--seed", 1, *named, "--out", f"{folder}/images/")],
        "codec": [
            ("encode", photos, *named, "--out", folder / "codes.npz"),
            ("decode", folder / "codes.npz", *named, "--out", folder / "y.png"),
            ("reconstruct", photos, *named, "--out", folder / "z.png"),
        ],
        "verify": [("verify", address, "--device", "cpu")],
    }
    return commands[kind]


@pytest.mark.parametrize("kind", ["sample", "folder", "codec", "verify"])
def test_commands_take_addresses(
    kind: str, commit: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], small_bundle: Path
) -> None:
    address = f"hf://{NAME}@v1"
    for arguments in outputs(kind, tmp_path, photos, address):
        assert run(*arguments) == 0
        out, err = capsys.readouterr()
        assert err == ""
        if arguments[0] == "verify":
            assert f"hf://{NAME}@{commit}: verified on cpu" in out
    if kind == "sample":
        assert run("sample", small_bundle, "-n", 2, "--seed", 1, "--out", tmp_path / "plain.png") == 0
        assert (tmp_path / "x.png").read_bytes() == (tmp_path / "plain.png").read_bytes()


def test_info_names_address_and_commit(commit: str, capsys: pytest.CaptureFixture[str], cache: Path) -> None:
    address, folder = f"hf://{NAME}@v1", str(cache / "models--me--small/snapshots" / commit)
    assert run("info", address, "--json") == 0
    described = json.loads(capsys.readouterr().out)["bundle"]
    assert [described[name] for name in ("address", "commit", "path", "default")] == [address, commit, folder, False]
    assert run("info", address) == 0
    rows = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert (rows["bundle"], rows["commit"], rows["folder"]) == (address, commit, folder)


@pytest.mark.parametrize("mode", ["terminal", "terminal, cached", "json", "no terminal"])
def test_progress_bars_are_shown_on_a_terminal_only(
    mode: str, commit: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from huggingface_hub.utils import are_progress_bars_disabled  # type: ignore[attr-defined]

    if mode.endswith("cached"):
        Bundle.open(f"hf://{NAME}")
        capsys.readouterr()
    monkeypatch.setattr(sys.stderr, "isatty", lambda: mode != "no terminal")
    assert run("verify", f"hf://{NAME}", "--device", "cpu", *(["--json"] if mode == "json" else [])) == 0
    assert ("Fetching" in capsys.readouterr().err) == (mode == "terminal")
    assert not are_progress_bars_disabled()


def test_build_engines_takes_an_address(
    commit: str, machines: Machines, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The engines are beside the downloaded files, where the next command finds them."""
    architecture = "sm{}{}".format(*CAPABILITY)
    builder = TensorRtBuilder(tensorrt_module(FakeDriver(capability=CAPABILITY)))
    monkeypatch.setattr("latentloop.export.tensorrt.builder.open_builder", lambda _: builder)
    monkeypatch.setattr(TensorRtBuilder, "architectures", lambda _: (architecture,))
    for state in ("built", "up to date"):
        command = ("build-engines", f"hf://{NAME}@v1", "--arch", architecture, "--precision", "float32", "--json")
        assert run(*command) == 0
        summary = json.loads(capsys.readouterr().out)
        assert summary["bundle"] == f"hf://{NAME}@{commit}"
        assert [each["state"] for each in summary["sets"]] == [state]
    machines(providers=False)
    assert Sampler(Bundle.open(f"hf://{NAME}@v1"), "tensorrt", 1).device == "tensorrt:0"


def test_the_page_about_sharing(
    hub: Hub, cache: Path, small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = hub.add("owner/name", small_bundle, names=("v1",))
    monkeypatch.chdir(tmp_path)
    page = Path(__file__).parents[1] / "docs" / "sharing.md"
    (code,) = blocks(page, "python")
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["bundle"].commit == commit
    assert names["samples"].seeds.tolist() == [7, 8, 9, 10]
    first, publishing = blocks(page, "sh")
    for line in first.splitlines()[1:]:
        assert run(*line.split()[1:]) == 0
    for words in (line.split()[1:] for line in publishing.splitlines() if line.startswith("latentloop export")):
        parser = argparse.ArgumentParser()
        export.add_arguments(parser)
        assert parser.parse_args(words[1:]).card
