"""ONNX files as Programs: those that we wrote, integer by integer; those of Brevitas, see `brevitas_import`."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, numpy_helper

from ...common.errors import UserError
from ...common.reading import parse_json
from ..files.archive import program_digest, rebuild
from ..formats import Format, unsigned
from ..program import (
    SHIFT_MAX,
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
)  # fmt: skip
from .functions import DOMAIN, QONNX
from .graph import attributes, constants_of, input_shape, load_model, resize_factor, shuffle_factor, square
from .write import HEADER, KERNEL

__all__ = ["import_onnx"]

Ints = NDArray[np.int64]


def import_onnx(path: str | Path, *, input_scale: float | None = None, input_offset: float | None = None) -> Program:
    """The Program in an ONNX file: that which `onnx_export` wrote, or one made of a network that others quantised.

    Parameters
    ----------
    input_scale, input_offset : a foreign network reads ``input_scale * pixel + input_offset``; None: what its file
        says, else 1/255 and 0

    Raises
    ------
    UserError
        for a file that is missing, broken, changed since it was exported, or that holds what no Program can.
    """
    path = Path(path)
    model = load_model(path)
    header = next((p.value for p in model.metadata_props if p.key == HEADER), None)
    if header is None and not any(node.domain == DOMAIN for node in model.graph.node):
        from .brevitas import import_float

        return import_float(model, path, input_scale=input_scale, input_offset=input_offset)
    if input_scale is not None or input_offset is not None:
        raise UserError(f"{path} was written by addax and reads pixels as they are; leave its scale and offset out")
    facts = _header(header, path)
    try:
        if "graph" in facts:
            program = rebuild(_tensors_of(model, facts["graph"]), facts)
        else:
            program = Program(
                ops=_Reader(model, path).operations(),
                steps=facts.get("steps", {}),
                metadata=facts.get("metadata", {}),
            )
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path} does not hold a program: {error}") from error
    if "digest" in facts and facts["digest"] != program_digest(program):
        raise UserError(f"{path} was changed after 'addax export': its integers are not those of its checksum")
    return program


def _header(text: str | None, path: Path) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        facts = parse_json(text)
    except ValueError as error:
        raise UserError(f"{path} has broken metadata of addax: {error}") from error
    if not isinstance(facts, dict):
        raise UserError(f"{path} has broken metadata of addax: {text[:40]!r}")
    return facts


def _tensors_of(model: ModelProto, graph: list[dict[str, Any]]) -> dict[str, Ints]:
    """The tensors of the operations in ``graph`` among the initialisers; a padding of zeros is none."""
    named = {f"{entry['name']}." for entry in graph}
    found = {
        tensor.name: _integers(numpy_helper.to_array(tensor), tensor.name)
        for tensor in model.graph.initializer
        if tensor.name[: tensor.name.find(".") + 1] in named
    }
    for entry in graph:
        if entry["op"] == "Convolution" and f"{entry['name']}.pad" not in found:
            channels = found[f"{entry['name']}.weight"].shape[1] * entry["groups"]
            found[f"{entry['name']}.pad"] = np.zeros(channels, np.int64)
    return found


@dataclass(frozen=True, kw_only=True)
class _Tensor:
    """The result of operation ``op``; perhaps framed by ``pad``, perhaps as signs."""

    op: str
    padding: int = 0
    pad: Ints | None = None
    signs: bool = False


@dataclass(frozen=True, kw_only=True)
class _Weights:
    values: NDArray[Any]
    format: Format


class _Reader:
    """One walk over a graph that we wrote: nodes of the names of operations, and helpers between them."""

    def __init__(self, model: ModelProto, path: Path):
        self.model = model
        self.path = path
        self.constants = constants_of(model)
        self.pixels, self.shape = input_shape(model, path)
        self.tensors: dict[str, _Tensor] = {}
        self.weights: dict[str, _Weights] = {}
        self.kinds = {
            (QONNX, "Quant"): self._quant,
            (QONNX, "BipolarQuant"): self._bipolar_quant,
            (QONNX, "MultiThreshold"): self._multi_threshold,
            (DOMAIN, "PadChannels"): self._pad_channels,
            (DOMAIN, "AdderConv"): self._convolution,
            (DOMAIN, "IntegerConv"): self._convolution,
            (DOMAIN, "Requantise"): self._requantise,
            (DOMAIN, "RequantiseAdd"): self._requantise,
            (DOMAIN, "RequantiseChannels"): self._requantise_channels,
            (DOMAIN, "RequantiseChannelsAdd"): self._requantise_channels,
            (DOMAIN, "Threshold"): self._threshold,
            (DOMAIN, "SumPool"): self._pool,
            (DOMAIN, "IntegerMaxPool"): self._pool,
            (DOMAIN, "SpatialShift"): self._spatial_shift,
            (DOMAIN, "IntegerPixelShuffle"): self._pixel_shuffle,
            (DOMAIN, "IntegerUpsample"): self._upsample,
            ("", "DepthToSpace"): self._pixel_shuffle,
            ("", "Resize"): self._upsample,
            ("", "Conv"): self._convolution,
            ("", "MaxPool"): self._pool,
            ("", "Concat"): self._concat,
            ("", "Reshape"): lambda n: Flatten(name=n.name, source=self._source(n).op),
            ("", "ArgMax"): lambda n: ArgMax(name=n.name, source=self._source(n).op),
            ("", "Sub"): self._same,
            ("", "Cast"): self._same,
            ("", "Flatten"): self._same,
            ("", "Constant"): lambda n: None,
        }

    def operations(self) -> tuple[Op, ...]:
        """The operations in the order of their nodes."""
        found: list[Op] = []
        for node in self.model.graph.node:
            read = self.kinds.get((node.domain, node.op_type))
            where = f"node {node.name!r} of {self.path}"
            if read is None:
                known = ", ".join(sorted({name for _, name in self.kinds}))
                kind = f"{node.domain}.{node.op_type}".lstrip(".")
                raise UserError(f"unsupported ONNX operation {kind} at {where}; supported: {known}")
            try:
                op = read(node)
            except (KeyError, IndexError) as error:
                raise UserError(f"{where} lacks {error}") from error
            except (ValueError, TypeError, AttributeError) as error:
                raise UserError(f"{where}: {error}") from error
            if op is not None:
                found.append(op)
                self.tensors[node.output[0]] = _Tensor(op=op.name)
        return tuple(found)

    # What nodes read

    def _source(self, node: NodeProto, position: int = 0) -> _Tensor:
        name = node.input[position]
        if name not in self.tensors:
            raise ValueError(f"input {name!r} is no tensor of the network")
        return self.tensors[name]

    def _plain(self, node: NodeProto, position: int = 0) -> str:
        tensor = self._source(node, position)
        if tensor != _Tensor(op=tensor.op):
            raise ValueError(f"input {node.input[position]!r} may only be read by a convolution")
        return tensor.op

    def _integers(self, name: str) -> Ints:
        if name not in self.constants:
            raise ValueError(f"{name!r} must be a constant")
        return _integers(self.constants[name], name)

    # Helpers

    def _same(self, node: NodeProto) -> None:
        self.tensors[node.output[0]] = self._source(node)

    def _quant(self, node: NodeProto) -> Op | None:
        given = attributes(node)
        scale, zero, bits = (self._integers(name).item() for name in node.input[1:])
        if (scale, zero, given["narrow"]) != (1, 0, 0):
            raise ValueError("a quantiser of addax has scale 1, zero point 0 and the full range")
        fmt = Format(bits=bits, signed=bool(given["signed"]))
        if node.input[0] == self.pixels:
            if fmt != unsigned(8):
                raise ValueError(f"pixels are uint8, not {fmt}")
            return Input(name=node.name, shape=self.shape)
        self.weights[node.output[0]] = _Weights(values=self._constant(node), format=fmt)
        return None

    def _constant(self, node: NodeProto) -> NDArray[Any]:
        if node.input[0] not in self.constants:
            raise ValueError(f"{node.input[0]!r} must be a constant")
        return self.constants[node.input[0]]

    def _bipolar_quant(self, node: NodeProto) -> None:
        if node.input[0] in self.tensors:
            self.tensors[node.output[0]] = replace(self._source(node), signs=True)
        else:
            self.weights[node.output[0]] = _Weights(values=self._constant(node), format=unsigned(1))

    def _pad_channels(self, node: NodeProto) -> None:
        framed = replace(
            self._source(node), padding=square(node, "pads", 0), pad=self._integers(node.input[1])
        )  # fmt: skip
        self.tensors[node.output[0]] = framed

    # Operations

    def _convolution(self, node: NodeProto) -> Convolution:
        source, weights, given = self._source(node), self.weights.get(node.input[1]), attributes(node)
        if weights is None:
            raise ValueError(f"{node.input[1]!r} must be constant weights behind a quantiser")
        named = {entry.key: entry.value for entry in node.metadata_props}.get(KERNEL)
        kernel = "adder" if node.op_type == "AdderConv" else "xnor" if source.signs else named or "mult"
        channels, padding = weights.values.shape[1] * given["group"], square(node, "pads", 0)
        pad = source.pad if source.pad is not None else np.zeros(channels, np.int64)
        if len(node.input) > 2 and source.pad is None:
            pad = self._integers(node.input[2])
        words = _words(weights.values, kernel, weights.format, node.input[1])
        return Convolution(
            name=node.name, source=source.op, kernel=kernel, weight=words,
            weight_format=unsigned(4) if kernel == "shift" else weights.format, stride=square(node, "strides", 1),
            padding=source.padding + padding, pad=pad, groups=given["group"],
        )  # fmt: skip

    def _requantise(self, node: NodeProto) -> Requantise:
        given = attributes(node)
        joins = node.op_type == "RequantiseAdd"
        return Requantise(
            **self._common(node), shift=given["shift"], residual=self._plain(node, 3) if joins else None,
            residual_multiplier=given["residual_multiplier"] if joins else 0,
        )  # fmt: skip

    def _requantise_channels(self, node: NodeProto) -> Requantise:
        given = attributes(node)
        joins = node.op_type == "RequantiseChannelsAdd"
        return Requantise(
            **self._common(node), shift=self._integers(node.input[3]), ties="even" if given["even"] else "up",
            factor_bits=given["factor_bits"], residual=self._plain(node, 4) if joins else None,
            residual_multiplier=self._integers(node.input[5]) if joins else 0,
        )  # fmt: skip

    def _common(self, node: NodeProto) -> dict[str, Any]:
        """What every requantise says."""
        given = attributes(node)
        return {
            "name": node.name, "source": self._plain(node), "multiplier": self._integers(node.input[1]),
            "offset": self._integers(node.input[2]), "lo": given["lo"], "hi": given["hi"], "terms": given["terms"],
            "format": Format(bits=given["bits"], signed=bool(given["signed"])),
        }  # fmt: skip

    def _threshold(self, node: NodeProto) -> Threshold:
        thresholds, falling = (self._integers(name) for name in node.input[1:])
        fmt = unsigned(attributes(node)["bits"])
        return Threshold(
            name=node.name, source=self._plain(node), thresholds=thresholds, falling=falling, format=fmt
        )  # fmt: skip

    def _multi_threshold(self, node: NodeProto) -> Threshold:
        given, thresholds = attributes(node), self._integers(node.input[1])
        bits = given["out_dtype"].removeprefix("UINT")
        if not bits.isdigit() or (given["out_scale"], given["out_bias"]) != (1, 0):
            raise ValueError(f"thresholds of addax count into unsigned integers, not into {given['out_dtype']}")
        falling = np.zeros(len(thresholds), np.int64)
        return Threshold(
            name=node.name, source=self._plain(node), thresholds=thresholds, falling=falling,
            format=unsigned(int(bits)),
        )  # fmt: skip

    def _concat(self, node: NodeProto) -> Concat:
        first, *others = (self._plain(node, k) for k in range(len(node.input)))
        return Concat(name=node.name, source=first, others=tuple(others))

    def _spatial_shift(self, node: NodeProto) -> SpatialShift:
        offsets, pad = (self._integers(name) for name in node.input[1:])
        return SpatialShift(name=node.name, source=self._plain(node), offsets=offsets, pad=pad)

    def _pixel_shuffle(self, node: NodeProto) -> PixelShuffle:
        return PixelShuffle(name=node.name, source=self._plain(node), factor=shuffle_factor(node))

    def _upsample(self, node: NodeProto) -> Upsample:
        factor = resize_factor(node, self.constants)
        return Upsample(name=node.name, source=self._plain(node), factor=factor)

    def _pool(self, node: NodeProto) -> Op:
        size, stride = square(node, "kernel_shape", 1), square(node, "strides", 1)
        if node.op_type == "SumPool":
            return AveragePool(name=node.name, source=self._plain(node), size=size, stride=stride)
        padding = square(node, "pads", 0)
        return MaxPool(name=node.name, source=self._plain(node), size=size, stride=stride, padding=padding)


def _integers(values: NDArray[Any], name: str) -> Ints:
    with np.errstate(invalid="ignore"):
        whole = values.astype(np.int64)
    if not np.array_equal(whole, values):
        raise ValueError(f"{name!r} must hold integers")
    return whole


def _words(values: NDArray[Any], kernel: str, fmt: Format, name: str) -> Ints:
    """Values of weights as the words that a Program holds."""
    whole = _integers(values, name)
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
