"""How files that others wrote are read: regular files only, no more of them than is allowed, nothing of them executed.

Every reader of a model, a data set, a plan or a report goes through here, so that a named pipe, ``/dev/zero`` or a file
that unpacks to a thousand times its size ends in one line instead of a full memory.
"""

import errno
import gzip
import io
import json
import math
import os
import stat
import warnings
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np
from numpy.typing import NDArray

from .errors import UserError

__all__ = [
    "JSON_BYTES", "MODEL_BYTES", "check_unpacked", "check_zip", "gunzip", "open_regular", "parse_json", "parse_npy",
    "read_json", "read_npz", "read_regular",
]  # fmt: skip

MODEL_BYTES = 1 << 31
"""The most bytes of a model or an archive of arrays, which are held in memory."""
JSON_BYTES = 1 << 24
"""The most bytes of a JSON text; Python's objects take some twenty times as much."""
_SMALL = 1 << 28
"""What any file may unpack to, however small it is."""
_RATIO = 64
"""Beyond `_SMALL`, what a file may unpack to for each of its bytes. Real data do not come near; zeros reach 1,000."""
_KINDS = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""What `numpy` and `torch` write, and what can be unpacked a bounded piece at a time."""
_NOT_READ = "OV"
"""Kinds of dtypes: Python objects, which would have to be unpickled, and records."""


def open_regular(path: Path, *, limit: int = MODEL_BYTES) -> BinaryIO:
    """Open a regular file of at most ``limit`` bytes, without ever waiting for the other end of a pipe.

    Raises
    ------
    OSError
        whose ``strerror`` says why: missing, forbidden, not a regular file, too large.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError as error:  # a name with a zero byte
        raise OSError(errno.EINVAL, str(error), str(path)) from error
    try:
        _check_regular(os.fstat(handle), str(path), limit)
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def _check_regular(found: os.stat_result, name: str, limit: int) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), name)
    if not stat.S_ISREG(found.st_mode):
        kind = next((what for test, what in _KINDS if test(found.st_mode)), "something else")
        raise OSError(errno.EINVAL, f"it is {kind}, not a regular file", name)
    if found.st_size > limit:
        raise OSError(errno.EFBIG, f"it has {found.st_size:,} bytes; at most {limit:,} are read", name)


def read_regular(path: Path, *, limit: int = MODEL_BYTES) -> bytes:
    """The bytes of a regular file; raises ``OSError`` as `open_regular`, also for a file that grows meanwhile."""
    with open_regular(path, limit=limit) as stream:
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"it has more than {limit:,} bytes", str(path))
    return data


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text.

    Raises
    ------
    ValueError
        for what is no JSON, is too long or too deep, or holds NaN or infinite numbers, which JSON does not have.
    """
    if len(text) > JSON_BYTES:
        raise ValueError(f"it has {len(text):,} bytes of JSON; at most {JSON_BYTES:,} are read")
    try:
        return json.loads(text, parse_constant=_no_number)
    except RecursionError:
        raise ValueError("its values are nested too deeply") from None


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def read_json(path: Path, what: str) -> Any:
    """Read JSON; ``what`` names the kind of file in the message when it is missing or broken."""
    try:
        return parse_json(read_regular(path, limit=JSON_BYTES))
    except OSError as error:
        raise UserError(f"cannot read {what} {path}: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{path} is not a {what}: {error}") from error


def check_unpacked(size: int, packed: int) -> None:
    """Raise ``ValueError`` when ``packed`` bytes of a file would become absurdly many in memory, ``size``."""
    if size > max(_SMALL, _RATIO * packed):
        raise ValueError(f"its {packed:,} bytes would unpack to {size:,}; that is no real data")


def gunzip(data: bytes, size: int) -> bytes:
    """At most ``size`` + 1 bytes of what is packed in ``data``, checked to the end where there are no more.

    Raises
    ------
    ValueError
        for what is not gzip, is cut short or damaged.
    """
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
            return stream.read(size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(str(error)) from error


def check_zip(archive: zipfile.ZipFile, packed: int, names: Collection[str] | None = None) -> None:
    """Raise ``ValueError`` when members of ``archive``, a file of ``packed`` bytes, would fill the memory or are packed
    in a way that cannot be bounded.

    Parameters
    ----------
    names : of the members that will be read; all when None
    """
    members = [info for info in archive.infolist() if names is None or info.filename in names]
    for info in members:
        if info.compress_type not in _PACKED or info.flag_bits & 1:
            raise ValueError(f"{info.filename} is encrypted or packed in a way that is not read")
    check_unpacked(sum(info.file_size for info in members), packed)


def read_npz(path: Path, wanted: Collection[str] | None = None) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """Arrays in a ``.npz`` file, read-only, and the names of all that it holds.

    Parameters
    ----------
    wanted : names of those that are read, where they are there; all when None

    Raises
    ------
    OSError
        as `open_regular`.
    ValueError
        for what is no archive, damaged, no array of numbers, or unpacks to absurdly much.
    """
    with open_regular(path) as stream:
        packed = os.fstat(stream.fileno()).st_size
        try:
            with zipfile.ZipFile(stream) as archive:
                members = {name.removesuffix(".npy"): name for name in archive.namelist()}
                chosen = {name: own for name, own in members.items() if wanted is None or name in wanted}
                check_zip(archive, packed, list(chosen.values()))
                arrays = {}
                for name, member in chosen.items():
                    with archive.open(member) as content:
                        data = content.read()
                    try:
                        arrays[name] = parse_npy(data)
                    except ValueError as error:
                        raise ValueError(f"{member}: {error}") from error
                return arrays, list(members)
        # What zipfile raises on damaged files; a stream that ends early or names unknown features is damaged, too.
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, KeyError) as error:
            raise ValueError(str(error)) from error


def parse_npy(data: bytes) -> NDArray[Any]:
    """The array in the bytes of a ``.npy`` file, read-only; raises ``ValueError`` for anything else."""
    stream = io.BytesIO(data)
    shape, fortran, dtype = _npy_header(stream)
    if dtype.kind in _NOT_READ or not dtype.itemsize:
        raise ValueError(f"it holds {dtype}, not numbers")
    held, needed = len(data) - stream.tell(), math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or held != needed:
        raise ValueError(f"it says {dtype} of shape {shape}, which are {needed} bytes, but {held} follow")
    if not needed:
        return np.empty(shape, dtype)
    flat = np.frombuffer(data, dtype, offset=stream.tell())
    return flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)


def _npy_header(stream: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    version = np.lib.format.read_magic(stream)
    if version not in readers:
        raise ValueError(f"it has version {'.'.join(map(str, version))} of the format; 1.0 and 2.0 are read")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the literal that a damaged header is parsed as
            return readers[version](stream)
    except ValueError:
        raise
    except Exception as error:  # the header is a Python literal, whose tokeniser and parser raise anything
        raise ValueError(f"its header is broken: {type(error).__name__}") from error
