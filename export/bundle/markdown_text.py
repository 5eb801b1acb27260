"""Text of others, such as class names from a checkpoint, inside Markdown: shown as it is, whatever it holds."""

from __future__ import annotations

import re
from collections.abc import Sequence

from latentloop.errors import printable

# Characters that mean something anywhere in a line; a backslash before one of ASCII's punctuation marks takes the
# meaning away. The others mean something at the start of a line, or before certain characters.
_ALWAYS = re.compile(r"[\\`*_{}\[\]()<>|~&@$#^]")
_AT_START = re.compile(r"^(?:[-+=!:]|(\d+)(?=[.)]))")
_LINK = re.compile(r":(?=[/\w+-])|(?<=www)\.", re.IGNORECASE)


def escaped(text: object, most: int = 200) -> str:
    """Returns a text as one line of Markdown without markup, shortened to ``most`` characters."""
    line = printable(" ".join(str(text).split()))
    if len(line) > most:
        line = f"{line[: most - 1]}…"
    line = _LINK.sub(lambda match: f"\\{match[0]}", _ALWAYS.sub(lambda match: f"\\{match[0]}", line))
    return _AT_START.sub(lambda match: f"{match[1]}\\" if match[1] else f"\\{match[0]}", line)


def table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Returns the lines of a table. The cells are Markdown: ``escaped``, where others wrote them."""
    return [_row(header), _row(tuple("---" for _ in header)), *map(_row, rows)]


def _row(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"
