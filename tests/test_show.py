"""`--show`: images as half blocks, in the place of the picture before, in a terminal that is left as it was."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import termios
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from command_line import PROGRAM, program

from latentloop.cli.watching import half_blocks
from latentloop.cli.watching.screen import Screen, arranged
from latentloop.sampling.results import Progress

ROWS = 4 + 8  # of both levels of the small bundle
TOKEN = re.compile(r"\x1b\[(\??[\d;]*)([A-Za-z])|(\r|\n)|([^\x1b\r\n]+)")


class Emulator:
    """The lines of a terminal, of which the top ones may have scrolled away, and whether its cursor is visible."""

    def __init__(self) -> None:
        self.lines, self.row, self.column, self.cursor, self.style = [""], 0, 0, True, "0"
        self.styles: set[str] = set()

    def feed(self, text: str) -> Emulator:
        for parameters, command, control, plain in TOKEN.findall(text):
            if plain:
                line = self.lines[self.row].ljust(self.column)
                self.lines[self.row] = line[: self.column] + plain + line[self.column + len(plain) :]
                self.column += len(plain)
            elif control == "\n":
                self.row += 1
                self.lines += [""] * (self.row == len(self.lines))
            elif control == "\r":
                self.column = 0
            elif command == "A":
                self.row -= int(parameters)
                assert self.row >= 0
            elif command == "K":
                self.lines[self.row] = self.lines[self.row][: self.column]
            elif command == "J":
                self.lines[self.row :] = [self.lines[self.row][: self.column]]
            elif command == "m":
                self.style = parameters
                self.styles.add(parameters)
            else:
                assert (parameters, command) in (("?25", "l"), ("?25", "h"))
                self.cursor = command == "h"
        return self


class Terminal:
    """A program whose stderr is a terminal, and stdout a pipe."""

    def __init__(self, *arguments: object, columns: int = 80, lines: int = 24, **variables: str) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
        environment.pop("NO_COLOR", None)
        self.process = subprocess.Popen(
            [PROGRAM, *map(str, arguments)],
            stdin=slave,
            stdout=subprocess.PIPE,
            stderr=slave,
            env=environment | variables,
        )
        os.close(slave)
        self.text = ""

    def read(self) -> Iterator[str]:
        """Yields what the program has written so far, after each piece, until it ends."""
        pieces = b""
        while True:
            try:
                piece = os.read(self.master, 1 << 16)
            except OSError:  # the other end is closed
                break
            if not piece:
                break
            pieces += piece
            self.text = pieces.decode("utf-8", "replace")
            yield self.text

    def finish(self) -> tuple[int, str]:
        """Returns the exit status and stdout."""
        for _ in self.read():
            pass
        out, _ = self.process.communicate(timeout=60)
        os.close(self.master)
        return self.process.returncode, out.decode()


def arguments_for(bundle: Path, out: Path) -> list[object]:
    return ["sample", "--bundle", bundle, "-n", 3, "--seed", 5, "--temperature", 50, "--out", out, "--show", "--json"]


def test_the_picture_is_drawn_again_in_its_place_and_the_cursor_stays_visible(
    small_bundle: Path, tmp_path: Path
) -> None:
    terminal = Terminal(*arguments_for(small_bundle, tmp_path / "a.png"))
    status, out = terminal.finish()
    assert status == 0
    assert json.loads(out)["images"] == 3  # stdout has nothing else
    assert terminal.text.count("\x1b[?25l") == terminal.text.count("\x1b[?25h") == ROWS
    assert "\x1b[1A" not in terminal.text[: terminal.text.rindex("\x1b[?25h")]  # the status alone, once: at the end
    screen = Emulator().feed(terminal.text)
    assert screen.cursor
    assert screen.style == "0"
    *picture, status_line, last = screen.lines
    assert status_line == "bottom: row 8 of 8, 3 of 3 images finished"
    assert last == ""
    # Three images of 32 x 48 in 79 x 44 pixels: two columns of 25 pixels width of 39, in two rows of 21.
    assert len(picture) == 22
    assert max(map(len, picture)) == 2 * 32 + 1
    assert set("".join(picture)) == {half_blocks.UPPER, " "}
    assert any(style.startswith("38;2;") for style in screen.styles)
    assert "row/s" not in terminal.text  # no progress bar


def test_the_last_line_has_the_count_of_the_whole_run(small_bundle: Path, tmp_path: Path) -> None:
    terminal = Terminal(*arguments_for(small_bundle, tmp_path / "a.png"), "--batch-size", 2)
    assert terminal.finish()[0] == 0
    screen = Emulator().feed(terminal.text)
    assert "bottom: row 8 of 8, 2 of 3 images finished" in terminal.text
    assert screen.lines[-2:] == ["bottom: row 8 of 8, 3 of 3 images finished", ""]


@pytest.mark.parametrize(
    ("variables", "sign"), [({"COLORTERM": ""}, "\x1b[38;5;"), ({"COLORTERM": "truecolor"}, "\x1b[38;2;")]
)
def test_colours_are_those_of_the_terminal(
    small_bundle: Path, tmp_path: Path, variables: dict[str, str], sign: str
) -> None:
    terminal = Terminal(*arguments_for(small_bundle, tmp_path / "a.png"), **variables)  # type: ignore[arg-type]
    assert terminal.finish()[0] == 0
    other = {"\x1b[38;5;", "\x1b[38;2;"} - {sign}
    assert sign in terminal.text
    assert other.pop() not in terminal.text


def test_without_colours_there_are_shades(small_bundle: Path, tmp_path: Path) -> None:
    terminal = Terminal(*arguments_for(small_bundle, tmp_path / "a.png"), NO_COLOR="1")
    assert terminal.finish()[0] == 0
    assert not re.search(r"\x1b\[[\d;]*m", terminal.text)
    assert "▒" in terminal.text


def test_after_ctrl_c_the_cursor_is_visible(small_bundle: Path, tmp_path: Path) -> None:
    common = ("sample", "--bundle", small_bundle, "-n", 400, "--batch-size", 4, "--out", tmp_path / "a.png", "--show")
    terminal = Terminal(*common)
    sent = False
    for text in terminal.read():
        if not sent and text.count("\x1b[?25h") > 30:  # in the second batch
            terminal.process.send_signal(signal.SIGINT)
            sent = True
    status, out = terminal.finish()
    assert status == 130
    assert "interrupted, " in terminal.text
    screen = Emulator().feed(terminal.text)
    assert screen.cursor
    assert screen.style == "0"
    assert (tmp_path / "a.png").exists()
    assert "images in " in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": 19}, "the terminal has 19 columns and 24 lines, --show needs 20 and 6"),
        ({"lines": 5}, "the terminal has 80 columns and 5 lines, --show needs 20 and 6"),
        ({"TERM": "dumb"}, "a terminal without TERM, or TERM=dumb, cannot"),
        ({"PYTHONIOENCODING": "latin-1"}, "--show draws '\\u2580', which"),
    ],
)
def test_terminals_that_cannot_show_it_are_refused(
    small_bundle: Path, tmp_path: Path, options: dict[str, object], message: str
) -> None:
    terminal = Terminal(*arguments_for(small_bundle, tmp_path / "a.png"), **options)  # type: ignore[arg-type]
    assert terminal.finish() == (2, "")
    assert message in " ".join(terminal.text.split())
    assert not list(tmp_path.iterdir())


def test_a_pipe_is_refused(small_bundle: Path, tmp_path: Path) -> None:
    done = program(*arguments_for(small_bundle, tmp_path / "a.png"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "--show draws in a terminal, but stderr is none" in done.stderr


def test_a_closed_terminal_ends_the_picture_not_the_run(small_bundle: Path, tmp_path: Path) -> None:
    terminal = Terminal(*arguments_for(small_bundle, tmp_path / "a.png"))
    for text in terminal.read():
        if "\x1b[?25h" in text:
            break
    os.close(terminal.master)
    out, _ = terminal.process.communicate(timeout=60)
    assert json.loads(out)["images"] == 3


# ---- The picture


@pytest.mark.parametrize("side", [64, 1024])
def test_a_picture_is_not_larger_than_256_pixels(side: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("latentloop.cli.watching.screen._size_of", lambda _: os.terminal_size((500, 500)))
    noise = np.random.default_rng(0).integers(0, 256, (1, side, side, 3), np.uint8)
    with (tmp_path / "terminal").open("w", encoding="utf-8") as stream:
        Screen(stream, half_blocks.true_colours).show(Progress("top", 1, 4, 0, 1, _decoded=lambda: noise))
    text = (tmp_path / "terminal").read_bytes().decode().replace("\n", "\r\n")  # as a terminal does
    *picture, status, _ = Emulator().feed(text).lines
    assert status == "top: row 1 of 4, 0 of 1 images finished"
    assert (len(picture), len(picture[0])) == (128, 256)
    assert len(text.encode()) < 1_300_000


def test_images_are_averages_of_their_pixels() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 48, 3), np.uint8)
    pixels, inside, shown = arranged(images, 8, 26)
    assert shown == 2
    assert pixels.shape == (8, 25, 3)
    expected = images.reshape(2, 8, 4, 12, 4, 3).mean((2, 4))
    assert np.abs(pixels[:, :12] - expected[0]).max() <= 1
    assert np.abs(pixels[:, 13:] - expected[1]).max() <= 1
    assert inside.all(0).tolist() == [True] * 12 + [False] + [True] * 12


@pytest.mark.parametrize("n", [1, 2, 3, 7, 16, 100, 4096])
@pytest.mark.parametrize("space", [(8, 19), (44, 79), (120, 250)])
@pytest.mark.parametrize("image", [(64, 64, 3), (32, 48, 3), (28, 28, 1), (4, 4, 3), (1, 300, 3)])
def test_every_picture_fits(n: int, space: tuple[int, int], image: tuple[int, int, int]) -> None:
    pixels, inside, shown = arranged(np.full((n, *image), 200, np.uint8), *space)
    assert 1 <= shown <= n
    assert pixels.shape[0] <= space[0]
    assert pixels.shape[1] <= space[1]
    assert (pixels[inside] == 200).all()
    assert not pixels[~inside].any()


def test_small_images_are_enlarged_by_whole_numbers() -> None:
    images = np.random.default_rng(0).integers(0, 256, (1, 4, 4, 1), np.uint8)
    pixels, _, _ = arranged(images, 22, 40)
    np.testing.assert_array_equal(pixels, images[0].repeat(5, 0).repeat(5, 1).repeat(3, 2))


def test_a_line_has_the_colours_of_its_two_rows() -> None:
    red, blue = (255, 0, 0), (0, 0, 255)
    pixels = np.array([[red, red, red, red], [blue, blue, blue, blue]], np.uint8)
    inside = np.array([[True, True, True, False], [True, True, False, False]])
    lines = half_blocks.lines_of(pixels, inside, half_blocks.true_colours)
    assert lines == ["\x1b[38;2;255;0;0;48;2;0;0;255m▀▀\x1b[38;2;255;0;0;49m▀\x1b[49m \x1b[0m"]
    lower = half_blocks.lines_of(pixels, ~inside, half_blocks.true_colours)
    assert lower == ["\x1b[49m  \x1b[38;2;0;0;255;49m▄\x1b[38;2;255;0;0;48;2;0;0;255m▀\x1b[0m"]
    assert len(half_blocks.lines_of(pixels[:1], inside[:1], half_blocks.true_colours)) == 1


def test_indexed_colours_are_the_nearest() -> None:
    table = {16 + 36 * r + 6 * g + b: (r, g, b) for r in range(6) for g in range(6) for b in range(6)}
    steps = (0, 95, 135, 175, 215, 255)
    colours = {index: tuple(steps[each] for each in rgb) for index, rgb in table.items()}
    colours |= {232 + i: (8 + 10 * i,) * 3 for i in range(24)}
    wanted = np.random.default_rng(0).integers(0, 256, (1, 300, 3), np.uint8)
    values = np.array(list(colours.values()))
    for found, pixel in zip(half_blocks.indexed_colours(wanted)[0], wanted[0].astype(int), strict=True):
        distance = ((values - pixel) ** 2).sum(1).min()
        assert ((np.array(colours[int(found.split(";")[-1])]) - pixel) ** 2).sum() == distance
