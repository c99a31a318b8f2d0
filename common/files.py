"""Files that are written whole or not at all."""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .errors import UserError
from .reading import JSON_BYTES, parse_json, read_regular

__all__ = ["atomic_directory", "kind_of", "sha256_of", "write_bytes", "write_json", "write_text"]

MARKER = "addax.json"
"""Every folder that addax writes holds this file; a folder without it is never replaced."""


def _prepare_parent(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot create folder {path.parent}: {error.strerror}") from error
    if not os.access(path.parent, os.W_OK):
        raise UserError(f"cannot write to folder {path.parent}: permission denied")


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to a temporary name beside ``path``, then rename it."""
    _prepare_parent(path)
    if path.is_dir():
        raise UserError(f"{path} is a folder; expected the name of a file to write")
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(data)
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(temporary, 0o666 & ~umask)  # noqa: PTH101  mkstemp's private mode is not what a user expects
            os.replace(temporary, path)  # noqa: PTH105
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error


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
def atomic_directory(path: Path, kind: str) -> Iterator[Path]:
    """Yield an empty folder that becomes ``path`` when the block ends well, and vanishes when it does not.

    An existing ``path`` is replaced only when it is an earlier folder of the same ``kind`` (it holds ``addax.json``
    saying so) or empty.

    Raises
    ------
    UserError
        when ``path`` is a file, a folder of another kind, or not writable.
    """
    path = Path(path).resolve()
    if path.exists():
        if not path.is_dir():
            raise UserError(f"{path} is a file; expected the name of a folder to write")
        if any(path.iterdir()) and kind_of(path) != kind:
            raise UserError(f"{path} is not an addax {kind} folder; it is left alone, name another with -o")
    _prepare_parent(path)
    try:
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    except OSError as error:
        raise UserError(f"cannot write to folder {path.parent}: {error.strerror}") from error
    try:
        yield temporary
        write_json(temporary / MARKER, {"kind": kind})
        temporary.chmod(0o755)
        _exchange(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _exchange(new: Path, path: Path) -> None:
    """Put ``new`` in the place of ``path``; what was there stays whole until the new folder stands, and comes back if
    it cannot.
    """
    old = new.with_name(new.name + ".old")
    try:
        if path.exists():
            path.rename(old)
        try:
            new.rename(path)
        except BaseException:
            if old.exists():
                old.rename(path)
            raise
    except OSError as error:
        raise UserError(f"cannot replace folder {path}: {error.strerror}") from error
    shutil.rmtree(old, ignore_errors=True)


def kind_of(path: Path) -> str | None:
    """What addax wrote the folder ``path`` as; None for any other folder."""
    try:
        kind = parse_json(read_regular(path / MARKER, limit=JSON_BYTES))["kind"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return kind if isinstance(kind, str) else None
