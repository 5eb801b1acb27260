"""Finding of sets of engines by Python and by liblatentloop, and the comparison of what they find."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from embedded_bundles import BAD_BUNDLE, MISSING, Reader, comparable
from made_once import made_once
from test_engines import SM90, build

from latentloop import Bundle
from latentloop.bundles.codec import CodecGraph, Tensor
from latentloop.bundles.manifest import Binding, GraphFile
from latentloop.engines.engine_set import EngineSet
from latentloop.engines.finding import find_engines

Found = EngineSet | str
Search = Callable[..., Found]  # the fixture ``find`` of the tests
OTHER = re.compile(r"has no (engines|graphs)|is stale| is (for|built by|of the precision) ")  # no set, or for others
NAME = re.compile(r"'(?!batch')[^']*'")  # a size of a shape that is neither a number nor "batch"


def copy_with_engines(source: Path, folder: Path, folders: pytest.TempPathFactory) -> Path:
    """Copies a bundle and a set of engines for ``SM90``, whose plans are texts, into a folder; returns the copy."""

    def make(path: Path) -> None:
        shutil.copytree(source, path)
        build(path)

    return Path(shutil.copytree(made_once(folders, "engines-of-texts", make), folder / "bundle"))


def searches(reader: Reader) -> Search:
    """Returns a function for what both find for a request, changed from ``SM90``: the set, or the line that says why
    there is none.
    """

    def search(bundle: Path, **key: str) -> Found:
        error, _ = reader.ask("keep", bundle)
        assert error is None
        return compare(Bundle.open(bundle), reader, **key)

    return search


def compare(opened: Bundle, reader: Reader, **key: str) -> Found:
    """Returns what Python finds in a bundle, which the reader has open, too, after a comparison of the two."""
    key = {**SM90, **key}
    expected = find_engines(opened, **key)
    words = [key[name] for name in ("flavour", "library", "architecture", "precision")]
    refusal = MISSING if isinstance(expected, str) and OTHER.search(expected) else BAD_BUNDLE
    error, text = reader.ask("engines", *words, refusal=refusal)
    if isinstance(expected, str):
        assert error is not None, f"C++ accepts what Python refuses: {expected}"
        assert same_text(error) == same_text(expected)
    else:
        assert error is None
        assert json.loads(text) == fields(expected)
    return expected


def same_text(text: str) -> str:
    """Returns the text of an error without what may differ: C++ does not keep the names of unknown sizes."""
    shapes = re.sub(r"shape=\([^()]*\)", lambda shape: NAME.sub("'...'", shape[0]), text)
    return comparable(shapes)


def fields(engines: EngineSet) -> Any:
    """Returns the set as the C++ program writes it."""
    described = asdict(engines)
    for level in described["levels"]:
        prior = level["prior"]
        names = [buffer["name"] for buffer in prior["memories"]] if prior else []
        for graph in prior["graphs"].values() if prior else ():
            for binding in (*graph["inputs"], *graph["outputs"]):
                binding["buffer"] = names.index(binding["memory"])
    graphs: list[CodecGraph | GraphFile] = [engines.encoder, engines.decoder]
    for level in engines.levels:
        graphs += [graph for _, graph in sorted(level.prior.graphs.items())] if level.prior else []
    described["engines"] = [
        {
            "file": graph.file,
            "inputs": [tensor(each) for each in graph.inputs],
            "outputs": [tensor(each) for each in graph.outputs],
        }
        for graph in graphs
    ]
    described["types"] = {
        graph["file"]: {each["name"]: each["dtype"] for each in (*graph["inputs"], *graph["outputs"])}
        for graph in described["engines"]
    }
    return json.loads(json.dumps({**described, "folder": str(engines.folder)}))


def tensor(binding: Tensor | Binding) -> dict[str, Any]:
    return {"name": binding.name, "dtype": binding.dtype, "shape": binding.shape}
