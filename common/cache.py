"""A content-addressed cache of folders: same inputs, same folder, made once."""

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from .errors import UserError

__all__ = ["cache_root", "cached", "digest"]


def cache_root() -> Path:
    """``$ADDAX_CACHE``, else ``$XDG_CACHE_HOME/addax``, else ``~/.cache/addax``."""
    if explicit := os.environ.get("ADDAX_CACHE"):
        return Path(explicit)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "addax"


def digest(*parts: str | bytes) -> str:
    """Hash of the parts and their borders, short enough for a folder name."""
    state = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        state.update(len(data).to_bytes(8, "little"))
        state.update(data)
    return state.hexdigest()[:32]


def cached(kind: str, key: str, make: Callable[[Path], None]) -> tuple[Path, bool]:
    """Return the folder of ``key``, calling ``make(folder)`` when it is not there yet, and whether it was there.

    The folder appears only when ``make`` has ended well, so an interrupted run leaves nothing behind. Two processes
    that want the same key wait for each other.
    """
    home = cache_root() / kind
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot write the cache {home}: {error.strerror}; name another folder with ADDAX_CACHE"
        ) from error
    target = home / key
    with _locked(home / f"{key}.lock"):
        if target.is_dir():
            return target, True
        temporary = Path(tempfile.mkdtemp(dir=home, prefix=f".{key}."))
        try:
            make(temporary)
            temporary.rename(target)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    return target, False


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
