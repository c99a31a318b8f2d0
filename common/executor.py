"""Where long work runs: an executor with the interface of ``concurrent.futures``, a pool of processes by default."""

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any

from .errors import UserError

__all__ = ["pool", "processors"]


def processors() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Pool(ProcessPoolExecutor):
    """A pool whose processes never see Ctrl-C, from their very start.

    It reaches the whole process group; whoever waits for the pool is told, and tells the work to stop.
    """

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """As every executor's. Processes are started here and inherit the mask of signals."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return super().submit(fn, *args, **kwargs)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def pool(processes: int) -> Iterator[Executor]:
    """An executor of so many processes, which start with the first work that it is given.

    They are started afresh, not forked: a fork of a process with threads may never run.

    Raises
    ------
    UserError
        for a number that is not positive.
    """
    if processes < 1:
        raise UserError(f"jobs must be a positive integer, not {processes}")
    with _Pool(processes, mp_context=get_context("spawn")) as executor:
        yield executor
