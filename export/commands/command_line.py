"""A command as text for a shell, from parsed arguments."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Collection


def options_given(
    parser: argparse.ArgumentParser, arguments: argparse.Namespace, *, leave_out: Collection[str] = ()
) -> dict[str, list[str]]:
    """Returns the options of ``parser`` whose values are not the defaults, by name: each one's words on a command line.

    ``leave_out``: names of options, such as ``force``.
    """
    given: dict[str, list[str]] = {}
    for action in parser._actions:
        value = getattr(arguments, action.dest, None)
        if not action.option_strings or action.dest in leave_out or value is None or value == action.default:
            continue
        option = action.option_strings[0]
        if isinstance(action, argparse.BooleanOptionalAction):
            given[action.dest] = [action.option_strings[0 if value else 1]]
        elif action.nargs != 0:
            text = str(value)
            given[action.dest] = [f"{option}={text}"] if text.startswith("-") else [option, text]
        elif value == action.const:
            given[action.dest] = [option]
    return given


def command(*words: object) -> str:
    """Returns a command of ``latentloop``, quoted for a shell."""
    return shlex.join(["latentloop", *map(str, words)])
