"""The pool of processes that long work runs in."""

import os
import signal

import pytest
from addax.common.errors import UserError
from addax.common.executor import pool, processors


def test_work_runs_in_other_processes_that_an_interrupt_does_not_reach():
    ask = signal.pthread_sigmask, signal.SIG_BLOCK, ()
    with pool(2) as executor:
        pids = {executor.submit(os.getpid).result() for _ in range(20)}
        masks = [executor.submit(*ask).result() for _ in range(4)]

    assert os.getpid() not in pids and 1 <= len(pids) <= 2
    assert all(signal.SIGINT in mask for mask in masks)
    assert signal.SIGINT not in ask[0](*ask[1:]), "this process still hears of Ctrl-C"


def test_as_many_processes_as_there_are_processors_to_use():
    assert processors() == len(os.sched_getaffinity(0)) >= 1
    with pytest.raises(UserError, match="jobs must be a positive integer, not 0"), pool(0):
        pass
