"""The operations on tokens in ONNX files: how their nodes are written, and read again."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import NodeProto

from ..formats import Format
from ..ops.base import Op
from ..ops.tokens.matmul import MATMUL_FORMS, MATMUL_KERNELS, MatMul
from ..ops.tokens.norm import Norm
from ..ops.tokens.rearrange import Rearrange, Unfold
from ..ops.tokens.softmax import Divide, Softmax
from ..ops.window import pair
from .build import Graph
from .functions import DOMAIN
from .graph import attributes, numbers

if TYPE_CHECKING:
    from .read_own import OwnReader

__all__ = ["TOKEN_NODES", "TOKEN_WRITERS"]

_MATMULS = {
    f"{kernel.capitalize()}{form.capitalize()}": (kernel, form) for kernel in MATMUL_KERNELS for form in MATMUL_FORMS
}  # fmt: skip
"""Kernel and form of each kind of node that is a product of tokens."""


def _shape(graph: Graph, op: Op) -> str:
    """The shape of the result of ``op`` as a constant, 0 for the number of images."""
    return graph.constant(f"{op.name}.result_shape", [0, *graph.program.shape(op.name)], np.int64)


def _write_matmul(graph: Graph, op: MatMul) -> None:
    kind = f"{op.kernel.capitalize()}{op.form.capitalize()}"
    graph.main(
        kind, [*(graph.tensor(name) for name in op.sources), _shape(graph, op)], op, domain=DOMAIN, heads=op.heads
    )


def _read_matmul(reader: "OwnReader", node: NodeProto) -> MatMul:
    kernel, form = _MATMULS[node.op_type]
    return MatMul(
        name=node.name, source=reader.plain(node), other=reader.plain(node, 1), kernel=kernel, form=form,
        heads=attributes(node)["heads"],
    )  # fmt: skip


def _write_softmax(graph: Graph, op: Softmax) -> None:
    mask = np.ones((1, 1), np.int64) if op.mask is None else op.mask
    held = [graph.constant(f"{op.name}.{role}", value, np.int64) for role, value in (
        ("entries", op.entries), ("mask", mask)
    )]  # fmt: skip
    graph.main(
        "DeferredSoftmax", [graph.tensor(op.source), *held], op, domain=DOMAIN, heads=op.heads, **_said(op.format)
    )


def _read_softmax(reader: "OwnReader", node: NodeProto) -> Softmax:
    mask = reader.integers(node.input[2])
    return Softmax(
        name=node.name, source=reader.plain(node), entries=reader.integers(node.input[1]), format=_format(node),
        heads=attributes(node)["heads"], mask=None if mask.shape == (1, 1) else mask,
    )  # fmt: skip


def _write_divide(graph: Graph, op: Divide) -> None:
    graph.main(
        "IntegerDivide", [*(graph.tensor(name) for name in op.sources), *_factors(graph, op)], op, domain=DOMAIN,
        **_scaled(op),
    )  # fmt: skip


def _read_divide(reader: "OwnReader", node: NodeProto) -> Divide:
    multiplier, offset = (reader.integers(name) for name in node.input[2:4])
    return Divide(
        name=node.name, source=reader.plain(node), denominator=reader.plain(node, 1), multiplier=multiplier,
        offset=offset, format=_format(node), **_given(node, "shift", "lo", "hi"),
    )  # fmt: skip


def _write_norm(graph: Graph, op: Norm) -> None:
    powers = graph.constant(f"{op.name}.powers", op.exponents(len(op.multiplier)), np.int64)
    graph.main(
        "IntegerNorm", [graph.tensor(op.source), *_factors(graph, op), powers], op, domain=DOMAIN, **_scaled(op),
        fraction=op.fraction, reciprocal=op.reciprocal, cut=op.cut, eps=op.eps,
    )  # fmt: skip


def _read_norm(reader: "OwnReader", node: NodeProto) -> Norm:
    multiplier, offset, powers = (reader.integers(name) for name in node.input[1:4])
    return Norm(
        name=node.name, source=reader.plain(node), multiplier=multiplier, offset=offset, powers=powers,
        format=_format(node), **_given(node, "shift", "lo", "hi", "fraction", "reciprocal", "cut", "eps"),
    )  # fmt: skip


def _factors(graph: Graph, op: Divide | Norm) -> list[str]:
    """Factors and offsets as constants."""
    held = {"multiplier": op.multiplier, "offset": op.offset}
    return [graph.constant(f"{op.name}.{role}", value, np.int64) for role, value in held.items()]


def _scaled(op: Divide | Norm) -> dict[str, int]:
    """Attributes of what stands behind a product with factors."""
    return {"shift": op.shift, "lo": op.lo, "hi": op.hi, **_said(op.format)}


def _said(fmt: Format) -> dict[str, int]:
    return {"bits": fmt.bits, "signed": int(fmt.signed)}


def _format(node: NodeProto) -> Format:
    given = attributes(node)
    return Format(bits=given["bits"], signed=bool(given["signed"]))


def _given(node: NodeProto, *names: str) -> dict[str, Any]:
    given = attributes(node)
    return {name: given[name] for name in names}


def _write_rearrange(graph: Graph, op: Rearrange) -> None:
    split = graph.constant(f"{op.name}.sizes", [0, *op.split], np.int64)
    graph.main(
        "IntegerRearrange", [graph.tensor(op.source), split, _shape(graph, op)], op, domain=DOMAIN,
        perm=[0, *(axis + 1 for axis in op.order)],
    )  # fmt: skip


def _read_rearrange(reader: "OwnReader", node: NodeProto) -> Rearrange:
    (_, *split), (_, *shape) = (reader.integers(name).tolist() for name in node.input[1:3])
    if len(shape) != 3:
        raise ValueError(f"its result must have channels, rows and columns, not {shape}")
    first, *order = attributes(node)["perm"]
    if first != 0:
        raise ValueError(f"it moves axis {first} to the front; images stay where they are")
    return Rearrange(
        name=node.name, source=reader.plain(node), split=tuple(split), order=tuple(axis - 1 for axis in order),
        shape=(shape[0], shape[1], shape[2]),
    )  # fmt: skip


def _write_unfold(graph: Graph, op: Unfold) -> None:
    pad = graph.constant(f"{op.name}.pad", op.pad, np.int64)
    graph.main(
        "IntegerUnfold", [graph.tensor(op.source), pad, _shape(graph, op)], op, domain=DOMAIN,
        block=list(pair(op.block)), kernel_shape=list(op.window.kernel), strides=list(op.window.strides),
        pads=list(op.window.pads),
    )  # fmt: skip


def _read_unfold(reader: "OwnReader", node: NodeProto) -> Unfold:
    (down, right), (kh, kw), (sy, sx) = (numbers(node, name, 1, 2) for name in ("block", "kernel_shape", "strides"))
    top, left, bottom, last = numbers(node, "pads", 0, 4)
    return Unfold(
        name=node.name, source=reader.plain(node), block=(down, right), size=(kh, kw), stride=(sy, sx),
        padding=(top, left, bottom, last), pad=reader.integers(node.input[1]),
    )  # fmt: skip


TOKEN_WRITERS: Mapping[type[Op], Callable[[Graph, Any], None]] = {
    MatMul: _write_matmul,
    Softmax: _write_softmax,
    Divide: _write_divide,
    Norm: _write_norm,
    Rearrange: _write_rearrange,
    Unfold: _write_unfold,
}
"""For each kind of operation on tokens the function that adds its node to a graph."""
TOKEN_NODES: Mapping[type[Op], Mapping[tuple[str, str], Callable[["OwnReader", NodeProto], Op]]] = {
    MatMul: {(DOMAIN, name): _read_matmul for name in _MATMULS},
    Softmax: {(DOMAIN, "DeferredSoftmax"): _read_softmax},
    Divide: {(DOMAIN, "IntegerDivide"): _read_divide},
    Norm: {(DOMAIN, "IntegerNorm"): _read_norm},
    Rearrange: {(DOMAIN, "IntegerRearrange"): _read_rearrange},
    Unfold: {(DOMAIN, "IntegerUnfold"): _read_unfold},
}
"""For each kind of operation on tokens how the nodes that may stand for it are read, by domain and type."""
