"""Which version, commit, command and seeds made a report; nothing about the machine."""

import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any

from ...common.errors import UserError
from ...common.processes import run_tool

__all__ = ["commit", "provenance"]

_ROOT = Path(__file__).parents[2]


def provenance(command: str, *, seeds: Sequence[int] = ()) -> dict[str, Any]:
    """Version and commit of addax, version of Python, command, seeds of place and route, and the date."""
    return {
        "addax": package_version("addax"),
        "commit": commit(),
        "python": platform.python_version(),
        "command": command,
        "seeds": list(seeds),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def commit(root: Path = _ROOT) -> str | None:
    """The commit of the checkout at ``root``, with ``-dirty`` when files differ from it; None where there is no
    checkout, or no git to ask."""
    if not (root / ".git").exists():
        return None
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return run_tool(command, root, "git", errors=False).strip() or None
    except UserError:
        return None
