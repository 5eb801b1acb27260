"""Mutants: each fits the sources, and one fits them after they were rearranged."""

from __future__ import annotations

import re
from pathlib import Path

import cpu_kernel_mutants
import gpu_mutants
import nearest_mutants
import plugin_mutants
import pytest
from mutants import Mutant
from nearest_grid import KERNELS

import latentloop.backends.gpu

MUTANTS = {
    KERNELS: [mutant for mutants in cpu_kernel_mutants.MUTANTS.values() for mutant in mutants],
    KERNELS / "nearest_codebook" / "cuda": nearest_mutants.MUTANTS,
    KERNELS / "tensorrt": plugin_mutants.MUTANTS,
    Path(str(latentloop.backends.gpu.__file__)).parent: gpu_mutants.MUTANTS,
}


@pytest.mark.parametrize("folder", MUTANTS, ids=lambda folder: folder.name)
def test_mutants_fit_the_sources(folder: Path) -> None:
    for mutant in MUTANTS[folder]:
        mutant.find(folder)


PYTHON = """
class Loop:
    def run(
        self, rows: int
    ) -> None:
        if rows > 0:

            self.copy(
                self.buffers["upper"],
                first(rows, [0]),
            )
        self.copy(self.buffers, rows)

def run_all() -> None:
    self.copy(self.buffers["upper"], 1)
"""
CPP = """
// Calls search.
template <typename T>
void search(int rows, int first) {
  const auto add = [&](int i) {
    if (i < rows) total += scale(i, first);
  };
  if (rows > 0) { add(1); }
}
int add(int i) { return i < rows ? 1 : 0; }
"""


@pytest.mark.parametrize(
    ("file", "function", "code", "replacement", "expected"),
    [
        (
            "a.py",
            "run",
            'self.copy(self.buffers["upper"], …)',
            "pass",
            "if rows > 0: pass self.copy(self.buffers, rows)",
        ),
        ("a.py", "Loop.run", "first(…, [0])", "first(…, [1])", "first(rows, [1])"),
        ("a.cpp", "search.add", "i < rows", "i <= rows", "if (i <= rows)"),
        ("a.cpp", "search", "rows > 0", "true", "if (true) { add(1); }"),
        ("a.cpp", "add", "? …:", "? 2 :", "rows ? 2 : 0; }"),
    ],
)
def test_line_breaks_and_other_functions_do_not_matter(
    file: str, function: str, code: str, replacement: str, expected: str, tmp_path: Path
) -> None:
    (tmp_path / "inner").mkdir()
    for name, text in (("a.py", PYTHON), ("a.cpp", CPP), ("b.py", "def other():\n    pass\n")):
        (tmp_path / "inner" / name).write_text(text)
    changed = Mutant("a fault", function, code, replacement).insert(tmp_path)
    assert changed == tmp_path / "inner" / file
    assert expected in " ".join(changed.read_text().split())


@pytest.mark.parametrize(("code", "count"), [("absent(…)", 0), ("self.copy(…)", 2)])
def test_a_mutant_that_does_not_fit_is_named(code: str, count: int, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(PYTHON)
    message = f"the mutant 'a fault' does not fit .*{re.escape(repr(code))} occurs {count} times in run, expected once"
    with pytest.raises(AssertionError, match=message):
        Mutant("a fault", "run", code, "pass").insert(tmp_path)
