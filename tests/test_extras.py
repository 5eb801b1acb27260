"""A missing optional package is reported in one sentence with the pip command."""

from __future__ import annotations

import sys

import pytest

from latentloop import MissingError
from latentloop.cli.program import main
from latentloop.environment.packages import require


def test_the_message_names_packages_and_remedy() -> None:
    require("counting", "json")
    with pytest.raises(MissingError) as caught:
        require("exporting", "json", "no_such_package")
    assert str(caught.value) == 'exporting needs json and no_such_package: pip install "latentloop[export]"'


@pytest.mark.parametrize(
    "command",
    [
        ["bench"],
        ["export", "--vqvae", "v.pt", "--out", "b"],
        ["train", "vqvae", *["--data", "d", "--size", "8", "--out", "o"]],
    ],
)
def test_commands_say_that_torch_is_missing(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # as Python marks a module that cannot be imported
    assert main(command) == 1
    err = capsys.readouterr().err
    extra = "bench" if command[0] == "bench" else "export"
    assert f'pip install "latentloop[{extra}]"' in err
    assert "torch" in err
