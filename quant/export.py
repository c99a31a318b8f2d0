"""Exports of a Program: the same integers in formats that others read, with a manifest that says what they are."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..common.errors import UserError
from ..common.files import atomic_directory, sha256_of, write_bytes, write_json
from .files.archive import checksum
from .files.npz import OWN_STEP
from .files.tensors import TENSORS
from .ops.base import Op, left_out
from .program import Program

__all__ = ["EXPORT_KIND", "FORMATS", "export"]

FORMATS = ("qonnx", "qcdq", "npz", "c")
EXPORT_KIND = "export"

Ints = NDArray[np.int64]


def export(program: Program, out: str | Path, *, fmt: str) -> Path:
    """Write ``program`` into the folder ``out`` in one of `FORMATS`, and ``manifest.json`` beside it.

    Raises
    ------
    UserError
        for an unknown format, a Program that the format cannot say, or a folder that cannot be written.
    """
    if fmt not in FORMATS:
        raise UserError(f"unknown export format {fmt!r}; known: {', '.join(FORMATS)}, and mem for a BUILD folder")
    out, tensors = Path(out), _tensors(program)
    entries = [_entry(program, name, op, role, value) for name, (op, role, value) in tensors.items()]
    files = _files(program, fmt, entries, {name: value for name, (_, _, value) in tensors.items()})
    with atomic_directory(out, EXPORT_KIND) as folder:
        for name, data in files.items():
            write_bytes(folder / name, data)
        write_json(
            folder / "manifest.json",
            {
                "format": fmt,
                "file": next(iter(files)),
                "files": {name: sha256_of(data) for name, data in files.items()},
                "program": dict(program.metadata),
                "tensors": entries,
                "operations": [_operation(program, op) for op in program.ops],
            },
        )
    return out


def _files(program: Program, fmt: str, entries: list[dict[str, Any]], tensors: dict[str, Ints]) -> dict[str, bytes]:
    """What the export consists of, the main file first. Writers are imported when they are needed: some are slow to."""
    match fmt:
        case "qonnx":
            from .onnx.write import qonnx_model

            return {"network.onnx": qonnx_model(program).SerializeToString(deterministic=True)}
        case "qcdq":
            from .onnx.qcdq import qcdq_model

            return {"network.onnx": qcdq_model(program).SerializeToString(deterministic=True)}
        case "npz":
            from .files.npz import NPZ, npz_bytes

            return {NPZ: npz_bytes(tensors)}
        case _:
            from .files.c import c_header, c_network

            header = c_header(program, entries, tensors)
            return {"weights.h": header.encode(), "network.c": c_network(program).encode()}


def _tensors(program: Program) -> dict[str, tuple[Op, str, Ints]]:
    """Every tensor by the name that it has in an export."""
    found: dict[str, tuple[Op, str, Ints]] = {}
    for op in program.ops:
        arrays = {item.name: getattr(op, item.name) for item in fields(op)}
        found |= {f"{op.name}_{role}": (op, role, a) for role, a in arrays.items() if isinstance(a, np.ndarray)}
    return found


def _entry(program: Program, name: str, op: Op, role: str, value: Ints) -> dict[str, Any]:
    fmt, order = TENSORS.of(op)(program, op, role)
    return {
        "name": name,
        "layer": op.name,
        "role": role,
        "shape": list(value.shape),
        "order": order,
        "bits": fmt.bits,
        "signed": fmt.signed,
        "step": program.steps.get(op.source) if role == "weight" and getattr(op, "kernel", "") == "adder" else None,
        "sha256": checksum(value),
    }


def _operation(program: Program, op: Op) -> dict[str, Any]:
    """Everything about an operation that is not a tensor."""
    fmt = program.format(op.name)
    values = {item.name: getattr(op, item.name) for item in fields(op) if not left_out(op, item)}
    plain = {
        OWN_STEP if key == "step" else key: list(value) if isinstance(value, tuple) else value
        for key, value in values.items()
        if isinstance(value, int | str | tuple | None) and key not in ("name", "source")
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
