"""What the libFuzzer target of tests/native/embedding/fuzz begins with: manifests, and tiny files that they list."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from corrupted_bundles import mutate, read_manifest, scalars

MUTATED = 20


def write_seeds(folder: Path, bundles: Iterable[Path]) -> None:
    """Writes the folders `whole`, `cut` and `seeds`, and a dictionary of the manifests' words.

    Manifests are those of bundles, with records of files of a few bytes, because opening a bundle reads all of them.
    Other seeds are such manifests with one random change.
    """
    for name in ("whole", "cut", "seeds"):
        (folder / name).mkdir(parents=True)
    rng = random.Random(0)
    words: set[str] = set()
    for number, bundle in enumerate(bundles):
        manifest = read_manifest(bundle)
        for name in manifest["files"]:
            content = name.encode() + b"\n"
            manifest["files"][name] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            (folder / "whole" / name).write_bytes(content)
            (folder / "cut" / name).write_bytes(content[: -1 if name == "weights.safetensors" else None])
        manifest["provenance"] = {}
        text = json.dumps(manifest)
        (folder / "seeds" / f"{number}").write_text(text)
        words |= {json.dumps(word) for keys, value in scalars(manifest) for word in (*keys, value)}
        for change in range(MUTATED):
            changed = json.loads(text)
            mutate(changed, rng)
            with suppress(ValueError):  # a list or object now contains itself
                (folder / "seeds" / f"{number}-{change}").write_text(json.dumps(changed))
    escaped = sorted(word.replace("\\", "\\\\").replace('"', '\\"') for word in words if len(word) < 60)
    (folder / "words").write_text("".join(f'"{word}"\n' for word in escaped))
