"""A content-addressed cache of folders: same inputs, same folder, made once, and checked whenever it is used.

An entry is a folder ``ROOT/KIND/KEY`` with a list of its files and their checksums. One that does not match its list,
because a disk, a crash or a person changed it, is made anew.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from .errors import UserError
from .files import synchronise
from .interrupts import uninterrupted
from .kept import file_sha256
from .temporary import NO_ROOM, sweep_all, temporary_folder

__all__ = ["CacheEntry", "cache_root", "cached", "clear", "digest", "entries", "limit_of", "prune", "reading"]

SUMS = ".sums.json"
"""The list of an entry's files, among them."""
_KEY_DIGITS = 32
_KEY = re.compile(rf"[0-9a-f]{{{_KEY_DIGITS}}}")
_LIMIT = re.compile(r"(?P<number>\d{1,9}(\.\d{1,9})?) ?(?P<unit>d|kB|MB|GB|TB)", re.IGNORECASE)
_UNITS = {"kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_LOCK = ".lock"
_IN_USE = ".in-use"
_TAG = "CACHEDIR.TAG"
_TAG_TEXT = "Signature: 8a477f597d28d172789f06886806bc55\n# Made by addax; 'addax cache' shows and clears it.\n"
"""Backup programs pass over folders with such a file: bford.info/cachedir."""


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
    return state.hexdigest()[:_KEY_DIGITS]


def cached(kind: str, key: str, make: Callable[[Path], None]) -> tuple[Path, bool]:
    """Return the folder of ``key``, calling ``make(folder)`` when it is not there yet, and whether it was there.

    The folder appears only when ``make`` has ended well and everything is on the disk, so an interrupted run leaves
    nothing behind. Two processes that want the same key wait for each other. An entry whose files are not those that
    ``make`` wrote is made anew.

    Raises
    ------
    UserError
        when the cache cannot be written.
    """
    root = cache_root()
    home = root / kind
    target = home / key
    with _writing(root):
        home.mkdir(parents=True, exist_ok=True)
        _stay(root)
    with _locked(home / f"{key}{_LOCK}", root):
        if _verifies(target):
            with contextlib.suppress(OSError):
                os.utime(target)  # when it was used last
            return target, True
        with _writing(root), temporary_folder(target) as temporary:
            sweep_all(home)
            _put_away(target, temporary)
            make(temporary)
            _write_sums(temporary)
            synchronise(temporary)
            temporary.chmod(0o755)
            temporary.rename(target)
            _synchronise_names(home)
    return target, False


@contextlib.contextmanager
def reading(folder: Path, what: str) -> Iterator[None]:
    """Around whatever reads ``what`` of an entry: a tool may have written something else than its readers know.

    Raises
    ------
    UserError
        when what is there is not what the block expects.
    """
    try:
        yield
    except (
        OSError, LookupError, TypeError, ValueError, AttributeError, EOFError, RecursionError, zipfile.BadZipFile,
    ) as error:  # fmt: skip
        raise UserError(
            f"{folder} in the cache holds no {what} as expected ({type(error).__name__}: {error}); "
            "remove that folder and run again"
        ) from error


@dataclass(frozen=True, kw_only=True)
class CacheEntry:
    """A folder of the cache.

    Attributes
    ----------
    used : when it was used last, in seconds since 1970
    """

    kind: str
    path: Path
    bytes: int
    used: float


def entries(root: Path | None = None) -> list[CacheEntry]:
    """Everything in the cache, the longest unused first."""
    root = root or cache_root()
    found = []
    for path in root.glob("*/*"):
        if path.is_dir() and not path.is_symlink() and (_KEY.fullmatch(path.name) or (path / SUMS).is_file()):
            with contextlib.suppress(OSError):
                size = sum(file.lstat().st_size for file in path.rglob("*") if file.is_file() or file.is_symlink())
                found.append(CacheEntry(kind=path.parent.name, path=path, bytes=size, used=path.stat().st_mtime))
    return sorted(found, key=lambda entry: entry.used)


def prune(*, unused_days: float | None = None, most_bytes: int | None = None) -> list[CacheEntry]:
    """Remove entries that were not used for so many days, and the longest unused of those beyond a size.

    Returns
    -------
    what was removed

    Raises
    ------
    UserError
        when another process uses the cache, or it cannot be written.
    """
    root = cache_root()
    with _alone(root):
        found = entries(root)
        now, left = time.time(), sum(entry.bytes for entry in found)
        removed = []
        for entry in found:
            old = unused_days is not None and now - entry.used > unused_days * 86400
            if old or (most_bytes is not None and left > most_bytes):
                shutil.rmtree(entry.path, ignore_errors=True)
                left -= entry.bytes
                removed.append(entry)
        for home in {entry.path.parent for entry in found}:
            _tidy(home)
    return removed


def limit_of(text: str) -> dict[str, Any]:
    """What `prune` takes for a limit as people write it: ``30d`` of days, ``500MB`` or ``5GB`` of size.

    Raises
    ------
    UserError
        for anything else.
    """
    found = _LIMIT.fullmatch(text.strip())
    if found is None:
        raise UserError(f"--prune wants days or a size, such as 30d or 5GB, not {text!r}")
    number, unit = float(found["number"]), found["unit"].lower()
    return {"unused_days": number} if unit == "d" else {"most_bytes": int(number * _UNITS[unit])}


def clear() -> list[CacheEntry]:
    """Remove all entries, and nothing else that may stand in the cache's folder; see `prune`."""
    return prune(unused_days=-1)


def _synchronise_names(folder: Path) -> None:
    """Have the names in ``folder`` on the disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _writing(root: Path) -> Iterator[None]:
    """Errors of writing below ``root`` in one line."""
    try:
        yield
    except OSError as error:
        where = None if error.filename is None else str(error.filename)
        full = error.errno is None or error.errno in NO_ROOM
        if where is not None and not where.startswith(str(root)) and not full:
            raise
        hint = "make room with 'addax cache', or name" if full else "name"
        raise UserError(
            f"cannot write the cache {root}: {error.strerror or error}; {hint} another folder with ADDAX_CACHE"
        ) from error


def _sums(folder: Path) -> dict[str, str]:
    """Checksums of everything in an entry by relative names; a link by where it leads."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        elif not path.is_dir() and name != SUMS:
            found[name] = file_sha256(path)
    return found


def _write_sums(folder: Path) -> None:
    (folder / SUMS).write_text(json.dumps(_sums(folder), indent=0) + "\n")


def _verifies(folder: Path) -> bool:
    """Whether the entry is there, and as it was written."""
    try:
        expected = json.loads((folder / SUMS).read_bytes())
        return bool(expected == _sums(folder))
    except (OSError, ValueError, RecursionError):
        return False


def _put_away(target: Path, temporary: Path) -> None:
    """Remove an entry that does not verify, by a name that is swept if this process dies."""
    if not os.path.lexists(target):
        return
    if (target / SUMS).exists():  # entries of earlier versions have no list, and nobody needs to hear of them
        from .console import stderr  # takes its time, and is rarely needed

        stderr.print(f"addax: {target} in the cache was damaged; it is made anew", soft_wrap=True, markup=False)
    with temporary_folder(temporary) as away:
        target.rename(away / target.name)


@contextlib.contextmanager
def _locked(path: Path, root: Path) -> Iterator[None]:
    """Hold the lock file ``path``, which is removed at the end: whoever waits for it looks for a new one then."""
    while True:
        with _writing(root):
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            with contextlib.suppress(OSError):  # a file system without locks: then the last to be ready wins
                fcntl.flock(handle, fcntl.LOCK_EX)
            if _is(handle, path):
                try:
                    yield
                finally:
                    with uninterrupted():
                        path.unlink(missing_ok=True)
                return
        finally:
            os.close(handle)


def _is(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


@cache
def _presence(root: Path, process: int) -> int:
    """A descriptor whose shared lock says, as long as the process lives, that it uses the cache."""
    if not (root / _TAG).exists():
        (root / _TAG).write_text(_TAG_TEXT)
    return os.open(root / _IN_USE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)


def _stay(root: Path) -> None:
    handle = _presence(root.absolute(), os.getpid())
    with contextlib.suppress(OSError):  # a file system without locks
        fcntl.flock(handle, fcntl.LOCK_SH)


@contextlib.contextmanager
def _alone(root: Path) -> Iterator[None]:
    """While no other process uses the cache, and none begins to."""
    if not root.is_dir():
        yield
        return
    with _writing(root):
        handle = _presence(root.absolute(), os.getpid())
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UserError(f"another addax is using the cache {root}; try again when it has ended") from error
    except OSError:  # a file system without locks
        pass
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_UN)


def _tidy(home: Path) -> None:
    """Remove what killed runs left in the folder of a kind, and itself when it is empty; nobody uses the cache now."""
    sweep_all(home)
    for lock in home.glob(f"*{_LOCK}"):
        if _KEY.fullmatch(lock.name.removesuffix(_LOCK)):
            lock.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        home.rmdir()
