"""The site's files: the repository's pages, where they are, so that every link works here as it does on a forge.

With them come the files and folders that they link to, and the reference, made from docstrings and headers.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
MODULES = {"latentloop": "runtime", "latentloop.images": "runtime/images", "latentloop.kernels": "kernels"}
HEADERS = {"c": "latentloop.h", "cpp": "latentloop.hpp"}
LINK = re.compile(r"(?<=\]\()[^)\s#]+")
CODE = re.compile(r"```.*?```", re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages, what they link to, and the reference."""
    pages = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "examples/README.md"]
    pages += [f"docs/{page.name}" for page in sorted((ROOT / "docs").glob("*.md"))]
    linked = {path for page in pages for path in linked_paths(page)}
    for path in sorted({*pages, *linked}):
        if (ROOT / path).is_file():
            files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
        elif f"{path}/README.md" not in pages:
            files.append(
                File.generated(config, f"{path}/README.md", content=listing(path), inclusion=InclusionLevel.NOT_IN_NAV)
            )
    for module, folder in MODULES.items():
        files.append(File.generated(config, f"reference/{module}.md", content=reference(module, folder)))
    for language, header in HEADERS.items():
        files.append(File.generated(config, f"reference/{language}.md", content=header_page(language, header)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lets links to folders, which a forge lists, lead to their pages."""
    place = Path(page.file.src_uri).parent

    def to_page(link: re.Match[str]) -> str:
        return f"{link[0].rstrip('/')}/README.md" if (ROOT / place / link[0]).is_dir() else link[0]

    return LINK.sub(to_page, markdown)


def linked_paths(page: str) -> Iterator[str]:
    """Yields the files and folders of the repository that a page links to or shows."""
    text = CODE.sub("", (ROOT / page).read_text(encoding="utf-8"))
    for link in LINK.findall(text):
        path = os.path.normpath(Path(page).parent / link)
        if (ROOT / path).exists():  # mkdocs reports those that do not
            yield path
            yield from (f"{path}/{name}" for name in files_in(path))


def listing(folder: str) -> str:
    """Returns a page with links to the files of a folder."""
    return "\n".join([f"# {folder}", "", *(f"- [{name}]({name})" for name in files_in(folder))])


def files_in(folder: str) -> list[str]:
    """Returns the names of the files directly in a folder of the repository; none if it is not a folder."""
    return sorted(path.name for path in (ROOT / folder).glob("*") if path.is_file())


def reference(module: str, folder: str) -> str:
    """Returns a page with the docstrings of a module's public names, errors last, for mkdocstrings."""
    tree = ast.parse((ROOT / folder / "__init__.py").read_text(encoding="utf-8"))
    description = (ast.get_docstring(tree) or "").splitlines()[0]
    names = sorted(public_names(tree), key=lambda name: name.endswith("Error"))
    objects = [place_of(name, tree) if (ROOT / folder / name).is_dir() else f"{module}.{name}" for name in names]
    return "\n\n".join([f"# {module}", description, *(f"::: {path}" for path in objects)])


def public_names(tree: ast.Module) -> list[str]:
    """Returns ``__all__`` of a module."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    raise ValueError("the module has no __all__")


def place_of(name: str, tree: ast.Module) -> str:
    """Returns the full name of what a module imports under a name that one of its folders has too."""
    imports = (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))
    return next(f"{node.module}.{name}" for node in imports if name in (alias.name for alias in node.names))


def header_page(language: str, header: str) -> str:
    """Returns a page with a header of the C interface, which is its own manual."""
    text = (ROOT / "runtime/cpp/include/latentloop" / header).read_text(encoding="utf-8")
    guide = "[docs/embedding.md](../docs/embedding.md) goes from nothing to an image."
    return f"# {header}\n\n{guide}\n\n```{language}\n{text}```\n"
