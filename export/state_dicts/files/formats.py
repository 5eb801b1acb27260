"""Detection of a file's format from its content, and errors with a remedy for files that are not checkpoints."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

from latentloop.errors import CheckpointError, listed
from latentloop.export.state_dicts.files.safetensors_file import header_of, read_safetensors
from latentloop.export.state_dicts.files.torch_file import PICKLE, read_legacy, read_zip

Reader = Callable[[Path], object]
CUT_SHORT = "the copy or the download did not finish: fetch it again"

_BEGINNINGS: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "it is a Git LFS pointer instead of the file itself: run `git lfs pull`"),
    (b"\x1f\x8b", "it is a gzip archive: unpack it (gunzip, or tar -xzf) and give the file in it"),
    (b"BZh", "it is a bzip2 archive: unpack it and give the file in it"),
    (b"\xfd7zXZ", "it is an xz archive: unpack it and give the file in it"),
    (b"\x28\xb5\x2f\xfd", "it is a zstd archive: unpack it and give the file in it"),
    (b"7z\xbc\xaf\x27\x1c", "it is a 7-Zip archive: unpack it and give the file in it"),
    (b"Rar!", "it is a RAR archive: unpack it and give the file in it"),
    (b"\x89HDF", "it is an HDF5 file, as Keras writes it: only PyTorch models can be read"),
    (b"\x93NUMPY", "it is a NumPy array: a checkpoint has many named tensors"),
    (b"GGUF", "it is a GGUF file: only PyTorch models can be read"),
    (b"\x89PNG", "it is a picture"),
    (b"\xff\xd8\xff", "it is a picture"),
)
_PAGES = (b"<!doctype", b"<html", b"<?xml", b"<head", b"<")


def reader_of(path: Path) -> Reader:
    """Returns the function that reads a checkpoint of this format.

    Raises CheckpointError that says what any other file is, and what to do.
    """
    path = Path(path)
    try:
        if path.exists() and not path.is_dir() and not path.is_file():
            raise CheckpointError(f"cannot read {path}: it is a pipe or a device; give a file")
        with path.open("rb") as opened:
            head = opened.read(4096)
        if head[:4] == b"PK\3\4" or head[:4] == b"PK\5\6":
            return _zip_reader(path)
        if header_of(path) is not None:
            return read_safetensors
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}{_folder_remedy(path)}") from error
    if head[:1] == b"\x80" and len(head) > 1 and head[1] <= 5:
        return read_legacy
    raise CheckpointError(f"{path} is not a PyTorch checkpoint, or a damaged one: {_explain(head, path)}")


def _explain(head: bytes, path: Path) -> str:
    """Returns what the file is, by its first bytes, and what to do."""
    size = path.stat().st_size
    if not head:
        return f"it is empty; {CUT_SHORT}"
    for beginning, explanation in _BEGINNINGS:
        if head.startswith(beginning):
            return explanation
    if head[257:262] == b"ustar":
        return "it is a tar archive, or a checkpoint from before torch 0.1.11: unpack it, or save it again with torch"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.lower().startswith(_PAGES):
        return (
            "it is a web page (HTML or XML), such as a download's warning or log-in page, saved under this name: "
            "open it in a browser, and download the file itself"
        )
    try:
        # The last character can be cut in two.
        line = head.decode("utf-8", "strict" if len(head) < 4096 else "ignore").strip().split("\n")[0][:60]
        if line.isprintable() and len(head) > 3:
            return f"it is text, which begins with {line!r}; give the file that torch.save wrote"
    except UnicodeDecodeError:
        pass
    if path.suffix == ".safetensors" or (8 < int.from_bytes(head[:8], "little") < 1 << 27 and head[8:9] == b"{"):
        return f"as a safetensors file its header is damaged or cut short; {CUT_SHORT}"
    return f"its {size} bytes begin with {head[:8].hex(' ')}, which no supported format does; {CUT_SHORT}"


def _folder_remedy(path: Path) -> str:
    if not path.is_dir():
        return ""
    if (path / "manifest.json").is_file():
        return "; it is a bundle: give the checkpoint from which it was exported, which `latentloop info` names"
    if any((*path.glob("data.pkl"), *path.glob("*/data.pkl"))):
        return "; it is an unpacked checkpoint: pack it again with `zip -0 -r checkpoint.pt FOLDER`"
    return "; give the checkpoint's file in it"


def _zip_reader(path: Path) -> Reader:
    """Returns ``read_zip`` for a checkpoint of torch. Raises CheckpointError for any other ZIP archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:  # NotImplementedError: a later ZIP version
        raise CheckpointError(
            f"{path} is not a PyTorch checkpoint, or a damaged one: its archive is cut short or damaged ({error}); "
            f"{CUT_SHORT}"
        ) from error
    if any(name.endswith("constants.pkl") or "/code/" in name for name in names):
        raise CheckpointError(
            f"{path} is a TorchScript archive, a program that is not run; save its weights alone: "
            f'torch.save(torch.jit.load("{path.name}", map_location="cpu").state_dict(), "{path.stem}-weights.pt")'
        )
    if any(PICKLE.search(name) for name in names):
        return read_zip
    if any(name.endswith((".json", "archive_format")) and ("archive_" in name or "exported" in name) for name in names):
        raise CheckpointError(
            f"{path} is a program of torch.export; save the weights alone: "
            f'torch.save(torch.export.load("{path.name}").state_dict, "{path.stem}-weights.pt")'
        )
    if names and all(name.endswith(".npy") for name in names):
        raise CheckpointError(
            f"{path} is an archive of NumPy arrays; save them as tensors: "
            f'torch.save({{k: torch.from_numpy(v) for k, v in numpy.load("{path.name}").items()}}, "{path.stem}.pt")'
        )
    raise CheckpointError(
        f"{path} is not a PyTorch checkpoint: it is a ZIP archive without data.pkl, of "
        f"{listed(sorted(names)) or 'nothing'}; unpack it, and give the checkpoint in it"
    )
