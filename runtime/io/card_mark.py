"""The last line of a model card, by which `--force` tells a card as it was written from one that a user has edited."""

from __future__ import annotations

import hashlib
import re

_MARK = re.compile(rb"<!-- latentloop-card ([0-9a-f]{64}) -->\n")
_LENGTH = len(f"<!-- latentloop-card {'0' * 64} -->\n")


def marked(text: str) -> bytes:
    """Returns a card's file: the text, which must end with a line break, and the mark with its SHA-256."""
    content = text.encode()
    return content + f"<!-- latentloop-card {hashlib.sha256(content).hexdigest()} -->\n".encode()


def is_unedited(content: bytes) -> bool:
    """Returns whether a file's content is what ``marked`` returned."""
    text, mark = content[:-_LENGTH], _MARK.fullmatch(content[-_LENGTH:])
    return mark is not None and mark[1].decode() == hashlib.sha256(text).hexdigest()
