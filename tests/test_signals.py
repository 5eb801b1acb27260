"""SIGTERM and SIGHUP stop the program like Ctrl-C, soon and without leftovers; the library installs no handlers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import PROGRAM, codes, pixels, run
from PIL import Image

from latentloop.cli import interrupt
from latentloop.cli.commands import info
from latentloop.cli.interrupt import TerminatedError, raise_on_termination, stop_request
from latentloop.errors import OutputError

STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
TERMINATION_SIGNALS = (signal.SIGTERM, signal.SIGHUP)

# A command that runs WORK while it writes a file and a folder.
WRITING = """
import ctypes, sys, time
from pathlib import Path
from latentloop.cli import program as cli
from latentloop.cli.commands import info
from latentloop.io.files import new_directory, write_file
def run(arguments):
    def write(temporary):
        with new_directory(Path("new/folder")) as folder:
            (folder / "file").touch()
            print("ready", flush=True)
            WORK
    write_file(Path("file"), write)
    return 0
info.run = run
sys.argv[1:] = ["info"]
sys.exit(cli.main())
"""
PYTHON = "time.sleep(60)"
# Locking a mutex twice blocks forever in native code, so Python's signal handlers cannot run.
NATIVE = "c, lock = ctypes.CDLL(None), ctypes.create_string_buffer(64); [c.pthread_mutex_lock(lock) for _ in range(2)]"
SLOW_CLEANUP = """
            try:
                time.sleep(60)
            finally:
                print("cleaning", flush=True)
                time.sleep(60)
"""


@contextmanager
def started(work: str, folder: Path, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Starts the command and waits until WORK runs; kills it at the end of the block."""
    command = [sys.executable, "-c", WRITING.replace("WORK", work)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=folder, text=True, **pipes, **options) as process:  # type: ignore[call-overload]
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.2)  # until WORK has started
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("work", [PYTHON, NATIVE])
@pytest.mark.parametrize("sent", TERMINATION_SIGNALS)
def test_a_command_ends_soon_even_during_a_native_call(tmp_path: Path, work: str, sent: signal.Signals) -> None:
    with started(work, tmp_path) as process:
        begin = time.monotonic()
        process.send_signal(sent)
        _, output = process.communicate(timeout=30)
        assert time.monotonic() - begin < 2
        assert process.returncode == STATUS[sent]
        assert output == "latentloop: interrupted\n"
        assert not os.listdir(tmp_path)


def test_a_second_signal_does_not_wait_for_cleanup(tmp_path: Path) -> None:
    # The second signal is sent long before the first one's grace period ends.
    work = "from latentloop.cli import interrupt; interrupt.GRACE_PERIOD = 60" + SLOW_CLEANUP
    with started(work, tmp_path) as process:
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        assert process.stdout.readline() == "cleaning\n"
        time.sleep(0.6)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
        assert process.returncode == 143
        assert not os.listdir(tmp_path)


def test_a_repetition_of_a_signal_within_a_short_time_is_ignored(tmp_path: Path) -> None:
    """`timeout` sends signals to the process and to its group."""
    cleanup = SLOW_CLEANUP.replace('"cleaning", flush=True)\n                time.sleep(60)', '"finished")').replace(
        "finally:", "finally:\n                time.sleep(0.2)"
    )
    with started(cleanup, tmp_path) as process:
        process.send_signal(signal.SIGTERM)
        time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=30)
        assert (process.returncode, output) == (143, "finished\n")
        assert not os.listdir(tmp_path)


@pytest.mark.parametrize("sent", STATUS)
def test_ignored_signals_stay_ignored(tmp_path: Path, sent: signal.Signals) -> None:
    """`nohup` and shells start background processes with ignored signals."""
    ignore = lambda: signal.signal(sent, signal.SIG_IGN)  # noqa: E731
    with started("time.sleep(0.5)", tmp_path, preexec_fn=ignore) as process:
        process.send_signal(sent)
        process.communicate(timeout=30)
        assert process.returncode == 0
        assert sorted(os.listdir(tmp_path)) == ["file", "new"]


