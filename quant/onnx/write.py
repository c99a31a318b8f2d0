"""A Program as QONNX: tensors hold integers, weights stand behind quantisers."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from ... import __version__
from ..files.archive import program_digest
from ..formats import Format
from ..program import (
    MULTIPLIER_BITS,
    ArgMax,
    AveragePool,
    Concat,
    Convolution,
    Flatten,
    Input,
    MaxPool,
    Op,
    PixelShuffle,
    Program,
    Requantise,
    SpatialShift,
    Threshold,
    Upsample,
    weight_values,
)
from .functions import DOMAIN, DOMAIN_VERSION, IR, OPSET, QONNX, QONNX_VERSION, SIGNATURES, function

__all__ = [
    "CLASS",
    "HEADER",
    "KERNEL",
    "NEAREST",
    "OUTPUT",
    "PIXELS",
    "PRODUCER",
    "SCORES",
    "SHIFT_BITS",
    "Graph",
    "qonnx_model",
]

PRODUCER = "addax"
HEADER = "addax"
"""Key of the model's metadata under which what no node says stands as JSON."""
KERNEL = "kernel"
"""Key of a convolution's metadata."""
PIXELS, SCORES, CLASS, OUTPUT = "pixels", "scores", "class", "output"
NEAREST: dict[str, Any] = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
"""A resize that repeats pixels."""
SHIFT_BITS = 8
"""Bits of the values of the shift kernel, -64..64."""
FLOAT, INT64 = int(TensorProto.FLOAT), int(TensorProto.INT64)
_EXACT = 1 << 24
"""Below it, a float holds every integer, so that sums of integers are exact in any order."""


def qonnx_model(program: Program, *, images: int | None = None) -> ModelProto:
    """``program`` in QONNX: it takes ``pixels`` 0..255 (N, C, H, W) as floats, gives ``scores`` (N, classes) and
    ``class`` (N,) as integers, or without an arg-max the raw ``output`` (N, C, H, W).

    Its operations are standard ones, quantisers of QONNX, and those of our domain: the convolution of the adder kernel,
    requantise, .. The last two are brought along as functions of standard operations, so that any runtime executes
    them. Every tensor holds the Program's integers: as floats, or, where a float may not hold them, in 64 bits.

    Parameters
    ----------
    images : N; None leaves it open
    """
    return Graph(program, images).model()


