"""Inner loops in C++, compiled once for this machine and kept in the cache."""

import ctypes
import platform
import shutil
from collections.abc import Sequence
from pathlib import Path

from .cache import cached, digest
from .errors import UserError
from .processes import run_tool

__all__ = ["compiled", "processor"]

_FLAGS = ("-O3", "-march=native", "-std=c++17", "-shared", "-fPIC")


def compiled(source: Path, more: Sequence[str] = ()) -> ctypes.CDLL | None:
    """The library that g++ makes of ``source``, loaded; None where there is no working compiler.

    Parameters
    ----------
    source : a file of C++17, with headers beside it; its stem names the entry of the cache and the library
    more : flags beside those for speed. Not ``-ffast-math``: a library linked with it lets the whole process flush
        denormal numbers to zero.
    """
    compiler = shutil.which("g++")
    if compiler is None:
        return None
    flags, name = (*_FLAGS, *more), f"{source.stem}.so"

    def make(folder: Path) -> None:
        run_tool([compiler, *flags, "-o", str(folder / name), str(source)], folder, "g++")
        ctypes.CDLL(str(folder / name))  # what cannot be loaded must not be kept

    # What -march=native makes of the source holds for processors like this one.
    parts = [path.read_bytes() for path in (source, *sorted(source.parent.glob("*.h")))]
    key = digest(*parts, " ".join(flags), platform.machine(), processor())
    try:
        folder, _ = cached(source.stem, key, make)
        return ctypes.CDLL(str(folder / name))
    except (OSError, UserError):
        return None


def processor() -> str:
    """What this processor can do, in the words of the system."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())
