"""Stands between addax and a tool, so that the tool and all that it starts end when addax does, however that happens.

Run by its path, as ``keeper.py LINE COMMAND...``: ``LINE`` is the descriptor of a socket to addax. It ends when addax
does, which no signal is needed for, and on it goes what became of the command: ``exit N``, or ``error ERRNO`` when it
could not be started. The kernel's own signal for orphans is tied to a thread, and reaches no grandchildren.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading

_PR_SET_PDEATHSIG = 1


def main(line: int, command: list[str]) -> int:
    """Run ``command`` in a group of processes of its own and tell what became of it."""
    try:
        tool = subprocess.Popen(command, process_group=0, preexec_fn=_end_with_keeper)
    except OSError as error:
        os.write(line, b"error %d" % (error.errno or 0))
        return 1
    watch = threading.Thread(target=_watch, args=(line, tool.pid), daemon=True)
    watch.start()
    # Not reaped yet, so its number is still that of its group, whose stragglers end with it.
    os.waitid(os.P_PID, tool.pid, os.WEXITED | os.WNOWAIT)
    _end_group(tool.pid)
    status = tool.wait()
    with contextlib.suppress(OSError):
        os.write(line, b"exit %d" % status)
    return 0


def _watch(line: int, group: int) -> None:
    with contextlib.suppress(OSError):
        os.read(line, 1)
    _end_group(group)


def _end_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def _end_with_keeper() -> None:
    """This process has one thread when it starts the tool, so the kernel's signal means its own end here."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