class Graph:
    """The ONNX graph of a Program under construction: one node of the same name for every operation, and helpers."""

    def __init__(self, program: Program, images: int | None):
        self.program = program
        self.images: int | str = "N" if images is None else images
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, TensorProto] = {}
        self.infos: list[Any] = []
        for op in program.ops:
            self._write(op)
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
        helper.set_model_props(model, {HEADER: json.dumps(self.header())})
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

    # Operations

    def _write(self, op: Op) -> None:
        match op:
            case Input():
                inputs = [PIXELS, self.number(1), self.number(0), self.number(op.format.bits)]
                self.main("Quant", inputs, op, domain=QONNX, signed=0, narrow=0, rounding_mode="ROUND")
            case Convolution():
                self._convolution(op)
            case Requantise():
                self._requantise(op)
            case Threshold():
                self._threshold(op)
            case Concat():
                self.main("Concat", [self.tensor(name) for name in self.program.sources(op)], op, axis=1)
            case MaxPool() | AveragePool():
                self._pool(op)
            case SpatialShift():
                self._spatial_shift(op)
            case PixelShuffle():
                self._pixel_shuffle(op)
            case Upsample():
                self._upsample(op)
            case Flatten():
                shape = self.constant("pixel_of_all", [0, -1, 1, 1], np.int64)
                self.main("Reshape", [self.tensor(op.source), shape], op)
            case ArgMax():
                self._argmax(op)
            case _:
                raise TypeError(f"unknown operation {type(op).__name__}")

    def _convolution(self, op: Convolution) -> None:
        source, weight, padding, pad = self.tensor(op.source), self.weights(op), op.padding, op.pad
        kind = "AdderConv" if op.kernel == "adder" else "Conv" if self.exact(self.program, op) else "IntegerConv"
        if (op.kernel == "xnor" and padding) or (kind == "Conv" and pad.any()):
            source = self._framed(op, source)
            padding, pad = 0, np.zeros_like(pad)
        if op.kernel == "xnor":
            source = self._signs(op, source)
        window: dict[str, Any] = {"strides": [op.stride] * 2, "pads": [padding] * 4, "group": op.groups}
        if kind == "Conv":
            node = self.main(kind, [source, weight], op, gives=FLOAT, kernel_shape=list(op.weight.shape[2:]), **window)
        else:
            held = self.constant(f"{op.name}.pad", pad, np.float32)
            node = self.main(kind, [source, weight, held], op, domain=DOMAIN, **window)
        entry = node.metadata_props.add()
        entry.key, entry.value = KERNEL, op.kernel

    @staticmethod
    def exact(program: Program, op: Convolution) -> bool:
        """Whether floats hold every sum of ``op``, whatever the features and in whatever order they are added."""
        x = program.format(op.source)
        reach = 1 if op.kernel == "xnor" else max(-x.lo, x.hi)
        return int(np.abs(weight_values(op)).reshape(len(op.weight), -1).sum(1).max()) * reach <= _EXACT

    def _framed(self, op: Convolution, source: str) -> str:
        """``source`` with its padding."""
        channels, height, width = self.program.shape(op.source)
        out, pad = f"{op.name}.framed", self.constant(f"{op.name}.pad", op.pad, np.float32)
        shape = [self.images, channels, height + 2 * op.padding, width + 2 * op.padding]
        self.node("PadChannels", [source, pad], out, shape, FLOAT, domain=DOMAIN, pads=[op.padding] * 4)
        return out

    def _signs(self, op: Convolution, source: str) -> str:
        """Bits 0 and 1 as -1 and +1."""
        channels, height, width = self.program.shape(op.source)
        shape = [self.images, channels, height + 2 * op.padding, width + 2 * op.padding]
        centred, out = f"{op.name}.centred", f"{op.name}.signs"
        half = self.constant("half", 0.5, np.float32)
        self.node("Sub", [source, half], centred, shape, FLOAT)
        self.node("BipolarQuant", [centred, self.number(1)], out, shape, FLOAT, domain=QONNX)
        return out

    def _requantise(self, op: Requantise) -> None:
        inputs = [
            self.tensor(op.source),
            self.constant(f"{op.name}.multiplier", op.multiplier, np.int64),
            self.constant(f"{op.name}.offset", op.offset, np.int64),
        ]
        given: dict[str, Any] = {"lo": op.lo, "hi": op.hi, "terms": op.terms}
        given |= {"bits": op.format.bits, "signed": int(op.format.signed)}
        kind, joined = "Requantise", [] if op.residual is None else [self.tensor(op.residual)]
        if op.channelwise or op.ties != "up" or op.factor_bits != MULTIPLIER_BITS:
            kind = "RequantiseChannels"
            inputs.append(self.constant(f"{op.name}.shift", op.shifts, np.int64))
            given |= {"even": int(op.ties == "even"), "factor_bits": op.factor_bits}
            if joined:
                joined.append(self.constant(f"{op.name}.residual_multiplier", op.residual_multipliers, np.int64))
        else:
            given["shift"] = op.shift
            if joined:
                given["residual_multiplier"] = op.residual_multiplier
        self.main(f"{kind}Add" if joined else kind, [*inputs, *joined], op, domain=DOMAIN, **given)

    def _threshold(self, op: Threshold) -> None:
        source = self.tensor(op.source)
        if self.carrier(op.source) == FLOAT and not op.falling.any():
            levels = self.constant(f"{op.name}.thresholds", op.thresholds, np.float32)
            self.main(
                "MultiThreshold", [source, levels], op, domain=QONNX, out_dtype=f"UINT{op.format.bits}", out_scale=1.0,
                out_bias=0.0, data_layout="NCHW",
            )  # fmt: skip
            return
        levels = self.constant(f"{op.name}.thresholds", op.thresholds, np.int64)
        falling = self.constant(f"{op.name}.falling", op.falling, np.int64)
        self.main("Threshold", [source, levels, falling], op, domain=DOMAIN, bits=op.format.bits)

    def _pool(self, op: MaxPool | AveragePool) -> None:
        window: dict[str, Any] = {"kernel_shape": [op.size] * 2, "strides": [op.stride] * 2, "pads": [0] * 4}
        if isinstance(op, AveragePool):
            self.main("SumPool", [self.tensor(op.source)], op, domain=DOMAIN, **window)
            return
        window["pads"] = [op.padding] * 4
        if self.carrier(op.name) == FLOAT:
            self.main("MaxPool", [self.tensor(op.source)], op, **window)
        else:
            self.main("IntegerMaxPool", [self.tensor(op.source)], op, domain=DOMAIN, **window)

    def _spatial_shift(self, op: SpatialShift) -> None:
        offsets = self.constant(f"{op.name}.offsets", op.offsets, np.int64)
        pad = self.constant(f"{op.name}.pad", op.pad, np.int64)
        self.main("SpatialShift", [self.tensor(op.source), offsets, pad], op, domain=DOMAIN)

    def _pixel_shuffle(self, op: PixelShuffle) -> None:
        source = [self.tensor(op.source)]
        if self.carrier(op.name) == FLOAT:
            self.main("DepthToSpace", source, op, blocksize=op.factor, mode="CRD")
        else:
            self.main("IntegerPixelShuffle", source, op, domain=DOMAIN, blocksize=op.factor)

    def _upsample(self, op: Upsample) -> None:
        source = self.tensor(op.source)
        scales = self.constant(f"larger{op.factor}", [1, 1, op.factor, op.factor], np.float32)
        if self.carrier(op.name) == FLOAT:
            self.main("Resize", [source, "", scales], op, **NEAREST)
        else:
            self.main("IntegerUpsample", [source, scales], op, domain=DOMAIN)

    def _argmax(self, op: ArgMax) -> None:
        flat, held, shape = f"{op.name}.scores", self.carrier(op.source), [self.images, self.program.classes]
        self.node("Flatten", [self.tensor(op.source)], flat, shape, held, axis=1)
        self.node("Cast", [flat], SCORES, shape, INT64, name=f"{op.name}.cast", to=INT64)
        self.node("ArgMax", [SCORES], CLASS, [self.images], INT64, name=op.name, axis=1, keepdims=0)
