"""The operations on tokens in ONNX files: how their nodes are written, and read again."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import NodeProto

from ..ops.base import Op
from ..ops.tokens.matmul import MATMUL_FORMS, MATMUL_KERNELS, MatMul
from .build import Graph
from .functions import DOMAIN
from .graph import attributes

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


TOKEN_WRITERS: Mapping[type[Op], Callable[[Graph, Any], None]] = {MatMul: _write_matmul}
"""For each kind of operation on tokens the function that adds its node to a graph."""
TOKEN_NODES: Mapping[type[Op], Mapping[tuple[str, str], Callable[["OwnReader", NodeProto], Op]]] = {
    MatMul: {(DOMAIN, name): _read_matmul for name in _MATMULS},
}
"""For each kind of operation on tokens how the nodes that may stand for it are read, by domain and type."""
