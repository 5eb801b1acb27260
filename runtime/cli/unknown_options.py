"""Options on a command line that a command does not have: an error names the nearest one that it has."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Sequence

from latentloop.errors import InputError

_SIMILAR = 0.7  # ratio of difflib


def check_options(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> None:
    """Raises InputError for an option that neither the parser nor a sub-command named before it has.

    argparse would first report what is missing, and gives no hint.
    """
    parsers = [parser]
    for argument in arguments:
        if argument == "--":
            return
        for action in parsers[-1]._actions:
            if isinstance(action, argparse._SubParsersAction) and argument in action.choices:
                parsers.append(action.choices[argument])
                break
        known = [option for each in parsers for option in each._option_string_actions]
        if _is_unknown(argument, known):
            name = argument.split("=")[0]
            raise InputError(f"no option {name}{_hint(name, known)}; see `{parsers[-1].prog} --help`")


def _is_unknown(argument: str, known: Sequence[str]) -> bool:
    """Returns whether argparse would take the argument as an option that is not ``known``."""
    if not re.match(r"-[^\d.]", argument) or " " in argument:
        return False
    is_short = not argument.startswith("--") and argument[:2] in known  # such as -n5
    return argument.split("=")[0] not in known and not is_short


def _hint(name: str, known: Sequence[str]) -> str:
    texts = {option.lstrip("-"): option for option in known if option.startswith("--")}
    text = name.lstrip("-").replace("_", "-")
    similar = [each for each in texts if each.startswith(text)] or difflib.get_close_matches(text, texts, 1, _SIMILAR)
    return f", did you mean {' or '.join(texts[each] for each in similar[:3])}?" if similar else ""
