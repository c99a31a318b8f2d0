"""Where long work runs: an executor with the interface of ``concurrent.futures``, a pool of processes by default."""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from typing import Any, TypeVar

from .errors import UserError
from .processes import stop_all

__all__ = ["all_results", "pool", "processors"]

Result = TypeVar("Result")


def processors() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _end_with_parent() -> None:
    """Have this process end when the one that started it does, however that happens.

    The kernel's own signal for orphans would come when the thread that started this process ends.
    """
    if (parent := parent_process()) is not None:
        threading.Thread(target=_follow, args=(parent,), daemon=True).start()


def _follow(parent: Any) -> None:
    parent.join()
    os.kill(os.getpid(), signal.SIGKILL)


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
    with _Pool(processes, mp_context=get_context("spawn"), initializer=_end_with_parent) as executor:
        yield executor


def all_results(
    calls: Sequence[Callable[[], Result]], *, threads: int, executor: Executor | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> list[Result]:  # fmt: skip
    """What ``calls`` return, in their order. The first that fails cancels those that have not begun;
    an interrupt ends the tools of those that have, too.

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
    except BaseException as error:
        for job in jobs:
            job.cancel()
        if executor is None and not isinstance(error, Exception):
            stop_all(jobs)
        raise
    finally:
        if executor is None:
            workers.shutdown(cancel_futures=True)
