"""safetensors files with a JSON header of ours. Nothing is ever unpickled."""

from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from .errors import UserError
from .reading import MODEL_BYTES, open_regular, parse_json

__all__ = ["HEADER", "read_safetensors", "read_tensors"]

HEADER = "addax"
"""Key of the metadata under which our header stands."""
_DTYPES = ("BOOL", "U8", "I8", "I16", "U16", "I32", "U32", "I64", "U64", "F16", "F32", "F64")
"""Types of tensors that are read; floats of 8 bits and less numpy does not know and torch does not compute with."""
_TORCH_DTYPES = (*_DTYPES, "BF16")


def read_safetensors(path: Path, framework: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Tensors and metadata of a safetensors file; ``framework`` is ``pt`` or ``numpy``.

    Raises
    ------
    OSError
        as `reading.open_regular`.
    ValueError
        for a file that is truncated, foreign, or holds numbers of a type that is not read.
    """
    open_regular(path, limit=MODEL_BYTES).close()
    known = _TORCH_DTYPES if framework == "pt" else _DTYPES
    try:
        with safe_open(path, framework=framework) as archive:
            names = list(archive.keys())
            for name in names:
                if (dtype := archive.get_slice(name).get_dtype()) not in known:
                    raise ValueError(f"tensor {name!r} is of type {dtype}; known: {', '.join(known)}")
            return {name: archive.get_tensor(name) for name in names}, archive.metadata() or {}
    except SafetensorError as error:
        raise ValueError(str(error)) from error


def read_tensors(path: Path, framework: str, what: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tensors and header of a file of ours; ``framework`` is ``pt`` or ``numpy``.

    Raises
    ------
    UserError
        when the file is missing, truncated, or not one of ours; ``what`` (with its article) names the kind expected.
    """
    if not path.is_file():
        raise UserError(f"no file at {path}; expected {what}")
    try:
        tensors, metadata = read_safetensors(path, framework)
    except OSError as error:
        raise UserError(f"{path} is not {what}: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{path} is not {what}: {error}") from error
    if HEADER not in metadata:
        raise UserError(f"{path} is a safetensors file, but not {what}")
    try:
        header = parse_json(metadata[HEADER])
    except ValueError as error:
        raise UserError(f"{path} is a safetensors file, but not {what}: {error}") from error
    if not isinstance(header, dict):
        raise UserError(f"{path} is a safetensors file, but not {what}")
    return tensors, header
