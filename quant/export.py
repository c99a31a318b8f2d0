"""Exports of a Program: the same integers in formats that others read, with a manifest that says what they are."""

import io
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..common.errors import UserError
from ..common.files import atomic_directory, read_json, sha256_of, write_bytes, write_json, write_text
from ..common.templates import render
from .program import MULTIPLIER_BITS, Convolution, Op, Program, Requantise

__all__ = ["FORMATS", "KIND", "export", "read_npz"]

FORMATS = ("npz", "c")
KIND = "export"
_NPZ = "weights.npz"
_C = "weights.h"


def export(program: Program, out: Path, *, fmt: str) -> Path:
    """Write ``program`` into the folder ``out`` as ``npz`` or ``c``, and ``manifest.json`` beside it.

    Raises
    ------
    UserError
        for an unknown format, or a folder that cannot be written.
    """
    if fmt not in FORMATS:
        raise UserError(f"unknown export format {fmt!r}; known: {', '.join(FORMATS)}, and mem for a BUILD folder")
    tensors = _tensors(program)
    with atomic_directory(out, KIND) as folder:
        entries = [_entry(program, name, op, role, value) for name, (op, role, value) in tensors.items()]
        write_json(
            folder / "manifest.json",
            {
                "format": fmt,
                "file": _NPZ if fmt == "npz" else _C,
                "program": dict(program.metadata),
                "tensors": entries,
                "operations": [_operation(program, op) for op in program.ops],
            },
        )
        if fmt == "npz":
            write_bytes(folder / _NPZ, _npz({name: value for name, (_, _, value) in tensors.items()}))
        else:
            write_text(folder / _C, _c_header(program, entries, {n: v for n, (_, _, v) in tensors.items()}))
    return out


def _tensors(program: Program) -> dict[str, tuple[Op, str, NDArray[np.int64]]]:
    found: dict[str, tuple[Op, str, NDArray[np.int64]]] = {}
    for op in program.ops:
        roles: dict[str, NDArray[np.int64]] = {}
        if isinstance(op, Convolution):
            roles = {"weight": op.weight, "pad": op.pad}
        elif isinstance(op, Requantise):
            roles = {"multiplier": op.multiplier, "offset": op.offset}
        for role, value in roles.items():
            found[f"{op.name}_{role}"] = (op, role, value)
    return found


def _entry(program: Program, name: str, op: Op, role: str, value: NDArray[np.int64]) -> dict[str, Any]:
    if isinstance(op, Convolution):
        fmt = op.weight_format if role == "weight" else program.format(op.source)
        bits, is_signed = fmt.bits, fmt.signed
        order = "output, input, kernel row, kernel column" if role == "weight" else "input"
    else:
        assert isinstance(op, Requantise)
        bits, is_signed = (MULTIPLIER_BITS, True) if role == "multiplier" else (program.offset_format(op).bits, True)
        order = "output"
    return {
        "name": name,
        "layer": op.name,
        "role": role,
        "shape": list(value.shape),
        "order": order,
        "bits": bits,
        "signed": is_signed,
        "step": program.steps.get(op.source) if role == "weight" and getattr(op, "kernel", "") == "adder" else None,
        "sha256": checksum(value),
    }


def checksum(value: NDArray[np.int64]) -> str:
    """SHA-256 of the values as little-endian 64-bit integers in C order."""
    return sha256_of(np.ascontiguousarray(value, dtype="<i8").tobytes())


def _operation(program: Program, op: Op) -> dict[str, Any]:
    """Everything about an operation that is not a tensor."""
    fmt = program.format(op.name)
    plain = {
        key: value
        for key, value in vars(op).items()
        if isinstance(value, int | str | type(None)) and key not in ("name", "source")
    }
    return {
        "name": op.name,
        "op": type(op).__name__,
        "source": op.source or None,
        "shape": list(program.shape(op.name)),
        "bits": fmt.bits,
        "signed": fmt.signed,
        "step": program.steps.get(op.name),
        **plain,
    }


def _npz(tensors: dict[str, NDArray[np.int64]]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **tensors)
    return buffer.getvalue()


def read_npz(folder: Path) -> dict[str, NDArray[np.int64]]:
    """The tensors of an ``npz`` export, each checked against the manifest.

    Raises
    ------
    UserError
        when a tensor is missing or differs from what the manifest says.
    """
    manifest = read_json(folder / "manifest.json", "manifest")
    try:
        entries = {str(entry["name"]): (list(entry["shape"]), entry["sha256"]) for entry in manifest["tensors"]}
        if manifest["format"] != "npz":
            raise UserError(f"{folder} is an export in the format {manifest['format']}, not npz")
        with (folder / _NPZ).open("rb") as stream, np.lib.npyio.NpzFile(stream, allow_pickle=False) as archive:
            tensors = {name: archive[name] for name in entries if name in archive}
    except (KeyError, TypeError) as error:
        raise UserError(f"{folder} is not an export: its manifest is incomplete ({error})") from error
    except (OSError, EOFError, ValueError, zlib.error, zipfile.BadZipFile) as error:
        raise UserError(f"cannot read {folder / _NPZ}: {error}") from error
    for name, (shape, checksum_of) in entries.items():
        if name not in tensors:
            raise UserError(f"{folder} has no tensor {name!r}")
        if list(tensors[name].shape) != shape or checksum(tensors[name]) != checksum_of:
            raise UserError(f"tensor {name!r} of {folder} differs from its manifest")
    return {name: value.astype(np.int64) for name, value in tensors.items()}


def _c_header(program: Program, entries: list[dict[str, Any]], tensors: dict[str, NDArray[np.int64]]) -> str:
    arrays = [
        {
            **entry,
            "type": _c_type(entry["bits"], entry["signed"]),
            "count": tensors[entry["name"]].size,
            "values": _c_values(tensors[entry["name"]]),
        }
        for entry in entries
    ]
    requantises = [op for op in program.ops if isinstance(op, Requantise)]
    return render(
        Path(__file__).with_name("weights.h.j2"),
        arrays=arrays, requantises=requantises, program=program, shape=program.input.shape,
    )  # fmt: skip


def _c_type(bits: int, is_signed: bool) -> str:
    width = next(w for w in (8, 16, 32, 64) if bits <= w)
    return f"{'' if is_signed else 'u'}int{width}_t"


def _c_values(value: NDArray[np.int64], per_line: int = 16) -> list[str]:
    flat = [str(v) if v != -(1 << 63) else "INT64_MIN" for v in value.reshape(-1).tolist()]
    return [", ".join(flat[k : k + per_line]) for k in range(0, len(flat), per_line)]
