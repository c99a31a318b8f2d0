"""What asks a process to end interrupts it as Ctrl-C does, so that it tidies up, and does not come in between that."""

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["signals_interrupt", "uninterrupted"]

_AGAIN_SECONDS = 0.02
"""Seconds after which an interrupt that was swallowed comes again."""


class _Held:
    """Whether the main thread does what must be done whole, whether an interrupt waits for its end, and which signal
    the last was: one that comes again is the same, since Ctrl-C may be ignored where SIGTERM is not."""

    depth = 0
    waiting = False
    number = signal.SIGINT


@contextlib.contextmanager
def signals_interrupt() -> Iterator[None]:
    """While the block runs, the signals that ask a process to end interrupt it as Ctrl-C does, so that it tidies up.

    An interrupt that comes while Python destroys an object is swallowed there; it is sent again.
    """
    if not _in_main_thread():
        yield
        return
    usual: dict[signal.Signals, Any] = {
        signal.SIGTERM: signal.SIG_DFL, signal.SIGHUP: signal.SIG_DFL,
        signal.SIGINT: signal.default_int_handler,
    }  # fmt: skip
    asked = [number for number, handler in usual.items() if signal.getsignal(number) is handler]
    for number in asked:
        signal.signal(number, _interrupt)
    again = _Again(sys.unraisablehook)
    sys.unraisablehook = again
    try:
        yield
    finally:
        again.wanted = False
        sys.unraisablehook = again.others
        for number in asked:
            signal.signal(number, usual[number])


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """What is done whole or leaves something behind, such as removing a folder: an interrupt waits for its end.

    Other threads hear of no signal anyway.
    """
    if not _in_main_thread():
        yield
        return
    _Held.depth += 1
    try:
        yield
    finally:
        _Held.depth -= 1
        if not _Held.depth and _Held.waiting:
            _Held.waiting = False
            raise KeyboardInterrupt


class _Again:
    """What hears of exceptions that nobody can catch: of interrupts it makes new ones, ``others`` hear of the rest."""

    def __init__(self, others: Callable[["sys.UnraisableHookArgs"], Any]):
        self.others = others
        self.wanted = True

    def __call__(self, found: "sys.UnraisableHookArgs", /) -> Any:
        if not issubclass(found.exc_type, KeyboardInterrupt):
            return self.others(found)
        # Not now: the new one would be raised here, where it is swallowed, too.
        return threading.Timer(_AGAIN_SECONDS, self._interrupt).start()

    def _interrupt(self) -> None:
        if self.wanted:  # a true signal, which wakes the thread where it sleeps or waits
            signal.pthread_kill(threading.main_thread().ident or 0, _Held.number)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _interrupt(number: int, frame: object) -> None:
    _Held.number = signal.Signals(number)
    if _Held.depth:
        _Held.waiting = True
        return
    raise KeyboardInterrupt
