"""A signal that asks to end interrupts as Ctrl-C does, is never lost, and waits for what must be done whole."""

import os
import shutil
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from addax.common import temporary
from addax.common.interrupts import signals_interrupt, uninterrupted

NAP = 300
"""Seconds; no test waits that long."""


@pytest.fixture
def heeded():
    """Signals as a process has them that no shell or worker of tests has told to ignore any."""
    usual = {signal.SIGTERM: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_that_ask_to_end_interrupt(number):
    before = signal.signal(number, signal.SIG_DFL)  # pytest itself may run under nohup
    try:
        with pytest.raises(KeyboardInterrupt), signals_interrupt():
            os.kill(os.getpid(), number)
            time.sleep(10)
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, before)


def test_signals_that_are_ignored_stay_ignored():
    """As under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals_interrupt():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: signals_interrupt().__enter__()).result()


def test_an_interrupt_that_a_destructor_swallows_comes_again():
    """Protects Ctrl-C: Python only prints an exception that is raised while it destroys an object, and goes on."""

    class Slow:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0)  # where the signal is heard

    before, handler = sys.unraisablehook, signal.signal(signal.SIGINT, signal.default_int_handler)
    begin = time.monotonic()
    try:  # those who run tests side by side ignore Ctrl-C
        with pytest.raises(KeyboardInterrupt), signals_interrupt():
            slow = Slow()
            del slow
            time.sleep(NAP)
    finally:
        signal.signal(signal.SIGINT, handler)
    assert sys.unraisablehook is before and time.monotonic() - begin < NAP / 10


def test_a_swallowed_signal_comes_again_where_ctrl_c_is_ignored(heeded):
    """As in the background of a shell: what comes again is the signal that came."""

    class Slow:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt), signals_interrupt():
        slow = Slow()
        del slow
        time.sleep(NAP / 10)
    assert time.monotonic() - begin < NAP / 20


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupt_waits_for_what_must_be_done_whole(heeded, number):
    """And comes once, behind the outermost of such blocks, not behind what no longer runs under it."""
    done = []
    with pytest.raises(KeyboardInterrupt), signals_interrupt(), uninterrupted():
        with uninterrupted():
            os.kill(os.getpid(), number)
            time.sleep(0)
            done.append("inner")
        done.append("outer")
    assert done == ["inner", "outer"]
    with signals_interrupt(), uninterrupted():
        pass
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("step", ["mkdir", "open", "rmtree"])
def test_a_temporary_folder_goes_wherever_the_interrupt_comes(heeded, tmp_path, monkeypatch, step):
    """Protects what stands beside results: an interrupt while the folder is made or removed left it there."""
    place = {"mkdir": temporary.Path, "open": temporary.os, "rmtree": shutil}[step]
    original = getattr(place, step)

    def at_the_worst_moment(*arguments, **options):
        if step == "rmtree":
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0)
        found = original(*arguments, **options)
        if step != "rmtree":
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0)
        return found

    with pytest.raises(KeyboardInterrupt), signals_interrupt():
        monkeypatch.setattr(place, step, at_the_worst_moment)
        with temporary.temporary_folder(tmp_path / "out"):
            pass
    assert list(tmp_path.iterdir()) == []


def test_a_temporary_file_goes_when_the_interrupt_comes_as_it_is_made(heeded, tmp_path, monkeypatch):
    original = os.open

    def open_and_interrupt(*arguments, **options):
        handle = original(*arguments, **options)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0)
        return handle

    with pytest.raises(KeyboardInterrupt), signals_interrupt():
        monkeypatch.setattr(temporary.os, "open", open_and_interrupt)
        with temporary.temporary_file(tmp_path / "out"):
            pass
    assert list(tmp_path.iterdir()) == []
