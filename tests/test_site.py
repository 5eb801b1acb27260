"""The documentation as a site: all pages and public names are there, links lead somewhere, and nothing is garbled."""

from __future__ import annotations

import inspect
import re
import shutil
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path

import pytest

import latentloop
from latentloop import images, kernels

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "examples/README.md"]
PAGES += sorted(f"docs/{page.name}" for page in ROOT.glob("docs/*.md"))
ITEM = r"^ *(?:[-*]|\d+\.) "
pytestmark = pytest.mark.skipif(
    find_spec("mkdocs") is None or find_spec("mkdocstrings_handlers") is None,
    reason='mkdocs is not installed: pip install ".[docs]"',
)


class Html(HTMLParser):
    """A page's anchors, links and files, and of its main part how many elements it has, and the text of each."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []  # followed by a reader
        self.files: list[str] = []  # loaded by the browser
        self.elements: Counter[str] = Counter()
        self.texts: list[tuple[str, str]] = []  # (innermost element, text)
        self._open: list[str] = []
        self._in_main = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.ids.add(values.get("id", ""))
        self._in_main = (self._in_main or values.get("role") == "main") and tag != "footer"
        if self._in_main:
            self.elements[tag] += 1
        if "href" in values and tag != "link":
            self.links.append(values["href"])
        self.files += [values[name] for name in ("src", "href") if name in values and tag != "a"]
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self._in_main and self._open:
            self.texts.append((self._open[-1], data))


def build(root: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """Builds the site of the repository or of a copy. What mkdocs reports is in ``stdout``."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    return subprocess.run(
        command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = build(ROOT, folder)
    assert done.returncode == 0, done.stdout
    return folder


def html_of(site: Path, page: str) -> Html:
    place = re.sub(r"(README)?\.md$", lambda found: "/index.html" if not found[1] else "index.html", page)
    return Html((site / place).read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES)
def test_every_page_is_in_the_navigation(page: str) -> None:
    lines = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").splitlines()
    assert any(line.strip().startswith("- ") and line.endswith(f": {page}") for line in lines), (
        f"add a line to nav in mkdocs.yml, where a reader would look for it: '- What it is about: {page}'"
    )


@pytest.mark.parametrize("module", [latentloop, images, kernels], ids=lambda module: str(module.__name__))
def test_the_reference_has_every_public_name(site: Path, module: object) -> None:
    prefix, names = str(getattr(module, "__name__", "")), list(getattr(module, "__all__", ()))
    html = html_of(site, f"reference/{prefix}.md")
    text = " ".join("".join(part for _, part in html.texts).split())
    for name in names:
        value = getattr(module, name)
        home = f"{getattr(value, '__module__', prefix)}.{name}"
        assert {f"{prefix}.{name}", home} & html.ids, name
        if not (inspect.isclass(value) or inspect.isfunction(value)):
            continue
        members = vars(value).items() if inspect.isclass(value) else ()
        documented = [member for key, member in members if not key.startswith("_") and inspect.getdoc(member)]
        for described in (value, *(each for each in documented if not isinstance(each, str | int | tuple))):
            first = " ".join(str(inspect.getdoc(described)).split("\n\n")[0].replace("``", "").split())
            assert re.sub(r"\s", "", first) in re.sub(r"\s", "", text), (name, first)


def test_arguments_are_shown_as_a_list(site: Path) -> None:
    html = html_of(site, "reference/latentloop.md")
    items = [text for element, text in html.texts if element == "li"]
    for argument in ("labels: class indices", "temperature (over 0)", "callback: called with a ", "rows: the share"):
        assert [text for text in items if text.startswith(argument)], argument


@pytest.mark.parametrize("page", PAGES)
def test_a_page_has_its_tables_lists_code_and_pictures(site: Path, page: str) -> None:
    """Python's Markdown reads some things in another way than a forge, such as a list right below a paragraph."""
    text = (ROOT / page).read_text(encoding="utf-8")
    fences = re.findall(r"^ *```.*?^ *```$", text, re.DOTALL | re.MULTILINE)
    prose = re.sub(r"^ *```.*?^ *```$", "", text, flags=re.DOTALL | re.MULTILINE)
    html = html_of(site, page)
    assert html.elements["pre"] == len(fences)
    assert html.elements["table"] == len(re.findall(r"^ *\|[-:| ]*-[-:| ]*\|$", prose, re.MULTILINE))
    assert html.elements["img"] == prose.count("![")
    assert html.elements["li"] == len(re.findall(ITEM, prose, re.MULTILINE))
    garbled = [text for element, text in html.texts if element == "p" and re.search(rf"```|:::|^\|.*\|$|{ITEM}", text)]
    assert not garbled


def test_links_and_pictures_lead_somewhere(site: Path) -> None:
    pages = {path: Html(path.read_text(encoding="utf-8")) for path in site.rglob("*.html") if path.name != "404.html"}
    assert len(pages) > len(PAGES)
    for page, html in pages.items():
        for link in (*html.links, *html.files):
            if link.startswith(("http:", "https:")):
                continue
            file, _, anchor = link.partition("#")
            target = (page.parent / file).resolve() if file else page
            target = target / "index.html" if target.is_dir() else target
            assert target.is_file(), (page, link)
            assert not anchor or anchor in pages[target].ids, (page, link)
        assert not [file for file in html.files if file.startswith(("http", "//"))]  # the site needs no other server


# ---- Faults that the build has to find.


def copied(tmp_path: Path) -> Path:
    """Returns a copy of what the site is made from."""
    root = tmp_path / "repository"
    root.mkdir()
    for path in ROOT.iterdir():
        if path.name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "mkdocs.yml"):
            shutil.copy(path, root)
        elif path.name == "docs":
            shutil.copytree(path, root / "docs", ignore=shutil.ignore_patterns("__pycache__"))
        elif path.is_dir() and path.name in ("bench", "examples", "export", "kernels", "runtime"):
            (root / path.name).symlink_to(path)
    return root


@pytest.mark.parametrize(
    ("page", "text", "problem"),
    [
        ("docs/bulk.md", "[there](absent.md)", "absent.md"),
        ("docs/bulk.md", "[there](../runtime/absent.py)", "runtime/absent.py"),
        ("docs/bulk.md", "[there](design.md#absent)", "#absent"),
        ("README.md", "![picture](docs/absent.png)", "docs/absent.png"),
        ("docs/new.md", "# A page", "docs/new.md"),
    ],
    ids=["page", "file", "anchor", "picture", "navigation"],
)
def test_a_fault_stops_the_build(tmp_path: Path, page: str, text: str, problem: str) -> None:
    root = copied(tmp_path)
    with (root / page).open("a", encoding="utf-8") as file:
        file.write(f"\n{text}\n")
    done = build(root, tmp_path / "site")
    assert done.returncode != 0
    assert "1 warnings in strict mode" in done.stdout
    assert problem in done.stdout
