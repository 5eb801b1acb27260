"""The program ``latentloop``: its commands are the entry points of the group ``latentloop.commands``.

A command is a module with ``HELP`` (one line), perhaps ``EPILOG`` (examples), ``add_arguments(parser)`` and
``run(arguments) -> exit status``. Only the module of the command asked for is imported: it starts fast, and one that
cannot be imported breaks no other.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import io
import os
import sys
import traceback
import warnings
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from latentloop._version import __version__
from latentloop.cli.interrupt import ENDING, endable, exit_status
from latentloop.errors import InputError, LatentLoopError, MissingError

GROUP = "latentloop.commands"
ORDER = (
    "sample", "encode", "decode", "reconstruct", "verify", "info",
    "export", "build-engines", "data", "train", "bench",
)  # fmt: skip

# Exit statuses.
FAILURE = 1
WRONG_USE = 2
BROKEN_PIPE = 141  # 128 + SIGPIPE


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are InputErrors, and whose options cannot be abbreviated."""

    def __init__(self, **options: Any) -> None:
        plain = {"allow_abbrev": False, "formatter_class": argparse.RawDescriptionHelpFormatter}
        super().__init__(**{**plain, **options})

    def error(self, message: str) -> NoReturn:
        """Raises InputError."""
        raise InputError(f"{message}; see `{self.prog} --help`")


def main(argv: list[str] | None = None) -> int:
    """Runs one command and returns the exit status: 0, 1 for a failure, 2 for wrong usage or input, 130 after Ctrl-C,
    143 after SIGTERM, 129 after SIGHUP.

    Errors are one line on stderr, or a traceback with ``--debug``. Without ``argv`` this is the program, and where a
    signal asked it to end it does not return.
    """
    status = _run(sys.argv[1:] if argv is None else argv)
    if argv is None and status - 128 in ENDING:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            sys.stdout.flush()
        os._exit(status)  # PyTorch alone takes a second to be taken down, and nothing is left to do
    return status


def _run(argv: list[str]) -> int:
    arguments, debug = _take_debug(argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file name may hold what the terminal cannot show
    try:
        with endable(), warnings.catch_warnings():
            warnings.showwarning = _show_warning
            status = _dispatch(arguments)
            if sys.stdout is not None:  # it was closed before the program began
                sys.stdout.flush()
            return status
    except KeyboardInterrupt as stop:
        if files := sys.modules.get("latentloop.io.temporaries"):
            files.discard_temporaries()  # where a second one came while they were being removed
        print("latentloop: interrupted", file=sys.stderr)
        return exit_status(stop)
    except BrokenPipeError:
        _drop_stdout()
        return BROKEN_PIPE
    except Exception as error:
        if isinstance(error, OSError):
            _drop_stdout()
        if debug:
            traceback.print_exc()
        else:
            print(f"latentloop: error: {_one_line(error)}", file=sys.stderr)
        return WRONG_USE if isinstance(error, InputError) else FAILURE


def commands() -> dict[str, EntryPoint]:
    """The installed commands by name, in the order of ``--help``; none is imported."""
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=GROUP):
        found.setdefault(entry.name, entry)
    rank = {name: index for index, name in enumerate(ORDER)}
    return {name: found[name] for name in sorted(found, key=lambda name: (rank.get(name, len(ORDER)), name))}


def _dispatch(arguments: list[str]) -> int:
    if not arguments:
        print(_overview(), file=sys.stderr)
        return WRONG_USE
    name, *rest = arguments
    if name in ("-h", "--help"):
        print(_overview())
        return 0
    if name == "--version":
        print(f"latentloop {__version__}")
        return 0
    known = commands()
    if name not in known:
        raise InputError(_unknown(name, list(known)))
    module = _load(known[name])
    parser = Parser(prog=f"latentloop {name}", description=module.HELP, epilog=getattr(module, "EPILOG", None))
    module.add_arguments(parser)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    try:
        parsed = parser.parse_args(rest)
    except SystemExit as stop:  # after --help
        return int(stop.code or 0)
    _check_paths(parsed, rest)
    return int(module.run(parsed))


def _check_paths(parsed: argparse.Namespace, arguments: list[str]) -> None:
    """Raises InputError for a path that was given as an empty text, which would mean the working directory."""
    if not any(argument == "" or (argument.startswith("--") and argument.endswith("=")) for argument in arguments):
        return
    for name, value in vars(parsed).items():
        if Path() in (value if isinstance(value, list) else [value]):
            raise InputError(f"{name.replace('_', '-')} is empty, expected a path: is a variable of the shell not set?")


def _unknown(name: str, known: list[str]) -> str:
    if name.startswith("-"):
        return f"no option {name} before the command; see `latentloop --help`"
    near = difflib.get_close_matches(name, known)
    return f"no command {name!r}" + (f", did you mean {' or '.join(near)}?" if near else "; see `latentloop --help`")


def _load(entry: EntryPoint) -> ModuleType:
    """The command's module. Raises MissingError that names it where it cannot be imported or is no command."""
    where = f"the command {entry.name!r} ({entry.value})"
    try:
        module = entry.load()
    except Exception as error:  # whatever an installed package may do
        raise MissingError(
            f"{where} cannot be loaded: {type(error).__name__}: {error}; install again the package that registers it"
        ) from error
    for attribute in ("HELP", "add_arguments", "run"):
        if not hasattr(module, attribute):
            raise MissingError(f"{where} has no {attribute}; it is not a LatentLoop command, remove its package")
    return module  # type: ignore[no-any-return]


def _overview() -> str:
    lines = []
    for name, entry in commands().items():
        try:
            text = _load(entry).HELP
        except MissingError as error:
            text = f"(not usable: {_one_line(error)})"
        lines.append(f"  {name:<12} {text}")
    return "\n".join(
        [
            "usage: latentloop [--help] [--version] COMMAND ...",
            "",
            "Samples images from a trained VQ-VAE-2.",
            "",
            "commands:",
            *lines,
            "",
            "`latentloop COMMAND --help` lists a command's options and shows examples.",
            "With --debug an error shows its traceback.",
        ]
    )


def _take_debug(arguments: list[str]) -> tuple[list[str], bool]:
    """The arguments without ``--debug``, which may stand anywhere, so that commands with sub-commands accept it too."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    kept = [argument for argument in arguments[:end] if argument != "--debug"]
    return kept + arguments[end:], len(kept) < end


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).splitlines())
    if isinstance(error, LatentLoopError):
        return text
    from latentloop.environment.packages import broken_import  # late: --help is fast

    if broken := broken_import(error):
        return str(broken)
    return f"{type(error).__name__}: {text} (--debug shows the traceback)"


def _show_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: Any = None
) -> None:
    """One line, as errors are. Takes the place of ``warnings.showwarning``."""
    name = "" if category.__module__.startswith("latentloop.") else f"{category.__name__}: "
    print(f"latentloop: warning: {name}{' '.join(str(message).split())}", file=sys.stderr)


def _drop_stdout() -> None:
    """Sends to nowhere what is still buffered: writing it would fail again when the interpreter ends."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
