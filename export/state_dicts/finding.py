"""Finding the state dict of a model in a file that can hold several."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

from latentloop.errors import CheckpointError, listed
from latentloop.export.state_dicts.candidates import candidates
from latentloop.export.state_dicts.checkpoint_file import CheckpointFile
from latentloop.export.state_dicts.selection import StateSelection
from latentloop.export.state_dicts.state_dict import StateDict

Configuration = TypeVar("Configuration")


def find_state(
    file: CheckpointFile,
    landmarks: Sequence[str],
    configure: Callable[[StateDict], Configuration],
    selection: StateSelection,
    *,
    layout: str,
    model: str,
    level: str | None = None,
) -> tuple[StateDict, Configuration]:
    """Returns the state dict of a model, and its configuration.

    ``landmarks``: names that only this model's state dict has; the file has one of them at least. ``configure`` derives
    the configuration from the shapes, and raises CheckpointError for a state that is not a complete model. If several
    states are complete, ``selection`` selects one by its name; without a name the preferred one is used, and a line on
    stderr says so. ``model`` names the model in messages; ``level`` is the level of a prior.

    Raises CheckpointError.
    """
    # 1. Derive the configuration of every state with a landmark.
    states = candidates(file.contents, landmarks, level)
    state_dicts = {state.name: StateDict.of(file, state, layout) for state in states}
    configurations: dict[str, Configuration] = {}
    errors: dict[str, CheckpointError] = {}
    for name, state_dict in state_dicts.items():
        try:
            configurations[name] = configure(state_dict)
        except CheckpointError as error:
            errors[name] = error

    # 2. Select among the complete states; among all if the selected name matches incomplete ones only.
    complete = [state for state in states if state.name in configurations]
    name_matches = selection.name is None or any(state.match_rank(selection.name) for state in complete)
    selected = selection.select(file.path, complete if complete and name_matches else states)
    name = selected.name if selected is not None else next(iter(configurations or errors))
    if name in errors:
        raise errors[name]

    # 3. Report a choice that the user did not make.
    if selected is None and len(configurations) > 1:
        other = next(each for each in configurations if each != name)
        print(
            f"{file.path} holds {len(configurations)} states that make {model}: {listed(configurations)}; {name} "
            f"is used (latentloop export selects another with --state, such as --state {other})",
            file=sys.stderr,
        )
    return state_dicts[name], configurations[name]
