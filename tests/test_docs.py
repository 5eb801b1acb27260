"""The documentation names files, links and headings that exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    *sorted(f"docs/{page.name}" for page in ROOT.glob("docs/*.md")),
]
FOLDERS = ("runtime", "export", "kernels", "bench", "tests", "docs", "examples")


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def anchors_of(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def paths_in(text: str) -> Iterator[str]:
    for code in re.findall(r"`([^`\n]+)`", text):
        for word in code.split():
            path = word.rstrip(":,")
            if re.fullmatch(rf"({'|'.join(FOLDERS)})/[\w./-]*", path):
                yield path


@pytest.mark.parametrize("page", PAGES)
def test_paths_exist(page: str) -> None:
    missing = [path for path in paths_in(text_of(page)) if not (ROOT / path).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        if target.startswith("http"):
            continue
        file, _, anchor = target.partition("#")
        path = (ROOT / page).parent / file if file else ROOT / page
        assert path.exists(), target
        assert not anchor or anchor in anchors_of(path), target


def test_the_architecture_page_is_short_and_names_every_room() -> None:
    text = text_of("docs/architecture.md")
    assert len(text.splitlines()) <= 80
    for folder in ("runtime", "export", "kernels", "bench"):
        for room in (ROOT / folder).iterdir():
            if room.is_dir() and room.name not in ("__pycache__", "data", "results"):
                assert f"{room.name}/" in text, room
