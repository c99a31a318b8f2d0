"""Files that are written whole or not at all."""

import contextlib
import ctypes
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from .errors import UserError
from .kept import MARKER, bring_over, checksums, kind_of, own_files, to_keep
from .temporary import old_name, part_of, temporary_file, temporary_folder

__all__ = [
    "MARKER", "atomic_directory", "copy_file", "kind_of", "own_files", "sha256_of", "synchronise",
    "write_bytes", "write_json", "write_text",
]  # fmt: skip

_HERE, _EXCHANGE = -100, 2
"""AT_FDCWD and RENAME_EXCHANGE of Linux."""


def _prepare_parent(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot create folder {path.parent}: {error.strerror}") from error
    if not os.access(path.parent, os.W_OK):
        raise UserError(f"cannot write to folder {path.parent}: permission denied")


@contextlib.contextmanager
def _written(path: Path) -> Iterator[BinaryIO]:
    """A stream whose contents become the file ``path`` when the block ends well."""
    _prepare_parent(path)
    if path.is_dir():
        raise UserError(f"{path} is a folder; expected the name of a file to write")
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is not a regular file; expected the name of a file to write")
    target = Path(os.path.realpath(path))  # a link stays a link
    try:
        with temporary_file(target) as (handle, temporary):
            with os.fdopen(handle, "wb", closefd=False) as stream:
                yield stream
            os.fsync(handle)
            os.replace(temporary, target)  # noqa: PTH105
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to a temporary name beside ``path``, then rename it.

    Raises
    ------
    UserError
        when it cannot be written; what was at ``path`` is still there then.
    """
    with _written(path) as stream:
        stream.write(data)


def copy_file(source: Path, path: Path) -> None:
    """Write what the file ``source`` holds to ``path``, as `write_bytes` does."""
    with source.open("rb") as original, _written(path) as stream:
        shutil.copyfileobj(original, stream)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text whole or not at all."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def sha256_of(data: bytes) -> str:
    """Hexadecimal SHA-256 of ``data``."""
    return hashlib.sha256(data).hexdigest()


@contextlib.contextmanager
def atomic_directory(path: Path, kind: str, *, results: Mapping[str, str] | None = None) -> Iterator[Path]:
    """Yield an empty folder that becomes ``path`` when the block ends well, and vanishes when it does not.

    An existing ``path`` is replaced only when it is an earlier folder of the same ``kind`` (it holds ``addax.json``
    saying so) or empty. What is the user's in it comes over into the new folder: every file that ``addax.json`` does
    not list, and under a name ending in ``.edited`` every file that was changed since. An interrupted run leaves it
    as it was.

    Parameters
    ----------
    results : kinds by name of folders inside that hold results of what is replaced, and go with it

    Raises
    ------
    UserError
        when ``path`` is a file, a folder of another kind, or not writable; when a file of the user's has the name of a
        new one.
    """
    path = Path(os.path.realpath(path))
    _check_replaceable(path, kind, results or {})
    _prepare_parent(path)
    with _telling_of(path), contextlib.ExitStack() as stack:
        try:
            temporary = stack.enter_context(temporary_folder(path))
        except OSError as error:
            raise UserError(f"cannot write to folder {path.parent}: {error.strerror}") from error
        yield temporary
        told = _finish(temporary, path, kind, results or {})
    if told:
        from .console import stderr  # takes its time, and is rarely needed

        for line in told:
            stderr.print(f"addax: {line}", soft_wrap=True, markup=False)


@contextlib.contextmanager
def _telling_of(path: Path) -> Iterator[None]:
    """Errors name ``path``, where users expect a file to be, and not the temporary folder that it is written to."""
    part = part_of(path)
    try:
        yield
    except UserError as error:
        if part.search(str(error)) is None:
            raise
        raise UserError(part.sub(path.name, str(error)), exit_code=error.exit_code) from error
    except OSError as error:
        if error.filename is not None and part.search(str(error.filename)) is None:
            raise
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error


def _check_replaceable(path: Path, kind: str, results: Mapping[str, str]) -> None:
    if not os.path.lexists(path):
        return
    if not path.is_dir():
        raise UserError(f"{path} is a file; expected the name of a folder to write")
    try:
        if any(path.iterdir()):
            if kind_of(path) != kind:
                raise UserError(f"{path} is not an addax {kind} folder; it is left alone, name another with -o")
            to_keep(path, results)
    except OSError as error:
        raise UserError(f"cannot read folder {path}: {error.strerror}") from error


def _finish(temporary: Path, path: Path, kind: str, results: Mapping[str, str]) -> list[str]:
    """Complete the new folder and put it in the place of ``path``; what the user should know of it."""
    write_json(temporary / MARKER, {"kind": kind, "files": checksums(temporary)})
    told: list[str] = []
    if path.is_dir():
        # Looked at only now: what the user puts there while addax works is the user's as well.
        _check_replaceable(path, kind, results)
        if any(path.iterdir()):
            told = bring_over(to_keep(path, results), temporary, path)
    synchronise(temporary)
    temporary.chmod(0o755)
    _exchange(temporary, path)
    return told


def synchronise(folder: Path) -> None:
    """Have everything in ``folder`` on the disk before its name changes; raises `OSError` where there is no room."""
    for root, _, names in os.walk(folder):
        for path in (*(Path(root, name) for name in names), Path(root)):
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                continue
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def _exchange(new: Path, path: Path) -> None:
    """Put ``new`` in the place of ``path``; what was there stays whole until the new folder stands."""
    try:
        if not path.exists():
            new.rename(path)
        elif not _swapped(new, path):
            _exchange_in_two_steps(new, path)
    except OSError as error:
        raise UserError(f"cannot replace folder {path}: {error.strerror}") from error


def _swapped(one: Path, other: Path) -> bool:
    """Exchange two folders at once, if the system and the file system can; what was ``other`` is thrown away with the
    temporary name."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    return rename is not None and rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0


def _exchange_in_two_steps(new: Path, path: Path) -> None:
    """The old folder comes back if the new one cannot take its place; by the next run (`sweep`) if this one is killed
    in between."""
    old = old_name(new)
    path.rename(old)
    try:
        new.rename(path)
    except BaseException:
        if not path.exists():
            old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)
