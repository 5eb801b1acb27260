"""What a command into a folder leaves open, and its journal records."""

import argparse
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any

from latentloop.bulk.journal import ANEW
from latentloop.errors import BundleError, OutputError
from latentloop.io.json_reading import read

Positive = Annotated[int, range(1, 2**31)]


@dataclass(frozen=True)
class Choices:
    """What a command may leave open: then it is as before if the run goes on, and else None: chosen later."""

    seed: Annotated[int, range(2**64)] | None
    device: str | None
    threads: Positive | None
    batch_size: Positive | None
    shard_size: Positive | None


def choices_of(arguments: argparse.Namespace, before: dict[str, Any], journal: Path) -> Choices:
    """Returns the options of the command, or for those that it leaves open the values of the journal's header.

    Raises OutputError if these cannot be read.
    """
    try:
        recorded = read(Choices, before, f"{journal}: line 1")
    except BundleError as error:
        raise OutputError(f"{error}: the journal is damaged: {ANEW}") from error
    chosen = {field.name: getattr(arguments, field.name, None) for field in fields(Choices)}
    if chosen["device"] == "auto" and recorded.device is not None:
        chosen["device"] = None
    return replace(recorded, **{name: value for name, value in chosen.items() if value is not None})
