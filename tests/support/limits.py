"""A bound for the memory of this process, so that a reader without one ends in an error and not in a full machine."""

import contextlib
import resource
from pathlib import Path

EXTRA = 3 << 30
"""Of address space, which libraries and threads reserve without using most of it."""


@contextlib.contextmanager
def bounded_memory():
    """No more address space than is taken now and `EXTRA`."""
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (taken + EXTRA, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
