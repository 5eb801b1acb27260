"""Errors for files that no layout can read. The messages say what the file holds and what to do."""

from __future__ import annotations

import re
from collections.abc import Sequence

from latentloop.errors import CheckpointError
from latentloop.export.checkpoints.checkpoint import KIND_NAMES
from latentloop.export.layouts import own
from latentloop.export.layouts.layout import Layout, ReadRequest
from latentloop.export.state_dicts.checkpoint_file import CheckpointFile
from latentloop.export.state_dicts.files.contents import Contents, describe, listed_names
from latentloop.export.state_dicts.files.tensors import StoredTensor

_DISCRIMINATOR = re.compile(r"(^|[._])(net_?d|disc\w*|d_model)([._]|$)", re.I)


def unreadable(file: CheckpointFile, request: ReadRequest, layouts: Sequence[Layout]) -> CheckpointError:
    """Returns the error for a file that none of the ``layouts`` can read.

    Raises CheckpointError itself if the file is missing or damaged, or lacks the state that the user selected.
    """
    contents = file.contents
    if contents.modules:
        return whole_module(file)
    request.selection.select(file.path, [])
    expected = ", or ".join(filter(None, (layout.expected(request.kind) for layout in layouts)))
    reason = _reason(file, contents, expected)
    return CheckpointError(f"{file.path} holds no state dict of {KIND_NAMES[request.kind]}: {reason}")


def whole_module(file: CheckpointFile) -> CheckpointError:
    """Returns the error for a file that holds a pickled module, which refers to code that would have to be executed."""
    expression, name = next(iter(file.contents.modules.items()))
    return CheckpointError(
        f"{file.path} holds a whole module ({name[:80]}); opening it would run the code of its class, which LatentLoop "
        "does not do. On a machine with that code, save only its tensors: "
        f'torch.save(torch.load("{file.path.name}", '
        f'map_location="cpu", weights_only=False){expression}.state_dict(), "{file.path.stem}-weights.pt")'
    )


def _reason(file: CheckpointFile, contents: Contents, expected: str) -> str:
    tensors = [item for item in contents.items if isinstance(item.value, StoredTensor)]
    if file.has_any(own.LANDMARKS):
        return (
            "its tensors have the names of LatentLoop's own checkpoints, but it lacks their metadata; give the file "
            "that LatentLoop wrote"
        )
    if any("param_groups" in item.parts for item in contents.items) and all(
        not {"state", "optimizer", "param_groups"}.isdisjoint(item.parts) for item in tensors
    ):
        return "it holds only an optimiser's state; give the file that holds the model's weights"
    if tensors and all(_DISCRIMINATOR.search(item.spelled) for item in tensors):
        return "it holds a discriminator, which only training needs; give the file that holds the model's weights"
    if tensors:
        names = listed_names(item.spelled for item in tensors)
        return f"it has another architecture: its tensors are {names}; expected {expected}"
    if not contents.items:
        return f"it holds only {describe(contents.root)}; give the file that holds the model's weights"
    values = [f"{item.spelled} ({describe(item.value)})" for item in contents.items]
    return f"it holds no tensors, but {listed_names(values)}; give the file that holds the model's weights"
