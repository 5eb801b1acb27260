"""Addresses of bundles on a model hub: reading and writing them, and telling them from paths."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import run
from hypothesis import given
from hypothesis import strategies as st

from latentloop import Bundle, InputError
from latentloop.bundles.hub_address import SCHEME, HubAddress, is_address, parse_address

COMMIT = "0123456789abcdef" * 2 + "01234567"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hf://me/planets", HubAddress("me/planets")),
        ("hf://me/planets/", HubAddress("me/planets")),
        ("hf://models/me/planets@v1.0", HubAddress("me/planets", "v1.0")),
        (f"hf://me/planets@{COMMIT}/small/8bit", HubAddress("me/planets", COMMIT, "small/8bit")),
        ("hf://me/planets/small", HubAddress("me/planets", None, "small")),
        ("hf://me/planets@refs/pr/3/small", HubAddress("me/planets", "refs/pr/3", "small")),
        ("hf://me/planets@feature%2Fx/small", HubAddress("me/planets", "feature/x", "small")),
        ("hf://me/planets/my folder", HubAddress("me/planets", None, "my folder")),
    ],
)
def test_addresses_are_read(text: str, expected: HubAddress) -> None:
    assert parse_address(text) == expected
    assert parse_address(str(expected)) == expected
    assert is_address(text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("hf://", "no owner and name of a repository"),
        ("hf://planets", "no owner and name of a repository"),
        ("hf://planets@v1", "no owner and name of a repository"),
        ("hf:///planets", "'' is no name"),
        ("hf://me/../planets", "'..' is no name"),
        ("hf://me/planets@", "'' is no revision"),
        ("hf://me/planets@../../etc", "'..' is no revision"),
        ("hf://me/planets@a..b", "'a..b' is no revision"),
        ("hf://me/planets@..%2F..%2Fetc", "'../../etc' is no revision"),
        ("hf://me/planets@%2Fetc", "'/etc' is no revision"),
        ("hf://me/planets@main/../x", "'..' is no folder in a repository"),
        ("hf://me/planets//x", "'' is no folder in a repository"),
        ("hf://me/planets/a\\b", "is no folder in a repository"),
        ("hf://me/planets/small@v1", "the revision follows the repository's name, not the folder"),
        ("hf://me/planets@a@b", "'a@b' is no revision"),
        ("hf://datasets/me/planets", "names a data set, expected a repository of a model"),
        ("hf://spaces/me/planets", "names a space"),
        ("hf://me/pla nets", "'pla nets' is no name"),
        ("hf://me/planets\n", "is no name"),
    ],
)
def test_malformed_addresses_are_named(text: str, problem: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_address(text)
    assert problem in str(caught.value)
    assert "hf://owner/name[@revision][/folder]" in str(caught.value)
    assert str(caught.value).isprintable()


@given(st.text(max_size=40))
def test_every_text_is_read_or_refused(text: str) -> None:
    try:
        address = parse_address(SCHEME + text)
    except InputError:
        return
    assert parse_address(str(address)) == address
    for part in (address.repository, address.revision or "", address.folder):
        assert not part.startswith("/")
        assert ".." not in part.split("/")


def test_a_path_that_lost_a_slash_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"is a str, not a Path: 'hf://me/planets@v1'"):
        Bundle.open(Path("hf://me/planets@v1"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="two slashes"):
        Bundle.open("hf:/me/planets")


def test_a_folder_of_that_name_opens(small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("hf:/me").mkdir(parents=True)
    Path("hf:/me/planets").symlink_to(small_bundle)
    for path in ("./hf:/me/planets", Path("hf:/me/planets"), "hf:/me/planets", "./hf://me/planets"):
        bundle = Bundle.open(path)
        assert bundle.address is bundle.commit is None
        assert bundle.path == tmp_path / "hf:/me/planets"
    assert run("info", "--bundle", "./hf:/me/planets") == 0


def test_addresses_where_only_paths_fit_are_named(
    small_bundle: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: Callable[..., str]
) -> None:
    monkeypatch.chdir(tmp_path)
    address = "hf://me/planets@v1"
    for arguments in (
        ("sample", "-n", "1", "--bundle", small_bundle, "--out", f"{address}/"),
        ("sample", "-n", "1", "--bundle", small_bundle, f"--out={address}/x.png"),
        ("export", "--vqvae", "v.pt", "--out", address),
    ):
        assert f"error: out is {address}" in fails(2, *arguments)
    assert f"vqvae is {address}, expected a path" in fails(2, "export", "--vqvae", address, "--out", "b")
    assert f"images is {address}" in fails(2, "encode", photos, address, "--out", "c.npz")
    assert f"codes is {address}" in fails(2, "decode", "codes.npz", address, "--out", "x.png")
    text = fails(2, "bench", "samples", "--data", photos, address)
    assert f"{address} is the address of a bundle, expected an input of the command: name it with --bundle" in text
    assert not Path("hf:").exists()


def test_a_malformed_address_on_the_command_line(fails: Callable[..., str]) -> None:
    text = fails(2, "info", "--bundle", "hf://planets")
    assert "argument --bundle: hf://planets: no owner and name of a repository; expected hf://owner/name" in text
    assert "two bundles are named, hf://a/b and --bundle hf://a/c" in fails(2, "info", "hf://a/b", "--bundle=hf://a/c")