def test_sampling_writes_finished_images(tmp_path: Path) -> None:
    command = [str(PROGRAM), "sample", "-n", "100000", "--scale", "1", "--seed", "1", "--batch-size", "2"]
    command += ["--out", "grid.png", "--codes", "codes.npz"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    time.sleep(2)
    process.send_signal(signal.SIGTERM)
    _, output = process.communicate(timeout=30)
    assert process.returncode == STATUS[signal.SIGTERM]
    if "no image was finished" not in output and output != "latentloop: interrupted\n":  # on a very slow machine
        assert "of 100000 images were finished and written" in output
        assert sorted(os.listdir(tmp_path)) == ["codes.npz", "grid.png"]
        assert pixels(tmp_path / "grid.png").size


@pytest.mark.parametrize("sent", STATUS)
def test_a_signal_while_results_are_written_does_not_lose_them(
    small_bundle: Path,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    sent: signal.Signals,
) -> None:
    save, compress = Image.Image.save, np.savez_compressed

    def slow_save(*arguments: Any, **options: Any) -> None:
        signal.raise_signal(sent)
        save(*arguments, **options)

    def slow_compress(*arguments: Any, **options: Any) -> None:
        signal.raise_signal(sent)
        compress(*arguments, **options)

    monkeypatch.setattr(Image.Image, "save", slow_save)
    assert run("sample", "--bundle", small_bundle, "-n", 2, "--out", tmp_path / "a.png") == STATUS[sent]
    assert capsys.readouterr().err == "latentloop: interrupted, 2 of 2 images were finished and written\n"
    assert pixels(tmp_path / "a.png").size
    monkeypatch.setattr(np, "savez_compressed", slow_compress)
    assert run("encode", photos, "--bundle", small_bundle, "--out", tmp_path / "a.npz") == STATUS[sent]
    assert "holds the codes of 3 of 3 images" in capsys.readouterr().err
    assert len(codes(tmp_path / "a.npz")["files"]) == 3


def test_training_saves_its_state_and_can_be_resumed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    from latentloop.export.train.run.training_loop import LoopOptions, run_training

    steps: list[int] = []

    class Counting:
        send = True

        def step(self, step: int) -> Any:
            steps.append(step)
            if step == 2 and self.send:
                signal.raise_signal(signal.SIGTERM)
            return torch.zeros(())

        def state(self) -> dict[str, Any]:
            return {}

        def restore(self, state: dict[str, Any]) -> None:
            self.send = False

    options = LoopOptions(tmp_path / "x.safetensors", 5)
    monkeypatch.setattr(info, "run", lambda _: run_training(Counting(), options))
    assert run("info") == 143
    assert "x.safetensors: stopped after step 3 of 5; the state is in " in capsys.readouterr().err
    run_training(Counting(), options)
    assert steps == [0, 1, 2, 3, 4]


# A training with steps longer than the grace period; "ready" means that the first step is finished.
TRAINING = """
import sys, time
from pathlib import Path
import torch
from latentloop.cli import program as cli
from latentloop.cli.commands import info
from latentloop.export.train.run.training_loop import LoopOptions, run_training
class Slow:
    def step(self, step):
        if step:
            print("ready", flush=True)
            time.sleep(2)
        return torch.zeros(())
    def state(self):
        return {}
info.run = lambda _: run_training(Slow(), LoopOptions(Path("x.safetensors"), 5, progress=False))
sys.argv[1:] = ["info"]
sys.exit(cli.main())
"""


@pytest.mark.parametrize("signals", [1, 2])
def test_the_first_signal_waits_for_the_training_step_and_the_second_does_not(tmp_path: Path, signals: int) -> None:
    pytest.importorskip("torch")
    command = [sys.executable, "-c", TRAINING]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=tmp_path, **pipes) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        if signals == 2:
            time.sleep(0.6)
            process.send_signal(signal.SIGTERM)
        _, output = process.communicate(timeout=30)
        assert process.returncode == 143
        assert ("stopped after step 2 of 5; the state is in x.safetensors.state\n" in output) == (signals == 1)
        assert os.listdir(tmp_path) == ["x.safetensors.state"][: 2 - signals]


def test_handlers_are_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    during: list[Any] = []

    def command(_: object) -> int:
        during.extend(signal.getsignal(number) for number in TERMINATION_SIGNALS)
        return 0

    monkeypatch.setattr(info, "run", command)
    before = [signal.getsignal(number) for number in STATUS], threading.active_count()
    assert run("info") == 0
    assert signal.SIG_DFL not in during
    assert ([signal.getsignal(number) for number in STATUS], threading.active_count()) == before


def test_a_programs_own_handler_stays_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    received: list[int] = []

    def raise_and_return() -> int:
        signal.raise_signal(signal.SIGTERM)
        return 7

    before = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    try:
        monkeypatch.setattr(info, "run", lambda _: raise_and_return())
        assert run("info") == 7
        with raise_on_termination(), stop_request() as stop:
            signal.raise_signal(signal.SIGTERM)
            assert not stop.is_set()
        assert received == [signal.SIGTERM] * 2
    finally:
        signal.signal(signal.SIGTERM, before)


def test_the_library_installs_nothing() -> None:
    handlers = "print([signal.getsignal(n) for n in (15, 1)] == [signal.SIG_DFL] * 2)"
    code = f"import signal, latentloop.sampling.sampler; {handlers}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
    with stop_request():
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.parametrize("sent", TERMINATION_SIGNALS)
def test_main_returns_the_exit_status(monkeypatch: pytest.MonkeyPatch, sent: signal.Signals) -> None:
    monkeypatch.setattr(info, "run", lambda _: signal.raise_signal(sent))
    assert run("info") == STATUS[sent]
    with pytest.raises(TerminatedError, match=sent.name), raise_on_termination():
        signal.raise_signal(sent)


@pytest.mark.parametrize("sent", STATUS)
def test_a_signal_that_interrupted_code_reports_as_another_error_is_no_other_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], sent: signal.Signals
) -> None:
    """The initialisation of an extension module turns any exception into ImportError."""

    def broken_import(_: object) -> int:
        try:
            signal.raise_signal(sent)
        except KeyboardInterrupt:
            raise ImportError("initialization failed", name="numpy") from None
        return 0

    monkeypatch.setattr(info, "run", broken_import)
    assert run("info") == STATUS[sent]
    assert capsys.readouterr().err == "latentloop: interrupted\n"

    def second_signal(_: object) -> int:
        with stop_request():
            signal.raise_signal(sent)
            time.sleep(interrupt.REPEAT_WINDOW + 0.05)  # a repetition before would be ignored
            return broken_import(_)

    monkeypatch.setattr(info, "run", second_signal)
    assert run("info") == STATUS[sent]
    assert capsys.readouterr().err == "latentloop: interrupted\n"


def test_an_error_after_a_noted_signal_stays_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: object) -> int:
        with stop_request():
            signal.raise_signal(signal.SIGINT)
        raise OutputError("the disk is full")

    monkeypatch.setattr(info, "run", fail)
    assert run("info") == 1
    assert capsys.readouterr().err == "latentloop: error: the disk is full\n"


def test_no_handlers_are_installed_outside_the_main_thread() -> None:
    statuses: list[int] = []
    thread = threading.Thread(target=lambda: statuses.append(run("--version")))
    thread.start()
    thread.join()
    assert statuses == [0]
