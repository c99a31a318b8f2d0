"""Where long work runs: an executor with the interface of ``concurrent.futures``, a pool of processes by default."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any, TypeVar

from .errors import UserError

__all__ = ["all_results", "end_with_parent", "pool", "processors"]

Result = TypeVar("Result")
_PR_SET_PDEATHSIG = 1


def processors() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def end_with_parent() -> None:
    """Have the kernel kill this process when the one that started it ends, however that happens; Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


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
    with _Pool(processes, mp_context=get_context("spawn"), initializer=end_with_parent) as executor:
        yield executor


def all_results(
    calls: Sequence[Callable[[], Result]], *, threads: int, executor: Executor | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> list[Result]:  # fmt: skip
    """What ``calls`` return, in their order. The first that fails cancels those that have not begun.

    Parameters
    ----------
    threads : how many run side by side when no ``executor`` is given: enough for work that waits for tools, which run
        in processes of their own
    progress : told how many are done
    """
    workers = executor or ThreadPoolExecutor(max_workers=threads)
    jobs = [workers.submit(call) for call in calls]
    try:
        for done, job in enumerate(as_completed(jobs), 1):
            job.result()
            progress(done)
        return [job.result() for job in jobs]
    except BaseException:
        for job in jobs:
            job.cancel()
        raise
    finally:
        if executor is None:
            workers.shutdown(cancel_futures=True)
