"""The plain test bench of a BUILD under Icarus Verilog, which shares nothing with our own simulation."""

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

needs_icarus = pytest.mark.skipif(shutil.which("iverilog") is None, reason="iverilog is not on PATH")


class Said(NamedTuple):
    """How a run of the test bench ended."""

    status: int
    text: str


def sources(folder, prefix="addax"):
    """What the head of the test bench says is compiled, in that order."""
    line = next(line for line in (folder / f"{prefix}_testbench.v").read_text().splitlines() if "$ iverilog" in line)
    return [folder / Path(word).name for word in line.split() if word.startswith(("BUILD/", "BENCH/"))]


def icarus(folder, *arguments, prefix="addax", standard=2005, where=None, seconds=120):
    """What the test bench of ``folder`` says when it is compiled and run in ``where``, by default in that folder.

    From another folder, ``folder`` may be a name that only holds there.
    """
    where = where or folder
    names = [path.name for path in sources(where / folder, prefix)]
    paths = names if where == folder else [str(folder / name) for name in names]
    compiled = subprocess.run(
        ["iverilog", f"-g{standard}", "-o", "test", *paths],
        cwd=where, capture_output=True, text=True, timeout=max(120, seconds),
    )  # fmt: skip
    assert compiled.returncode == 0, compiled.stderr
    ran = subprocess.run(["vvp", "-n", "test", *arguments], cwd=where, capture_output=True, text=True, timeout=seconds)
    return Said(ran.returncode, ran.stdout + ran.stderr)
