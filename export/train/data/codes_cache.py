"""The codes of a data set on disk, beside the VQ-VAE that made them: the next prior need not encode the images again.

The file's name holds a digest of all that decides the codes, its metadata one of the codes. A file that cannot be read,
or that does not fit, is written anew; processes that start at once write the same, each a whole file.
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
from latentloop.export.checkpoints.checkpoint import write_tensors
from latentloop.export.configuration import VqvaeConfig
from latentloop.export.train.data.codes import Levels
from latentloop.io.files import write_file

FORMAT = "latentloop-codes-1"


def cache_key(vqvae_codes: str, data: str, *, flip: bool) -> str:
    """SHA-256 in hexadecimal over what decides codes: the digests of the VQ-VAE and of the data, and mirroring."""
    decides = {"format": FORMAT, "vqvae": vqvae_codes, "data": data, "flip": flip}
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


def cache_path(vqvae: Path, key: str) -> Path:
    """Where the codes of the VQ-VAE at that path lie."""
    return vqvae.with_name(f"{vqvae.stem}.codes-{key[:12]}.safetensors")


def cached(
    path: Path, key: str, config: VqvaeConfig, size: int, counts: dict[str, int], encode: Callable[[str], Levels]
) -> dict[str, Levels]:
    """The codes of each part of a data set, from ``path`` or by ``encode(part)``, which ``path`` then keeps.

    ``counts`` says how many images of ``size`` x ``size`` each part has, with the mirrored ones.
    """
    found = _read(path, key, config, size, counts)
    if found is not None:
        return found
    found = {part: encode(part) for part in counts}
    tensors = {
        f"{part}.{name}": codes
        for part, levels in found.items()
        for name, codes in zip(config.level_names, levels, strict=True)
    }
    metadata = {"format": FORMAT, "key": key, "sha256": _digest(found, counts)}
    try:
        write_file(path, lambda temporary: write_tensors(temporary, tensors, metadata), force=True)
    except OutputError as error:  # a folder of another user's, say
        print(f"{error}: the next training encodes the images again", file=sys.stderr)
    return found


def _read(path: Path, key: str, config: VqvaeConfig, size: int, counts: dict[str, int]) -> dict[str, Levels] | None:
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as opened:
            metadata = opened.metadata() or {}
            if (metadata.get("format"), metadata.get("key")) != (FORMAT, key):
                return None
            found = {part: [opened.get_tensor(f"{part}.{name}") for name in config.level_names] for part in counts}
    except Exception:  # a damaged file can fail in many ways, all of which mean the same
        return None
    fit = all(_fit(levels, config, size, counts[part]) for part, levels in found.items())
    return found if fit and metadata.get("sha256") == _digest(found, counts) else None


def _digest(found: dict[str, Levels], parts: Iterable[str]) -> str:
    """SHA-256 in hexadecimal over the codes themselves: a damaged file may still have a sound header."""
    digest = hashlib.sha256()
    for part in parts:
        for codes in found[part]:
            digest.update(np.ascontiguousarray(codes).data)
    return digest.hexdigest()


def _fit(levels: Levels, config: VqvaeConfig, size: int, count: int) -> bool:
    for level, codes in enumerate(levels):
        grid = size // config.stride(level)
        if codes.dtype != np.int16 or codes.shape != (count, grid, grid):
            return False
        if codes.min() < 0 or codes.max() >= config.codebook_size:
            return False
    return True
