"""Temporary files and folders that their owner holds by a lock, so that the next run can tell whose owner is gone.

A process that is killed cannot tidy up. The kernel takes its locks away, though: a temporary name that nobody holds is
nobody's, and is removed by the next run that wants to write the same target.
"""

import contextlib
import errno
import fcntl
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from .errors import UserError
from .interrupts import uninterrupted

__all__ = [
    "NO_ROOM", "old_name", "part_of", "scratch_folder", "sweep", "sweep_all", "temporary_file", "temporary_folder",
]  # fmt: skip

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})
"""Errors that mean that nothing more can be written, whatever the file is."""
_PART, _OLD = ".addax-part", ".addax-old"
_RANDOM_BYTES = 4
_RANDOM = "[0-9a-f]{8}"
_NO_HANDLE = -1


def part_of(path: Path) -> re.Pattern[str]:
    """What temporary names beside ``path`` look like."""
    return re.compile(rf"\.{re.escape(path.name)}\.{_RANDOM}{_PART}")


def _temporary_name(beside: Path) -> Path:
    return beside.with_name(f".{beside.name}.{secrets.token_hex(_RANDOM_BYTES)}{_PART}")


def old_name(temporary: Path) -> Path:
    """Where the folder that ``temporary`` takes the place of stands in between."""
    return temporary.with_name(temporary.name.removesuffix(_PART) + _OLD)


@contextlib.contextmanager
def temporary_file(path: Path) -> Iterator[tuple[int, Path]]:
    """A new empty file beside ``path``, as descriptor and name; it is removed at the end unless it was renamed.

    What killed runs left of ``path`` is removed first. Raises `OSError`.
    """
    sweep(path)
    while True:
        name, handle = _temporary_name(path), _NO_HANDLE
        try:
            with uninterrupted():
                handle = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            if _hold(handle, name):
                yield handle, name
                return
        finally:
            if handle != _NO_HANDLE:
                with uninterrupted():
                    name.unlink(missing_ok=True)
                    os.close(handle)


@contextlib.contextmanager
def temporary_folder(path: Path) -> Iterator[Path]:
    """A new empty folder beside ``path``, for its owner alone; it is removed at the end unless it was renamed.

    What killed runs left of ``path`` is removed first. Raises `OSError`.
    """
    sweep(path)
    with _folder(lambda: _temporary_name(path)) as name:
        yield name


@contextlib.contextmanager
def scratch_folder(name: str) -> Iterator[Path]:
    """A folder for work in the system's temporary folder, removed at the end; ``name`` says what for.

    What killed runs left there for the same purpose is removed first.

    Raises
    ------
    UserError
        when the block finds no room to write.
    """
    root = Path(tempfile.gettempdir())
    _sweep(root, re.compile(rf"addax-{re.escape(name)}-{_RANDOM}{_PART}"))
    try:
        with _folder(lambda: root / f"addax-{name}-{secrets.token_hex(_RANDOM_BYTES)}{_PART}") as folder:
            yield folder
    except OSError as error:
        # numpy's writers have no number for a full disk, only a sentence
        if error.errno is None or error.errno in NO_ROOM:
            raise UserError(f"cannot write below {root}: {error.strerror or error}; TMPDIR names another") from error
        raise


def sweep(path: Path) -> None:
    """Remove what killed runs left beside ``path``; a folder that was lost between two names gets its own back."""
    for leftover in _matching(path.parent, re.compile(rf"\.{re.escape(path.name)}\.{_RANDOM}{_OLD}")):
        maker = leftover.with_name(leftover.name.removesuffix(_OLD) + _PART)
        with _abandoned(maker) as alone:
            if alone and not os.path.lexists(path):
                with contextlib.suppress(OSError):
                    leftover.rename(path)
            elif alone:
                _remove(leftover)
    _sweep(path.parent, part_of(path))


def sweep_all(folder: Path) -> None:
    """Remove what killed runs left in ``folder``, whatever it was to become."""
    _sweep(folder, re.compile(rf"\..+\.{_RANDOM}{_PART}"))


@contextlib.contextmanager
def _folder(new_name: Callable[[], Path]) -> Iterator[Path]:
    while True:
        name, made, handle = new_name(), False, _NO_HANDLE
        try:
            with uninterrupted():
                name.mkdir(mode=0o700)
                made = True
                with contextlib.suppress(FileNotFoundError):
                    handle = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            if handle != _NO_HANDLE and _hold(handle, name):
                yield name
                return
        finally:
            with uninterrupted():
                if made:
                    shutil.rmtree(name, ignore_errors=True)
                if handle != _NO_HANDLE:
                    os.close(handle)


def _hold(handle: int, name: Path) -> bool:
    """Lock what was just made; False when somebody who sweeps was faster."""
    with contextlib.suppress(OSError):  # a file system without locks: then nobody can sweep it either
        fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        return os.path.samestat(os.fstat(handle), name.stat())
    except FileNotFoundError:
        return False


def _matching(folder: Path, pattern: re.Pattern[str]) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return [Path(entry.path) for entry in entries if pattern.fullmatch(entry.name)]
    except OSError:
        return []


def _sweep(folder: Path, pattern: re.Pattern[str]) -> None:
    for path in _matching(folder, pattern):
        with _abandoned(path) as alone:
            if alone:
                _remove(path)


@contextlib.contextmanager
def _abandoned(path: Path) -> Iterator[bool]:
    """Whether no process holds ``path``, or it is not there; until the block ends nobody else can hold it."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        yield isinstance(error, FileNotFoundError)
        return
    try:
        yield _taken(handle)
    finally:
        os.close(handle)


def _taken(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return os.fstat(handle).st_uid == os.geteuid()


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        if stat.S_ISDIR(path.lstat().st_mode):
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()
