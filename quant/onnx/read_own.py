"""ONNX graphs that we wrote, read integer by integer: what every node says of its operation."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto

from ...common.errors import UserError
from ..formats import Format, unsigned
from ..ops.base import Ints, Op
from ..ops.channels import ArgMax, Reduce, Select
from ..ops.constant import Constant
from ..ops.convolution import Convolution
from ..ops.ends import Input
from ..ops.kernels import SHIFT_MAX
from ..ops.move import AXES, PixelShuffle, Slice, SpatialShift, Upsample
from ..ops.pool import AveragePool, MaxPool
from ..ops.product import Product
from ..ops.register import Register
from ..ops.requantise import Requantise
from ..ops.shape import Concat, Flatten
from ..ops.table import Table
from ..ops.threshold import Threshold
from .build import KERNEL
from .functions import DOMAIN, QONNX
from .graph import attributes, constants_of, input_shape, numbers, resize_factor, shuffle_factor
from .tokens import TOKEN_NODES

__all__ = ["NODES", "Held", "OwnReader", "integers"]

Read = Callable[["OwnReader", NodeProto], Op | None]
"""The operation of a node, or None where it only helps others."""
NODES: Register[Mapping[tuple[str, str], Read]] = Register("the reader of our ONNX files")
"""For each kind of operation how the nodes that may stand for it are read, by domain and type."""


@dataclass(frozen=True, kw_only=True)
class Held:
    """The result of operation ``op``; perhaps framed by ``pad``, perhaps as signs."""

    op: str
    pads: tuple[int, ...] = (0, 0, 0, 0)
    pad: Ints | None = None
    signs: bool = False


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Constants behind a quantiser of ``format``."""

    values: NDArray[Any]
    format: Format


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What is chosen by ``mask`` where its number is ``first`` or more: one of ``branches``, in their order."""

    mask: str
    first: int
    branches: tuple[str, ...]


class OwnReader:
    """One walk over a graph that we wrote: nodes of the names of operations, and helpers between them."""

    def __init__(self, model: ModelProto, path: Path):
        self.model = model
        self.path = path
        self.constants = constants_of(model)
        self.pixels, self.shape = input_shape(model, path)
        self.tensors: dict[str, Held] = {}
        self.weights: dict[str, Weights] = {}
        self.choices: dict[str, Choices] = {}

    def operations(self) -> tuple[Op, ...]:
        """The operations in the order of their nodes."""
        found: list[Op] = []
        nodes = _nodes()
        for node in self.model.graph.node:
            read = nodes.get((node.domain, node.op_type))
            where = f"node {node.name!r} of {self.path}"
            if read is None:
                known = ", ".join(sorted({name for _, name in nodes}))
                kind = f"{node.domain}.{node.op_type}".lstrip(".")
                raise UserError(f"unsupported ONNX operation {kind} at {where}; supported: {known}")
            try:
                op = read(self, node)
            except (KeyError, IndexError) as error:
                raise UserError(f"{where} lacks {error}") from error
            except (ValueError, TypeError, AttributeError) as error:
                raise UserError(f"{where}: {error}") from error
            if op is not None:
                found.append(op)
                self.tensors[node.output[0]] = Held(op=op.name)
        return tuple(found)

    # What nodes read

    def source(self, node: NodeProto, position: int = 0) -> Held:
        """What the input at ``position`` is; ``ValueError`` where it is no result of an operation."""
        name = node.input[position]
        if name not in self.tensors:
            raise ValueError(f"input {name!r} is no tensor of the network")
        return self.tensors[name]

    def plain(self, node: NodeProto, position: int = 0) -> str:
        """Name of the operation whose result, neither framed nor as signs, is the input at ``position``."""
        tensor = self.source(node, position)
        if tensor != Held(op=tensor.op):
            raise ValueError(f"input {node.input[position]!r} may only be read by a convolution")
        return tensor.op

    def integers(self, name: str) -> Ints:
        """The constant called ``name``; ``ValueError`` where it is none or holds no integers."""
        if name not in self.constants:
            raise ValueError(f"{name!r} must be a constant")
        return integers(self.constants[name], name)

    def constant(self, node: NodeProto) -> NDArray[Any]:
        """The constant that a quantiser reads."""
        if node.input[0] not in self.constants:
            raise ValueError(f"{node.input[0]!r} must be a constant")
        return self.constants[node.input[0]]


# Helpers


def _same(reader: OwnReader, node: NodeProto) -> None:
    reader.tensors[node.output[0]] = reader.source(node)


def _quant(reader: OwnReader, node: NodeProto) -> Op | None:
    given = attributes(node)
    scale, zero, bits = (reader.integers(name).item() for name in node.input[1:])
    if (scale, zero, given["narrow"]) != (1, 0, 0):
        raise ValueError("a quantiser of addax has scale 1, zero point 0 and the full range")
    fmt = Format(bits=bits, signed=bool(given["signed"]))
    if node.input[0] == reader.pixels:
        return Input(name=node.name, shape=reader.shape, format=fmt)
    reader.weights[node.output[0]] = Weights(values=reader.constant(node), format=fmt)
    return None


def _bipolar_quant(reader: OwnReader, node: NodeProto) -> None:
    if node.input[0] in reader.tensors:
        reader.tensors[node.output[0]] = replace(reader.source(node), signs=True)
    else:
        reader.weights[node.output[0]] = Weights(values=reader.constant(node), format=unsigned(1))


def _pad_channels(reader: OwnReader, node: NodeProto) -> None:
    framed = replace(
        reader.source(node), pads=numbers(node, "pads", 0, 4), pad=reader.integers(node.input[1])
    )  # fmt: skip
    reader.tensors[node.output[0]] = framed


# Operations


def _convolution(reader: OwnReader, node: NodeProto) -> Convolution:
    source, weights, given = reader.source(node), reader.weights.get(node.input[1]), attributes(node)
    if weights is None:
        raise ValueError(f"{node.input[1]!r} must be constant weights behind a quantiser")
    named = {entry.key: entry.value for entry in node.metadata_props}.get(KERNEL)
    kernel = "adder" if node.op_type.endswith("AdderConv") else "xnor" if source.signs else named or "mult"
    channels, pads = weights.values.shape[1] * given["group"], numbers(node, "pads", 0, 4)
    pad = source.pad if source.pad is not None else np.zeros(channels, np.int64)
    if len(node.input) > 2 and source.pad is None:
        pad = reader.integers(node.input[2])
    words = _words(weights.values, kernel, weights.format, node.input[1])
    return Convolution(
        name=node.name, source=source.op, kernel=kernel, weight=words,
        weight_format=unsigned(4) if kernel == "shift" else weights.format, stride=_pair(node, "strides"),
        padding=_sides(a + b for a, b in zip(source.pads, pads, strict=True)), pad=pad, groups=given["group"],
        dilation=_pair(node, "dilations"),
    )  # fmt: skip


def _requantise(reader: OwnReader, node: NodeProto) -> Requantise:
    given = attributes(node)
    joins = node.op_type == "RequantiseAdd"
    return Requantise(
        **_common(reader, node), shift=given["shift"], residual=reader.plain(node, 3) if joins else None,
        residual_multiplier=given["residual_multiplier"] if joins else 0,
    )  # fmt: skip


def _requantise_channels(reader: OwnReader, node: NodeProto) -> Requantise:
    given = attributes(node)
    bends, joins = node.op_type.startswith("RequantiseSlopes"), node.op_type.endswith("Add")
    at = 3
    below: dict[str, Any] = {}
    if bends:
        at, roles = 6, ("second", "second_offset", "knee")
        below = {role: reader.integers(name) for role, name in zip(roles, node.input[3:6], strict=True)}
    return Requantise(
        **_common(reader, node), shift=reader.integers(node.input[at]), ties="even" if given["even"] else "up",
        factor_bits=given["factor_bits"], residual=reader.plain(node, at + 1) if joins else None,
        residual_multiplier=reader.integers(node.input[at + 2]) if joins else 0, **below,
    )  # fmt: skip


def _common(reader: OwnReader, node: NodeProto) -> dict[str, Any]:
    """What every requantise says."""
    given = attributes(node)
    return {
        "name": node.name, "source": reader.plain(node), "multiplier": reader.integers(node.input[1]),
        "offset": reader.integers(node.input[2]), "lo": given["lo"], "hi": given["hi"], "terms": given["terms"],
        "format": Format(bits=given["bits"], signed=bool(given["signed"])),
    }  # fmt: skip


def _threshold(reader: OwnReader, node: NodeProto) -> Threshold:
    thresholds, falling = (reader.integers(name) for name in node.input[1:])
    fmt = unsigned(attributes(node)["bits"])
    return Threshold(
        name=node.name, source=reader.plain(node), thresholds=thresholds, falling=falling, format=fmt
    )  # fmt: skip


def _multi_threshold(reader: OwnReader, node: NodeProto) -> Threshold:
    given, thresholds = attributes(node), reader.integers(node.input[1])
    bits = given["out_dtype"].removeprefix("UINT")
    if not bits.isdigit() or (given["out_scale"], given["out_bias"]) != (1, 0):
        raise ValueError(f"thresholds of addax count into unsigned integers, not into {given['out_dtype']}")
    falling = np.zeros(len(thresholds), np.int64)
    return Threshold(
        name=node.name, source=reader.plain(node), thresholds=thresholds, falling=falling,
        format=unsigned(int(bits)),
    )  # fmt: skip


def _table(reader: OwnReader, node: NodeProto) -> Table:
    given = attributes(node)
    fmt = Format(bits=given["bits"], signed=bool(given["signed"]))
    return Table(name=node.name, source=reader.plain(node), entries=reader.integers(node.input[1]), format=fmt)


def _product(reader: OwnReader, node: NodeProto) -> Product:
    return Product(name=node.name, source=reader.plain(node), other=reader.plain(node, 1))


def _choose(reader: OwnReader, node: NodeProto) -> Select | None:
    mask, branch, number = reader.plain(node), reader.plain(node, 1), attributes(node)["number"]
    behind = reader.choices.get(node.input[2])
    if behind is None:
        behind = Choices(mask=mask, first=number + 1, branches=(reader.plain(node, 2),))
    if (behind.mask, behind.first) != (mask, number + 1):
        raise ValueError(f"it chooses {number} of {mask}, and behind it is what {behind.first} of {behind.mask} begins")
    branches = (branch, *behind.branches)
    if number:
        reader.choices[node.output[0]] = Choices(mask=mask, first=number, branches=branches)
        return None
    return Select(name=node.name, source=mask, branches=branches)


def _reduce(reader: OwnReader, node: NodeProto) -> Reduce:
    how, begins = "sum" if node.op_type == "SumChannels" else "max", reader.integers(node.input[1])
    if not np.array_equal(begins, np.arange(len(begins)) * begins[1:2].sum()):
        raise ValueError(f"its parts must be equal, not begin at {begins.tolist()}")
    return Reduce(name=node.name, source=reader.plain(node), how=how, parts=len(begins))


def _constant(reader: OwnReader, node: NodeProto) -> Constant:
    given = attributes(node)
    fmt = Format(bits=given["bits"], signed=bool(given["signed"]))
    return Constant(name=node.name, value=reader.integers(node.input[1]), format=fmt)


def _slice(reader: OwnReader, node: NodeProto) -> Slice:
    start, stop, axis, step = (reader.integers(name).item() for name in node.input[1:])
    if not 1 <= axis <= len(AXES):
        raise ValueError(f"it cuts axis {axis}; images stay whole")
    return Slice(name=node.name, source=reader.plain(node), axis=AXES[axis - 1], start=start, stop=stop, step=step)


def _concat(reader: OwnReader, node: NodeProto) -> Concat:
    first, *others = (reader.plain(node, k) for k in range(len(node.input)))
    axis = attributes(node).get("axis", 1)
    if not 1 <= axis <= len(AXES):
        raise ValueError(f"it joins along axis {axis}; images stay apart")
    return Concat(name=node.name, source=first, others=tuple(others), axis=AXES[axis - 1])


def _spatial_shift(reader: OwnReader, node: NodeProto) -> SpatialShift:
    offsets, pad = (reader.integers(name) for name in node.input[1:])
    return SpatialShift(name=node.name, source=reader.plain(node), offsets=offsets, pad=pad)


def _pixel_shuffle(reader: OwnReader, node: NodeProto) -> PixelShuffle:
    return PixelShuffle(name=node.name, source=reader.plain(node), factor=shuffle_factor(node))


def _upsample(reader: OwnReader, node: NodeProto) -> Upsample:
    factor = resize_factor(node, reader.constants)
    return Upsample(name=node.name, source=reader.plain(node), factor=factor)


def _pair(node: NodeProto, name: str) -> tuple[int, int]:
    down, right = numbers(node, name, 1, 2)
    return down, right


def _sides(pads: Iterable[int]) -> tuple[int, int, int, int]:
    top, left, bottom, right = pads
    return top, left, bottom, right


def _sum_pool(reader: OwnReader, node: NodeProto) -> AveragePool:
    size, stride = _pair(node, "kernel_shape"), _pair(node, "strides")
    return AveragePool(name=node.name, source=reader.plain(node), size=size, stride=stride)


def _max_pool(reader: OwnReader, node: NodeProto) -> MaxPool:
    size, stride = _pair(node, "kernel_shape"), _pair(node, "strides")
    padding = _sides(numbers(node, "pads", 0, 4))
    return MaxPool(name=node.name, source=reader.plain(node), size=size, stride=stride, padding=padding)


def _flatten(reader: OwnReader, node: NodeProto) -> Flatten:
    return Flatten(name=node.name, source=reader.source(node).op)


def _argmax(reader: OwnReader, node: NodeProto) -> ArgMax:
    if attributes(node).get("axis", 0) != 1:
        raise ValueError("the arg-max of addax is over channels, axis 1")
    return ArgMax(name=node.name, source=reader.source(node).op)


NODES.register(Input, {(QONNX, "Quant"): _quant})
NODES.register(Convolution, {(DOMAIN, "AdderConv"): _convolution, (DOMAIN, "IntegerConv"): _convolution,
                             (DOMAIN, "DilatedAdderConv"): _convolution, (DOMAIN, "DilatedIntegerConv"): _convolution,
                             ("", "Conv"): _convolution})  # fmt: skip
NODES.register(Requantise, {
    (DOMAIN, "Requantise"): _requantise, (DOMAIN, "RequantiseAdd"): _requantise,
    (DOMAIN, "RequantiseChannels"): _requantise_channels, (DOMAIN, "RequantiseChannelsAdd"): _requantise_channels,
    (DOMAIN, "RequantiseSlopes"): _requantise_channels, (DOMAIN, "RequantiseSlopesAdd"): _requantise_channels,
})  # fmt: skip
NODES.register(Threshold, {(DOMAIN, "Threshold"): _threshold, (QONNX, "MultiThreshold"): _multi_threshold})
NODES.register(Table, {(DOMAIN, "Table"): _table})
NODES.register(Product, {("", "Mul"): _product, (DOMAIN, "IntegerProduct"): _product})
NODES.register(Select, {(DOMAIN, "Choose"): _choose})
NODES.register(Reduce, {(DOMAIN, "SumChannels"): _reduce, (DOMAIN, "MaxChannels"): _reduce})
NODES.register(MaxPool, {("", "MaxPool"): _max_pool, (DOMAIN, "IntegerMaxPool"): _max_pool})
NODES.register(AveragePool, {(DOMAIN, "SumPool"): _sum_pool})
NODES.register(SpatialShift, {(DOMAIN, "SpatialShift"): _spatial_shift})
NODES.register(PixelShuffle, {("", "DepthToSpace"): _pixel_shuffle, (DOMAIN, "IntegerPixelShuffle"): _pixel_shuffle})
NODES.register(Upsample, {("", "Resize"): _upsample, (DOMAIN, "IntegerUpsample"): _upsample})
NODES.register(Slice, {("", "Slice"): _slice})
NODES.register(Constant, {(DOMAIN, "ImageConstant"): _constant})
NODES.register(Concat, {("", "Concat"): _concat})
NODES.register(Flatten, {("", "Reshape"): _flatten})
NODES.register(ArgMax, {("", "ArgMax"): _argmax})
for _kind, _reads in TOKEN_NODES.items():
    NODES.register(_kind, _reads)
HELPERS: Mapping[tuple[str, str], Read] = {
    (QONNX, "BipolarQuant"): _bipolar_quant,
    (DOMAIN, "PadChannels"): _pad_channels,
    ("", "Sub"): _same,
    ("", "Cast"): _same,
    ("", "Flatten"): _same,
    ("", "Constant"): lambda reader, node: None,
}
"""Nodes that stand between those of operations."""


def _nodes() -> dict[tuple[str, str], Read]:
    """How to read every node that is known."""
    return {**HELPERS, **{node: read for _, nodes in NODES.items() for node, read in nodes.items()}}


def integers(values: NDArray[Any], name: str) -> Ints:
    """``values`` as 64-bit integers; ``ValueError`` by ``name`` where they are none."""
    with np.errstate(invalid="ignore"):
        whole = values.astype(np.int64)
    if not np.array_equal(whole, values):
        raise ValueError(f"{name!r} must hold integers")
    return whole


def _words(values: NDArray[Any], kernel: str, fmt: Format, name: str) -> Ints:
    """Values of weights as the words that a Program holds."""
    whole = integers(values, name)
    if kernel == "shift":
        size = np.abs(whole)
        if size.max() > SHIFT_MAX or np.any(size & (size - 1)):
            raise ValueError(f"{name!r} must hold 0 and signed powers of two up to {SHIFT_MAX}")
        code = np.where(size == 0, 0, np.log2(np.maximum(size, 1)).astype(np.int64) + 1)
        return code + 8 * np.signbit(values).astype(np.int64)
    if fmt.bits == 1:
        if np.any(np.abs(whole) != 1):
            raise ValueError(f"{name!r} must hold -1 and +1")
        return (whole + 1) // 2
    return whole
