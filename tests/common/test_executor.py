"""The pool of processes that long work runs in."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from addax.common.errors import UserError
from addax.common.executor import all_results, pool, processors


def test_work_runs_in_other_processes_that_an_interrupt_does_not_reach():
    ask = signal.pthread_sigmask, signal.SIG_BLOCK, ()
    with pool(2) as executor:
        pids = {executor.submit(os.getpid).result() for _ in range(20)}
        masks = [executor.submit(*ask).result() for _ in range(4)]

    assert os.getpid() not in pids and 1 <= len(pids) <= 2
    assert all(signal.SIGINT in mask for mask in masks)
    assert signal.SIGINT not in ask[0](*ask[1:]), "this process still hears of Ctrl-C"


def test_processes_outlive_the_thread_that_started_them_but_not_the_process():
    """The kernel's signal for orphans comes when a thread ends; a worker must end with the process alone."""
    with pool(1) as executor:
        with ThreadPoolExecutor(1) as thread:
            worker = thread.submit(lambda: executor.submit(os.getpid).result()).result()
        time.sleep(0.2)
        assert executor.submit(os.getpid).result() == worker

    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    try:
        worker = int(parent.stdout.readline())
        parent.kill()
        end = time.monotonic() + 30
        while _runs(worker):
            assert time.monotonic() < end, "the worker outlives its parent"
            time.sleep(0.02)
    finally:
        parent.kill()
        parent.communicate()


PARENT = """
import os, time
from addax.common.executor import pool

if __name__ == "__main__":
    with pool(1) as executor:
        print(executor.submit(os.getpid).result(), flush=True)
        executor.submit(time.sleep, 300).result()
"""


def _runs(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_as_many_processes_as_there_are_processors_to_use():
    assert processors() == len(os.sched_getaffinity(0)) >= 1
    with pytest.raises(UserError, match="jobs must be a positive integer, not 0"), pool(0):
        pass


def test_results_come_in_the_order_of_the_calls_whoever_ends_first():
    told = []

    found = all_results([partial(_late, 0.2, "a"), partial(_late, 0, "b")], threads=2, progress=told.append)

    assert found == ["a", "b"] and told == [1, 2]
    assert all_results([], threads=1) == []


def test_a_failure_keeps_the_rest_from_beginning():
    """The error of the call itself, and no minutes of work that nobody will read."""
    begun = []

    def fail():
        raise UserError("out of luck")

    with pytest.raises(UserError, match="out of luck"):
        all_results([fail, *(partial(_late, 0.3, k, begun) for k in range(5))], threads=1)
    assert len(begun) <= 1


def _late(seconds, value, begun=None):
    if begun is not None:
        begun.append(value)
    time.sleep(seconds)
    return value
