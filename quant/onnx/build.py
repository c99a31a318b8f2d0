"""An ONNX graph under construction: a Program's tensors as ONNX names them, nodes, constants and quantised weights."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from ... import __version__
from ...common.errors import UserError
from ..files.archive import program_digest
from ..formats import Format
from ..ops.base import Op
from ..ops.convolution import Convolution, weight_values
from ..ops.register import Register
from ..program import Program
from .functions import DOMAIN, DOMAIN_VERSION, IR, OPSET, QONNX, QONNX_VERSION, SIGNATURES, function

__all__ = [
    "CLASS",
    "FLOAT",
    "INT64",
    "KERNEL",
    "MODEL_HEADER",
    "OUTPUT",
    "PIXELS",
    "PRODUCER",
    "SCORES",
    "SHIFT_BITS",
    "WRITERS",
    "Graph",
]  # fmt: skip

PRODUCER = "addax"
MODEL_HEADER = "addax"
"""Key of the model's metadata under which what no node says stands as JSON."""
KERNEL = "kernel"
"""Key of a convolution's metadata."""
PIXELS, SCORES, CLASS, OUTPUT = "pixels", "scores", "class", "output"
SHIFT_BITS = 8
"""Bits of the values of the shift kernel, -64..64."""
FLOAT, INT64 = int(TensorProto.FLOAT), int(TensorProto.INT64)
_EXACT = 1 << 24
"""Below it, a float holds every integer, so that sums of integers are exact in any order."""
WRITERS: Register[Callable[["Graph", Any], None]] = Register("the qonnx export")
"""For each kind of operation the function that adds its node to a graph."""


