"""The ``.addax`` file: a Program as safetensors (integer tensors) with its graph as JSON in the metadata."""

import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from ...common.errors import UserError
from ...common.files import sha256_of, write_bytes
from ...common.tensors import HEADER, read_tensors
from ..formats import Format
from ..ops.base import Op, left_out
from ..ops.channels import ArgMax, Reduce, Select
from ..ops.constant import Constant
from ..ops.convolution import Convolution
from ..ops.ends import Input
from ..ops.move import PixelShuffle, Slice, SpatialShift, Upsample
from ..ops.pool import AveragePool, MaxPool
from ..ops.product import Product
from ..ops.register import Register
from ..ops.requantise import Requantise
from ..ops.shape import Concat, Flatten
from ..ops.table import Table
from ..ops.threshold import Threshold
from ..ops.tokens.matmul import MatMul
from ..ops.tokens.norm import Norm
from ..ops.tokens.rearrange import Rearrange, Unfold
from ..ops.tokens.softmax import Divide, Softmax
from ..program import Program

__all__ = ["KINDS", "describe", "load_program", "program_bytes", "program_digest", "rebuild", "save_program"]

VERSION = 1
MAX_ELEMENTS = 1 << 27
"""The most elements of a tensor in a file: 64 channels of television pictures of 1920 x 1080."""
KINDS: Register[str] = Register("the .addax file")
"""The name in files of each kind of operation."""
for _kind in (
    Input, Constant, Convolution, Requantise, Threshold, Concat, MaxPool, AveragePool, SpatialShift, PixelShuffle,
    Upsample, Slice, Flatten, Table, Product, Select, Reduce, ArgMax,
    MatMul, Softmax, Divide, Norm, Rearrange, Unfold,
):  # fmt: skip
    KINDS.register(_kind, _kind.__name__)


def program_bytes(program: Program) -> bytes:
    """The contents of the ``.addax`` file; equal Programs give equal bytes."""
    tensors, header = describe(program)
    narrow: dict[str, NDArray[np.generic]] = {name: _narrow(value) for name, value in tensors.items()}
    return save(narrow, metadata={HEADER: json.dumps(header)})


def describe(program: Program) -> tuple[dict[str, NDArray[np.int64]], dict[str, Any]]:
    """The tensors of ``program``, called ``operation.field``, and everything else as plain values."""
    tensors: dict[str, NDArray[np.int64]] = {}
    graph = []
    for op in program.ops:
        entry: dict[str, Any] = {"op": KINDS.of(op)}
        for item in fields(op):
            value = getattr(op, item.name)
            if left_out(op, item):
                continue
            if isinstance(value, np.ndarray):
                tensors[f"{op.name}.{item.name}"] = value
            elif isinstance(value, Format):
                entry[item.name] = {"bits": value.bits, "signed": value.signed}
            else:
                entry[item.name] = value
        graph.append(entry)
    header = {
        "version": VERSION,
        "graph": graph,
        "steps": dict(program.steps),
        "metadata": dict(program.metadata),
    }
    return tensors, header


def _narrow(value: NDArray[np.int64]) -> NDArray[np.generic]:
    for kind in (np.int8, np.int16, np.int32):
        if value.size == 0 or (value.min() >= np.iinfo(kind).min and value.max() <= np.iinfo(kind).max):
            return np.ascontiguousarray(value, dtype=kind)
    return np.ascontiguousarray(value, dtype=np.int64)


def checksum(value: NDArray[np.int64]) -> str:
    """SHA-256 of the values as little-endian 64-bit integers in C order."""
    return sha256_of(np.ascontiguousarray(value, dtype="<i8").tobytes())


def program_digest(program: Program) -> str:
    """SHA-256 of the file's contents."""
    return sha256_of(program_bytes(program))


def save_program(path: str | Path, program: Program) -> None:
    """Write ``program``, whole or not at all."""
    write_bytes(Path(path), program_bytes(program))


def load_program(path: str | Path) -> Program:
    """Read a ``.addax`` file.

    Raises
    ------
    UserError
        when the file is missing, truncated, foreign, or holds a Program that does not fit together.
    """
    path = Path(path)
    tensors, header = read_tensors(path, "numpy", "an .addax file")
    if header.get("kind") == "checkpoint":
        raise UserError(f"{path} is a checkpoint of float weights; make a .addax of it with 'addax quantize'")
    if header.get("version") != VERSION:
        raise UserError(f"{path} has format version {header.get('version')}, this addax reads {VERSION}")
    try:
        return rebuild(tensors, header)
    except ValueError as error:
        raise UserError(f"{path} is a broken .addax file: {error}") from error


def rebuild(tensors: Mapping[str, NDArray[np.generic]], header: Mapping[str, Any]) -> Program:
    """The Program that `describe` took apart; raises ``ValueError`` where the parts do not fit together."""
    try:
        program = Program(
            ops=tuple(_operation(entry, tensors) for entry in header["graph"]),
            steps=header["steps"],
            metadata=header["metadata"],
        )
    except KeyError as error:
        raise ValueError(f"it lacks {error}") from error
    except (TypeError, AttributeError, OverflowError) as error:
        raise ValueError(str(error)) from error
    for op in program.ops:
        if isinstance(op, Convolution | MaxPool):
            channels, *size = program.shape(op.source)
            framed = (channels, *op.window.padded((size[0], size[1])))
            if math.prod(framed) > MAX_ELEMENTS:
                shape = "x".join(map(str, framed))
                raise ValueError(f"{op.name} pads to {shape} values; at most {MAX_ELEMENTS:,} fit the memory")
        if math.prod(program.shape(op.name)) > MAX_ELEMENTS:
            shape = "x".join(map(str, program.shape(op.name)))
            raise ValueError(f"{op.name} gives {shape} values; at most {MAX_ELEMENTS:,} fit the memory")
    return program


def _operation(entry: dict[str, Any], tensors: Mapping[str, NDArray[np.generic]]) -> Op:
    kind = {name: kind for kind, name in KINDS.items()}.get(entry["op"])
    if kind is None:
        raise ValueError(f"unknown operation {entry['op']!r}")
    values: dict[str, Any] = {}
    for item in fields(kind):
        key = f"{entry['name']}.{item.name}"
        if key in tensors:
            if not np.issubdtype(tensors[key].dtype, np.integer):
                raise ValueError(f"tensor {key!r} is {tensors[key].dtype}, not an integer")
            values[item.name] = tensors[key].astype(np.int64)
        elif item.name not in entry and item.default is not MISSING:
            continue  # a field that came after the file was written
        elif isinstance(entry.get(item.name), dict):
            values[item.name] = Format(**entry[item.name])
        elif isinstance(entry.get(item.name), list):
            values[item.name] = tuple(entry[item.name])
        else:
            values[item.name] = entry[item.name]
    return kind(**values)
