"""The program ``latentloop``. Its commands are the modules of ``latentloop.cli.commands``, and the entry points of the
group ``latentloop.commands``, which other packages register.

A command is a module with ``HELP`` (one line), optionally ``EPILOG`` (examples), ``add_arguments(parser)`` and
``run(arguments) -> exit status``. Only the requested command's module is imported, so that the program starts fast and
a command that cannot be imported does not break the others.
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
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from latentloop._version import __version__
from latentloop.bundles.hub_address import is_address, is_mangled
from latentloop.cli.commands import COMMANDS
from latentloop.cli.interrupt import TERMINATION_SIGNALS, exit_status, raise_on_termination
from latentloop.cli.messages import StdoutError, flush_stdout, print_line
from latentloop.cli.options import check_no_bundle
from latentloop.cli.unknown_options import check_options
from latentloop.errors import InputError, LatentLoopError, MissingError, printable

GROUP = "latentloop.commands"
ORDER = (
    "sample", "complete", "merge", "encode", "decode", "reconstruct", "evaluate", "verify", "info",
    "export", "build-engines", "data", "train", "bench",
)  # fmt: skip
_OVERVIEW = """\
usage: latentloop [--help] [--version] COMMAND ...

Samples images from a trained VQ-VAE-2.

commands:
{commands}

`latentloop COMMAND --help` lists a command's options and shows examples.
With --debug an error shows its traceback."""
_OWN = {name: f"latentloop.cli.commands.{name}" for name in COMMANDS}  # modules

# Exit statuses.
FAILURE = 1
WRONG_USE = 2
BROKEN_PIPE = 141  # 128 + SIGPIPE


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are InputErrors, and whose options cannot be abbreviated."""

    def __init__(self, **options: Any) -> None:
        defaults = {"allow_abbrev": False, "formatter_class": argparse.RawDescriptionHelpFormatter}
        super().__init__(**{**defaults, **options})

    def error(self, message: str) -> NoReturn:
        """Raises InputError."""
        raise InputError(f"{message}; see `{self.prog} --help`")

    def print_help(self, file: Any = None) -> None:
        """Prints the help on stdout. Raises StdoutError, where argparse would ignore the error."""
        print_line(self.format_help().rstrip("\n"), flush=True)


def main(argv: list[str] | None = None) -> int:
    """Runs one command and returns the exit status: 0, 1 for a failure, 2 for wrong usage or input, 130 after Ctrl-C,
    143 after SIGTERM, 129 after SIGHUP.

    Errors are one line on stderr, or a traceback with ``--debug``. Without ``argv`` the arguments are the process's
    own; then a signal ends the process here.
    """
    status = _run(sys.argv[1:] if argv is None else argv)
    if argv is None and status - 128 in TERMINATION_SIGNALS:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            sys.stdout.flush()
        os._exit(status)  # a normal exit would take a second for PyTorch's cleanup
    return status


