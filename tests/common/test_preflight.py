"""A machine that lacks something hears so in one line, before anything is installed."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "common" / "preflight.py"


def preflight(folder, *, without=()):
    """Run the check with only the system tools that are not in ``without`` on PATH."""
    for tool in {"g++", "make", "perl"} - set(without):
        (folder / tool).symlink_to(shutil.which(tool))
    return subprocess.run(
        [sys.executable, str(SCRIPT)], env={"PATH": str(folder)}, capture_output=True, text=True, check=False
    )


def test_a_complete_machine_passes_silently(tmp_path):
    done = preflight(tmp_path)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("tool", ["g++", "make", "perl"])
def test_a_missing_tool_is_named(tmp_path, tool):
    done = preflight(tmp_path, without=[tool])

    assert done.returncode == 1
    assert done.stderr.startswith("addax needs") and tool in done.stderr
    assert len(done.stderr.splitlines()) == 1
