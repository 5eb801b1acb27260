"""Shows docstrings, which are prose for help(), as Markdown: lists of arguments, and every other character as it is."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object


class Prose(Extension):
    """Turns the docstring of every object to Markdown."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        """Replaces the text of a docstring."""
        if obj.docstring:
            obj.docstring.value = to_markdown(obj.docstring.value)


def to_markdown(docstring: str) -> str:
    """Returns a docstring as Markdown. In a paragraph with hanging indents, each entry becomes an item of a list."""
    paragraphs = re.split(r"\n\s*\n", docstring.strip())
    return "\n\n".join(listed(escaped(paragraph)) for paragraph in paragraphs)


def listed(paragraph: str) -> str:
    """Returns a paragraph, or the list that its hanging indents mean."""
    if "\n    " not in paragraph:
        return paragraph
    return "\n".join(f"    {line.strip()}" if line[0] == " " else f"- {line}" for line in paragraph.splitlines())


def escaped(paragraph: str) -> str:
    """Returns a paragraph in which only ``code`` has a meaning for Markdown."""
    parts = re.split(r"(``.*?``)", paragraph, flags=re.DOTALL)
    return "".join(part if part.startswith("``") else re.sub(r"([\\`*_\[\]<>])", r"\\\1", part) for part in parts)
