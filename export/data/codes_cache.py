"""A cache of a data set's codes, in a file beside the VQ-VAE: the next training need not encode the images again.

The file name contains a digest of everything that determines the codes, the metadata a digest of the codes. A file that
cannot be read or does not fit is written again. If several processes write it at the same time, each writes a complete
file with the same codes.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from safetensors import safe_open

from latentloop.errors import OutputError
from latentloop.export.checkpoints.lazy_arrays import in_memory
from latentloop.export.checkpoints.tensor_file import write_tensors
from latentloop.export.configuration import VqvaeConfig
from latentloop.export.data.codes import Levels
from latentloop.io.files import write_file

FORMAT = "latentloop-codes-1"


def cache_key(vqvae_codes: str, data: str, *, flip: bool) -> str:
    """Returns the SHA-256, in hexadecimal, of what determines the codes: the VQ-VAE's codes digest, the data's digest,
    and whether mirrored images are included.
    """
    key = {"format": FORMAT, "vqvae": vqvae_codes, "data": data, "flip": flip}
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()


def cache_path(vqvae: Path, key: str) -> Path:
    """Returns the path of the cache file for the VQ-VAE at ``vqvae``."""
    return vqvae.with_name(f"{vqvae.stem}.codes-{key[:12]}.safetensors")


def read_or_encode(
    path: Path, key: str, config: VqvaeConfig, size: int, counts: dict[str, int], encode: Callable[[str], Levels]
) -> dict[str, Levels]:
    """Returns the codes of each part of a data set: read from ``path``, or computed by ``encode(part)`` and written.

    ``counts`` has the number of images of ``size`` x ``size`` in each part, including the mirrored ones.
    """
    codes = _read(path, key, config, size, counts)
    if codes is not None:
        return codes
    codes = {part: encode(part) for part in counts}
    tensors = {
        f"{part}.{name}": in_memory(level_codes)
        for part, levels in codes.items()
        for name, level_codes in zip(config.level_names, levels, strict=True)
    }
    metadata = {"format": FORMAT, "key": key, "sha256": _digest(codes, counts)}
    try:
        write_file(path, lambda temporary: write_tensors(temporary, tensors, metadata), force=True)
    except OutputError as error:  # for example, the folder belongs to another user
        print(f"{error}: the next training encodes the images again", file=sys.stderr)
    return codes


def _read(path: Path, key: str, config: VqvaeConfig, size: int, counts: dict[str, int]) -> dict[str, Levels] | None:
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as opened:
            metadata = opened.metadata() or {}
            if (metadata.get("format"), metadata.get("key")) != (FORMAT, key):
                return None
            codes = {part: [opened.get_tensor(f"{part}.{name}") for name in config.level_names] for part in counts}
    except Exception:  # a damaged file can raise many types of error; each one leads to encoding again
        return None
    is_valid = all(_is_valid(levels, config, size, counts[part]) for part, levels in codes.items())
    return codes if is_valid and metadata.get("sha256") == _digest(codes, counts) else None


def _digest(codes: dict[str, Levels], parts: Iterable[str]) -> str:
    """Returns the SHA-256 of the codes in hexadecimal: a damaged file can still have a valid header."""
    digest = hashlib.sha256()
    for part in parts:
        for level_codes in codes[part]:
            digest.update(np.ascontiguousarray(level_codes).data)
    return digest.hexdigest()


def _is_valid(levels: Levels, config: VqvaeConfig, size: int, count: int) -> bool:
    for level, codes in enumerate(levels):
        grid = size // config.stride(level)
        if codes.dtype != np.int16 or codes.shape != (count, grid, grid):
            return False
        if codes.min() < 0 or codes.max() >= config.codebook_size:
            return False
    return True
