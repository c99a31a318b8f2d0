"""The one place where tools are started: each in a session of its own, under a keeper that ends with this process."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from pathlib import Path
from typing import IO, Any

from .errors import UserError
from .temporary import scratch_folder

__all__ = ["Ended", "end_tools", "run_process", "run_tool", "stop_all"]

LAST_LINES = 4
_KEEPER = Path(__file__).with_name("keeper.py")
_NO_MEMORY = ("bad_alloc", "out of memory", "Out of memory", "MemoryError", "memory allocation of")
_SHELL_SIGNALS = 128
"""A shell adds this to the number of the signal that ended its command."""
_ANSWER = 64
_LOOK_SECONDS = 0.1
"""Between two looks at whether a tool that runs is still wanted."""
_running: "set[_Tool]" = set()


class Ended(KeyboardInterrupt):
    """The tool that a thread waited for was ended because the run was interrupted."""


class _Tool:
    """A tool that runs."""

    def __init__(
        self, command: Sequence[str], folder: Path, *, environment: Mapping[str, str], log: IO[Any] | None,
        given: str | None, errors: bool,
    ):  # fmt: skip
        self.line, theirs = socket.socketpair()
        self.name = command[0]
        self.ended = False
        with theirs, _source(given) as source:
            self.keeper = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_KEEPER), str(theirs.fileno()), *command], cwd=folder,
                env=environment, stdin=source,
                stdout=subprocess.PIPE if log is None else log,
                stderr=subprocess.STDOUT if errors else subprocess.DEVNULL, text=True, encoding="utf-8",
                errors="replace", pass_fds=(theirs.fileno(),), start_new_session=True,
            )  # fmt: skip

    def end(self) -> None:
        """Have the keeper kill it."""
        self.ended = True
        with contextlib.suppress(OSError):
            self.line.shutdown(socket.SHUT_WR)

    def status(self) -> int:
        """Exit status of the tool, negative for the signal that killed it; raises `OSError` when it never began."""
        what, _, number = self.line.recv(_ANSWER).decode().partition(" ")
        if what == "error":
            raise OSError(int(number), os.strerror(int(number)), self.name)
        return int(number) if what == "exit" else -signal.SIGKILL  # somebody killed the keeper


@contextlib.contextmanager
def _source(given: str | None) -> Iterator[IO[Any] | int]:
    """What a tool reads: a file, since `Popen.communicate` that has timed out once never goes on writing to a pipe."""
    if given is None:
        yield subprocess.DEVNULL
        return
    with tempfile.TemporaryFile("w+", encoding="utf-8", newline="") as file:
        file.write(given)
        file.seek(0)
        yield file


def run_process(
    command: Sequence[str], folder: Path, *, environment: Mapping[str, str] | None = None, given: str | None = None,
    log: IO[Any] | None = None, errors: bool = True, wanted: Callable[[], bool] = lambda: True,
) -> tuple[int, str]:  # fmt: skip
    """Run a tool, and end it and all that it started when this process ends, or whoever waits for it is interrupted.

    Its temporary files stand in a folder of their own: a tool that is ended leaves them, and nobody else knows their
    names.

    Parameters
    ----------
    given : what it reads from standard input; nothing when None
    log : where its output goes, which is returned otherwise
    errors : whether what it prints on standard error is part of its output, or thrown away
    wanted : asked while it runs; the tool is ended when it says no

    Returns
    -------
    exit status, negative for a signal, and what it printed

    Raises
    ------
    OSError
        when it cannot be started.
    Ended
        when `end_tools` ended it.
    """
    with scratch_folder("tool") as scratch:
        surroundings = {**(os.environ if environment is None else environment), "TMPDIR": os.fspath(scratch)}
        tool = _Tool(command, folder, environment=surroundings, log=log, given=given, errors=errors)
        _running.add(tool)
        try:
            with tool.keeper, tool.line:
                try:
                    output, stopped = _output(tool, wanted)
                    status = tool.status()
                except BaseException:
                    tool.end()
                    tool.keeper.communicate()
                    raise
        finally:
            _running.discard(tool)
    if tool.ended and not stopped:
        raise Ended
    return status, output


def _output(tool: _Tool, wanted: Callable[[], bool]) -> tuple[str, bool]:
    """What it printed, and whether it was stopped because nobody wanted it any more."""
    stopped = False
    while True:
        try:
            output, _ = tool.keeper.communicate(timeout=_LOOK_SECONDS)
            return output or "", stopped
        except subprocess.TimeoutExpired:
            if not stopped and not wanted():
                stopped = True
                tool.end()


def run_tool(
    command: Sequence[str], folder: Path, what: str, *, environment: Mapping[str, str] | None = None,
    given: str | None = None, errors: bool = True,
) -> str:  # fmt: skip
    """Run a tool, ``what`` in messages, and return what it printed; see `run_process`.

    Raises
    ------
    UserError
        when it cannot be started, fails or is killed: its last lines.
    """
    try:
        status, output = run_process(command, folder, environment=environment, given=given, errors=errors)
    except OSError as error:
        raise UserError(f"cannot run {what} ({command[0]}): {error.strerror}") from error
    if status:
        raise UserError(f"{what} {_failure(status, output)}")
    return output


def end_tools() -> None:
    """End all tools that this process runs; whoever waits for one gets `Ended`."""
    for tool in list(_running):
        tool.end()


def stop_all(jobs: Sequence[Future[Any]]) -> None:
    """Cancel ``jobs`` of threads, end the tools that they wait for, also those that begin meanwhile, and wait."""
    for job in jobs:
        job.cancel()
    while wait(jobs, timeout=_LOOK_SECONDS).not_done:
        end_tools()


def _failure(status: int, output: str) -> str:
    """What happened to a tool that ended with ``status`` after printing ``output``, in one line."""
    if any(words in output for words in _NO_MEMORY):
        return "failed: out of memory"
    if status < 0 or status > _SHELL_SIGNALS:
        number = -status if status < 0 else status - _SHELL_SIGNALS
        name = next((s.name for s in signal.Signals if s.value == number), f"signal {number}")
        return f"was killed ({name}){'; perhaps for its memory' if number == signal.SIGKILL else ''}"
    last = [line.strip() for line in output.splitlines() if line.strip()][-LAST_LINES:]
    return f"failed: {' | '.join(last) or f'exit status {status}'}"