class Graph:
    """The ONNX graph of a Program under construction: one node of the same name for every operation, and helpers."""

    def __init__(self, program: Program, images: int | None):
        self.program = program
        self.images: int | str = "N" if images is None else images
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, TensorProto] = {}
        self.infos: list[Any] = []
        read = program.input
        if self.carrier_of(read.format) != FLOAT:
            raise UserError(f"{read.name} is {read.format}; an ONNX file takes floats, which hold integers up to 2**24")
        for op in program.ops:
            self.write(op)
        if not program.classifies:
            self.node("Cast", [self.tensor(program.output)], OUTPUT, self._output_shape(), INT64, to=INT64)

    def model(self) -> ModelProto:
        """The finished model, with the functions that it calls."""
        program = self.program
        pixels = helper.make_tensor_value_info(PIXELS, FLOAT, [self.images, *program.input.shape])
        graph = helper.make_graph(
            self.nodes, program.metadata.get("network", "program"), [pixels], self._outputs(),
            list(self.constants.values()),
            value_info=[info for info in self.infos if info.name not in (SCORES, CLASS, OUTPUT)],
        )  # fmt: skip
        called = sorted({(node.domain, node.op_type) for node in self.nodes} & SIGNATURES.keys())
        versions = {DOMAIN: DOMAIN_VERSION, QONNX: QONNX_VERSION}
        domains = {domain: versions[domain] for domain, _ in called}
        model = helper.make_model(
            graph, producer_name=PRODUCER, producer_version=__version__, ir_version=IR,
            opset_imports=[helper.make_opsetid(domain, number) for domain, number in {"": OPSET, **domains}.items()],
            functions=[function(domain, name) for domain, name in called],
        )  # fmt: skip
        helper.set_model_props(model, {MODEL_HEADER: json.dumps(self.header())})
        return model

    def _outputs(self) -> list[Any]:
        if not self.program.classifies:
            return [helper.make_tensor_value_info(OUTPUT, INT64, self._output_shape())]
        return [
            helper.make_tensor_value_info(SCORES, INT64, [self.images, self.program.classes]),
            helper.make_tensor_value_info(CLASS, INT64, [self.images]),
        ]

    def _output_shape(self) -> list[int | str]:
        return [self.images, *self.program.shape(self.program.output)]

    def header(self) -> dict[str, Any]:
        """What no node and no tensor says."""
        program = self.program
        return {
            "steps": dict(program.steps),
            "metadata": dict(program.metadata),
            "digest": program_digest(program),
        }

    def write(self, op: Op) -> None:
        """Add the node of ``op`` and its helpers."""
        WRITERS.of(op)(self, op)

    # Pieces

    def tensor(self, name: str) -> str:
        """Name of the tensor that holds the result of operation ``name``; no operation has a dot in its own."""
        return f"{name}.out"

    def carrier(self, name: str) -> int:
        """Type of the tensor that holds the result of operation ``name``."""
        return self.carrier_of(self.program.format(name))

    @staticmethod
    def carrier_of(fmt: Format) -> int:
        """Float where it holds every value of ``fmt`` and the one above, which a threshold may be."""
        return FLOAT if max(-fmt.lo, fmt.hi + 1) <= _EXACT else INT64

    def node(
        self, kind: str, inputs: Sequence[str], output: str, shape: Sequence[int | str], held: int, **given: Any
    ) -> NodeProto:
        """Add a node with one result, a tensor of type ``held``; ``given`` are attributes, the name and the domain."""
        node = helper.make_node(kind, inputs, [output], name=given.pop("name", output), **given)
        self.nodes.append(node)
        self.infos.append(helper.make_tensor_value_info(output, held, shape))
        return node

    def main(self, kind: str, inputs: Sequence[str], op: Op, *, gives: int | None = None, **given: Any) -> NodeProto:
        """Add the node of ``op``; one that ``gives`` another type than the result's format wants gets a cast behind."""
        held, shape = self.carrier(op.name), [self.images, *self.program.shape(op.name)]
        output = self.tensor(op.name)
        if given.get("domain") == DOMAIN:
            given["dtype"] = held
        elif gives not in (None, held):
            node = self.node(kind, inputs, f"{op.name}.raw", shape, gives, name=op.name, **given)
            self.node("Cast", [f"{op.name}.raw"], output, shape, held, to=held)
            return node
        return self.node(kind, inputs, output, shape, held, name=op.name, **given)

    def constant(self, name: str, value: Any, kind: Any) -> str:
        """An initialiser; one of the same name and value may be there."""
        self.constants[name] = numpy_helper.from_array(np.array(value, dtype=kind), name)
        return name

    def number(self, value: int) -> str:
        """A small number as a scalar."""
        return self.constant(f"number{value}", value, np.float32)

    def weights(self, op: Convolution) -> str:
        """The weights of ``op`` as values behind a quantiser."""
        out, shape = f"{op.name}.quantised", op.weight.shape
        values = weight_values(op).astype(np.float32)
        if op.kernel == "shift":
            # A word may be minus zero, and so may a float.
            values = np.where((values == 0) & (op.weight != 0), np.float32(-0.0), values)
        held = self.constant(f"{op.name}.weight", values, np.float32)
        if op.weight_format.bits == 1:
            self.node("BipolarQuant", [held, self.number(1)], out, shape, FLOAT, domain=QONNX)
            return out
        fmt = Format(bits=SHIFT_BITS, signed=True) if op.kernel == "shift" else op.weight_format
        self.node(
            "Quant", [held, self.number(1), self.number(0), self.number(fmt.bits)], out, shape, FLOAT, domain=QONNX,
            signed=int(fmt.signed), narrow=0, rounding_mode="ROUND",
        )  # fmt: skip
        return out

    @staticmethod
    def exact(program: Program, op: Convolution) -> bool:
        """Whether floats hold every sum of ``op``, whatever the features and in whatever order they are added."""
        x = program.format(op.source)
        reach = 1 if op.kernel == "xnor" else max(-x.lo, x.hi)
        return int(np.abs(weight_values(op)).reshape(len(op.weight), -1).sum(1).max()) * reach <= _EXACT
