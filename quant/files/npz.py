"""The ``npz`` export: tensors for numpy, and with its manifest the whole Program again."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...common.errors import UserError
from ...common.reading import read_json
from ...common.reading import read_npz as read_arrays
from ..program import Program
from .archive import VERSION, checksum, rebuild

__all__ = ["NPZ", "OWN_STEP", "import_npz", "npz_bytes", "read_npz"]

NPZ = "weights.npz"
OWN_STEP = "own_step"
"""Key of a manifest for the field of an operation that is called step, as what one unit of its result is called."""
Ints = NDArray[np.int64]


def npz_bytes(tensors: Mapping[str, Ints]) -> bytes:
    """The file."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **tensors)
    return buffer.getvalue()


def read_npz(folder: str | Path) -> dict[str, Ints]:
    """The tensors of an ``npz`` export, each checked against the manifest.

    Raises
    ------
    UserError
        when a tensor is missing or differs from what the manifest says.
    """
    folder = Path(folder)
    manifest = _manifest(folder)
    try:
        entries = {str(entry["name"]): (list(entry["shape"]), entry["sha256"]) for entry in manifest["tensors"]}
    except (KeyError, TypeError) as error:
        raise UserError(f"{folder} is not an export: its manifest is incomplete ({error})") from error
    try:
        tensors = read_arrays(folder / NPZ, list(entries))[0]
    except OSError as error:
        raise UserError(f"cannot read {folder / NPZ}: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"cannot read {folder / NPZ}: {error}") from error
    for name, (shape, checksum_of) in entries.items():
        if name not in tensors:
            raise UserError(f"{folder} has no tensor {name!r}")
        if not np.issubdtype(tensors[name].dtype, np.integer):
            raise UserError(f"tensor {name!r} of {folder} is {tensors[name].dtype}, not integers")
        if list(tensors[name].shape) != shape or checksum(tensors[name]) != checksum_of:
            raise UserError(f"tensor {name!r} of {folder} differs from its manifest")
    return {name: value.astype(np.int64) for name, value in tensors.items()}


def import_npz(folder: str | Path) -> Program:
    """The Program of an ``npz`` export.

    Raises
    ------
    UserError
        as `read_npz`, and when the manifest describes no Program.
    """
    folder = Path(folder)
    tensors, manifest = read_npz(folder), _manifest(folder)
    try:
        formats = {entry["name"]: {key: entry[key] for key in ("bits", "signed")} for entry in manifest["tensors"]}
        names = {entry["name"]: f"{entry['layer']}.{entry['role']}" for entry in manifest["tensors"]}
        operations = manifest["operations"]
        header = {
            "version": VERSION,
            "graph": [_entry(entry, formats) for entry in operations],
            "steps": {entry["name"]: entry["step"] for entry in operations if entry["step"] is not None},
            "metadata": manifest["program"],
        }
        return rebuild({names[name]: value for name, value in tensors.items()}, header)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{folder} does not hold a program: {error}") from error


def _entry(operation: dict[str, Any], formats: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """An operation of the manifest as one of an ``.addax`` file."""
    entry = {**operation, "source": operation["source"] or ""}
    if operation["op"] == "Convolution":
        entry["weight_format"] = formats[f"{operation['name']}_weight"]
    else:
        entry["format"] = {key: operation[key] for key in ("bits", "signed")}
    if OWN_STEP in entry:
        entry["step"] = entry.pop(OWN_STEP)
    return entry


def _manifest(folder: Path) -> dict[str, Any]:
    manifest = read_json(folder / "manifest.json", "manifest")
    if not isinstance(manifest, dict) or "format" not in manifest:
        raise UserError(f"{folder} is not an export: its manifest is incomplete")
    if manifest["format"] != "npz":
        raise UserError(f"{folder} is an export in the format {manifest['format']}, not npz")
    return manifest