def _run(argv: list[str]) -> int:
    arguments, debug = _take_debug(argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # for file names that the terminal cannot show
    try:
        with raise_on_termination(), warnings.catch_warnings():
            warnings.showwarning = _show_warning
            status = _dispatch(arguments)
            flush_stdout()
            return status
    except KeyboardInterrupt as stop:
        if temporaries := sys.modules.get("latentloop.io.temporaries"):
            temporaries.discard_temporaries()  # a second signal may have stopped their removal
        print("latentloop: interrupted", file=sys.stderr)
        return exit_status(stop)
    except BrokenPipeError:
        _drop_stdout()
        return BROKEN_PIPE
    except Exception as error:
        if isinstance(error, OSError | StdoutError):
            _drop_stdout()
        if debug:
            traceback.print_exc()
        else:
            print(f"latentloop: error: {_one_line(error)}", file=sys.stderr)
        return WRONG_USE if isinstance(error, InputError) else FAILURE


def commands() -> dict[str, str]:
    """Returns the modules of the installed commands by name, in the order of ``--help``, without importing them."""
    from importlib.metadata import entry_points  # late: takes 30 ms, and the runtime's own commands do not need it

    installed = dict(_OWN)
    for entry in entry_points(group=GROUP):
        installed.setdefault(entry.name, entry.value)
    others = sorted(installed.keys() - set(ORDER))
    return {name: installed[name] for name in (*ORDER, *others) if name in installed}


def _dispatch(arguments: list[str]) -> int:
    if not arguments:
        print(_overview(), file=sys.stderr)
        return WRONG_USE
    name, *rest = arguments
    if name in ("-h", "--help"):
        print_line(_overview())
        return 0
    if name == "--version":
        print_line(f"latentloop {__version__}")
        return 0
    module = _load(name, _OWN.get(name) or _other_command(name))
    parser = Parser(prog=f"latentloop {name}", description=module.HELP, epilog=getattr(module, "EPILOG", None))
    module.add_arguments(parser)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    check_options(parser, rest)
    try:
        parsed, extra = parser.parse_known_args(rest)
    except SystemExit as stop:  # after --help
        return int(stop.code or 0)
    if extra:
        if hasattr(parsed, "bundle") and not hasattr(parsed, "BUNDLE"):
            check_no_bundle(map(Path, extra), parsed)
        parser.error(f"unexpected arguments: {' '.join(extra)}")
    _check_paths(parsed, rest)
    _check_addresses(parsed, rest)
    return int(module.run(parsed))


def _check_paths(parsed: argparse.Namespace, arguments: list[str]) -> None:
    """Raises InputError for an empty path, which would otherwise mean the working directory."""
    if not any(argument == "" or (argument.startswith("--") and argument.endswith("=")) for argument in arguments):
        return
    for name, value in vars(parsed).items():
        if Path() in (value if isinstance(value, list) else [value]):
            raise InputError(f"{name.replace('_', '-')} is empty, expected a path: is a variable of the shell not set?")


def _check_addresses(parsed: argparse.Namespace, arguments: list[str]) -> None:
    """Raises InputError for an address where only a path fits: the path would be of a directory "hf:"."""
    given = [part for argument in arguments for part in (argument, argument.partition("=")[2]) if is_address(part)]
    for name, value in vars(parsed).items() if given else ():
        for path in value if isinstance(value, list) else [value]:
            if (isinstance(path, Path) and is_mangled(path)) or (name == "out" and is_address(path)):
                address = next((text for text in given if Path(text) == Path(path)), path)
                raise InputError(
                    f"{name.replace('_', '-')} is {address}, expected a path: only a bundle that is read (--bundle) "
                    "can have an address; for a directory of that name write ./hf:"
                )


def _other_command(name: str) -> str:
    """Returns the module of a command that another package registers. Raises InputError if there is none."""
    installed = commands()
    if name in installed:
        return installed[name]
    if name.startswith("-"):
        raise InputError(f"no option {name} before the command; see `latentloop --help`")
    similar = difflib.get_close_matches(name, installed)
    hint = f", did you mean {' or '.join(similar)}?" if similar else "; see `latentloop --help`"
    raise InputError(f"no command {name!r}{hint}")


def _load(name: str, module_name: str) -> ModuleType:
    """Imports and returns a command. Raises MissingError that names it if it cannot be imported or is not a command."""
    subject = f"the command {name!r} ({module_name})"
    try:
        module = import_module(module_name)
    except Exception as error:  # an installed package may raise anything
        raise MissingError(
            f"{subject} cannot be loaded: {type(error).__name__}: {error}; reinstall the package that registers it"
        ) from error
    for attribute in ("HELP", "add_arguments", "run"):
        if not hasattr(module, attribute):
            raise MissingError(f"{subject} has no {attribute}; it is not a LatentLoop command, remove its package")
    return module


def _overview() -> str:
    lines = []
    for name, module_name in commands().items():
        try:
            text = _load(name, module_name).HELP
        except MissingError as error:
            text = f"(not usable: {_one_line(error)})"
        lines.append(f"  {name:<13} {text}")
    return _OVERVIEW.format(commands="\n".join(lines))


def _take_debug(arguments: list[str]) -> tuple[list[str], bool]:
    """Removes ``--debug`` from the arguments, at any position, and returns whether it was there."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    others = [argument for argument in arguments[:end] if argument != "--debug"]
    return others + arguments[end:], len(others) < end


def _one_line(error: Exception) -> str:
    text = printable(" ".join(str(error).splitlines()))
    if isinstance(error, LatentLoopError):
        return text
    from latentloop.environment.packages import broken_import  # late, so that --help is fast

    if broken := broken_import(error):
        return printable(broken)
    return f"{type(error).__name__}: {text} (--debug shows the traceback)"


def _show_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: Any = None
) -> None:
    """Prints a warning in one line, like errors. Replaces ``warnings.showwarning``."""
    name = "" if category.__module__.startswith("latentloop.") else f"{category.__name__}: "
    print(f"latentloop: warning: {name}{printable(' '.join(str(message).split()))}", file=sys.stderr)


def _drop_stdout() -> None:
    """Redirects stdout to /dev/null: flushing its buffer when the interpreter ends would fail again."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
