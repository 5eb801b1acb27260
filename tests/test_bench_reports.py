"""Result files, their comparison, and the README's table generated from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from bench_results import MACHINE, environment

from latentloop.bench.figures.figure import Figure
from latentloop.bench.figures.result_files import new_result, read_result, write_result
from latentloop.bench.report import comparison, readme
from latentloop.cli.program import main
from latentloop.errors import InputError, OutputError

README = f"# Title\n\n{readme.BEGIN}\nold\n{readme.END}\n\nRest.\n"


def cold(*samples: float, imports: float = 0.1) -> dict[str, Any]:
    phases = {"imports": Figure((imports, imports), "s").to_json()}
    return new_result(
        "cold-start", environment(), seconds=Figure(samples, "s").to_json(), phases=phases, slowest_imports={}
    )


def test_a_comparison_rates_each_change() -> None:
    compared = comparison.compare(cold(1.0, 1.0), cold(0.5, 0.5, imports=0.2))
    verdicts = {row["name"]: (row["ratio"], row["verdict"]) for row in compared["rows"]}
    assert verdicts == {"whole process": (0.5, "better"), "imports": (2.0, "worse")}
    noisy = comparison.compare(cold(1.0, 1.0), cold(0.8, 1.0, 1.2))
    assert noisy["rows"][0]["verdict"] == "within the spread (unstable)"
    text = comparison.table(compared)
    assert "| whole process | 1 s | 0.5 s | 0.500 | better |" in text


def test_a_rate_is_better_if_it_grows() -> None:
    slow = new_result("roofline", environment(), **MACHINE)
    fast = new_result("roofline", {**environment(), "threads": 2}, **json.loads(json.dumps(MACHINE)))
    fast["gemm"]["float32"]["NumPy"] = 200.0
    del fast["bandwidth"][0]
    compared = comparison.compare(slow, fast)
    assert {row["name"]: row["verdict"] for row in compared["rows"]}["machine: float32 GEMM, NumPy"] == "better"
    assert compared["only_before"] == ["machine: read 1 MiB, ordinary pages"]
    assert "Warning: threads differs (1 against 2)" in comparison.table(compared)


def test_results_of_different_kinds_are_not_compared() -> None:
    with pytest.raises(InputError, match="kind is 'cold-start', the second's 'roofline'"):
        comparison.compare(cold(1.0), new_result("roofline", environment(), **MACHINE))
    a = {"kind": "sampling", "preset": "default"}
    with pytest.raises(InputError, match="preset is 'default', the second's 'paper-256'"):
        comparison.compare(a, {**a, "preset": "paper-256"})


def test_files_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    write_result(path, cold(1.0))
    assert read_result(path, "cold-start") == cold(1.0)
    with pytest.raises(OutputError, match="exists"):
        write_result(path, cold(1.0))
    with pytest.raises(InputError, match="kind is 'cold-start', expected sampling"):
        read_result(path, "sampling")
    for text, expected in (
        ("{", "not readable as JSON"),
        ("[1]", "no field schema"),
        ('{"schema": 99}', "schema is 99, expected 1"),
        ('{"schema": 1, "kind": "other"}', "kind is 'other'"),
        ('{"schema": 1, "kind": "growth", "environment": {}}', "no field series"),
    ):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match=expected):
            read_result(path)


def test_the_readme_is_written_and_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, source = tmp_path / "README.md", tmp_path / "cold.json"
    file.write_text(README, encoding="utf-8")
    write_result(source, cold(0.33, 0.33))
    command = ["bench", "readme", "--results", str(source), "--readme", str(file)]
    assert main([*command, "--check"]) == 2
    assert "run `latentloop bench readme` without --check" in capsys.readouterr().err
    assert main(command) == 0
    assert main([*command, "--check"]) == 0
    text = file.read_text(encoding="utf-8")
    assert text.startswith("# Title\n\n")
    assert text.endswith("\n\nRest.\n")
    assert "330 ms (median of 2, spread 0%). Of it, medians too: imports 100 ms.\n\n*spread*: " in text
    readme.update(file, [cold(0.4, 0.4)])
    assert "400 ms" in file.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no markers", "0 lines <!-- bench:begin -->"),
        (README + readme.END, "2 lines <!-- bench:end -->"),
        (f"{readme.END}\n{readme.BEGIN}\n", "comes before"),
    ],
)
def test_both_markers_are_required(tmp_path: Path, text: str, expected: str) -> None:
    file = tmp_path / "README.md"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=expected):
        readme.update(file, [])
    assert file.read_text(encoding="utf-8") == text
