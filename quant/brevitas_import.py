"""Networks of real numbers behind quantisers, as Brevitas exports them in QONNX, as Programs.

Every quantiser with its scale becomes a grid of integers; what lies between two of them (scales, bias, batch norm,
ReLU, an addition) becomes one requantise, folded as `lower` does. Pixels are 255 times what the network reads.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto

from ..common.errors import UserError
from .assembly import Assembly, Bits, Pending, Stored
from .factors import fold_sign
from .formats import Format, format_for, unsigned
from .onnx_functions import QONNX
from .onnx_graph import attributes, constants_of, input_shape, resize_factor, shuffle_factor, square
from .program import (
    AveragePool,
    Concat,
    Convolution,
    Flatten,
    Input,
    MaxPool,
    Op,
    PixelShuffle,
    Program,
    Threshold,
    Upsample,
)  # fmt: skip

__all__ = ["import_float"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_PIXEL_STEP = 1 / 255
_QUANTISERS = (QONNX, "onnx.brevitas", "finn.custom_op.general")
"""Domains under which the quantisers of QONNX are found in files."""


_Value = Stored | Bits | Pending


@dataclass(frozen=True, kw_only=True)
class _Constant:
    """A quantised constant: ``integers * scale``, or signs where ``bits`` is 1."""

    integers: Ints
    scale: Floats
    format: Format

    @property
    def real(self) -> Floats:
        """Its values."""
        return np.asarray(self.integers * self.scale)

    def per_output(self, outputs: int) -> Floats:
        """One scale for every output channel."""
        if self.scale.size not in (1, outputs) or (self.scale.size > 1 and self.scale.shape[0] != outputs):
            raise ValueError(f"weights must have one scale, or one per output channel, not {self.scale.shape}")
        return np.broadcast_to(self.scale.reshape(-1), (outputs,)).astype(np.float64)


def import_float(model: ModelProto, path: Path) -> Program:
    """The Program of a quantised network of real numbers.

    Raises
    ------
    UserError
        for an operation that no Program has, or a tensor without a quantiser where one is needed, by its node.
    """
    return _Reader(model, path).program()


class _Reader(Assembly):
    """One walk over the graph."""

    def __init__(self, model: ModelProto, path: Path):
        super().__init__(ties="even", exact=True)
        self.model = model
        self.path = path
        self.constants: dict[str, NDArray[Any]] = constants_of(model)
        self.quantised: dict[str, _Constant] = {}
        self.values: dict[str, _Value] = {}
        self.kinds: dict[str, Callable[[NodeProto], None]] = {
            "Quant": self._quant, "IntQuant": self._quant, "BipolarQuant": self._bipolar_quant, "Conv": self._conv,
            "Gemm": self._gemm, "MatMul": self._matmul, "BatchNormalization": self._batch_norm, "Relu": self._relu,
            "MaxPool": self._max_pool, "AveragePool": self._average_pool, "GlobalAveragePool": self._global_pool,
            "ReduceMean": self._reduce_mean, "Flatten": self._flatten, "Reshape": self._flatten, "Concat": self._concat,
            "DepthToSpace": self._pixel_shuffle, "Resize": self._resize,
            "Add": self._add, "Sub": self._scaled, "Mul": self._scaled, "Div": self._scaled, "Identity": self._same,
            "Dropout": self._same, "Transpose": self._transpose, "Constant": lambda node: None,
        }  # fmt: skip
        pixels, shape = input_shape(model, path)
        name = self.emit(Input(name="pixels", shape=shape), _PIXEL_STEP)
        self.values[pixels] = Stored(op=name, step=_PIXEL_STEP)

    def program(self) -> Program:
        """Walk, and check what came out."""
        for node in self.model.graph.node:
            where = f"node {node.name or node.output[0]!r} of {self.path}"
            known = node.op_type in self.kinds and node.domain in ("", "ai.onnx", *_QUANTISERS)
            if not known:
                kind = f"{node.domain}.{node.op_type}".lstrip(".")
                raise UserError(f"unsupported ONNX operation {kind} at {where}; supported: {', '.join(self.kinds)}")
            try:
                self.kinds[node.op_type](node)
            except ValueError as error:
                raise UserError(f"{node.op_type} at {where}: {error}") from error
            except (KeyError, IndexError) as error:
                raise UserError(f"{node.op_type} at {where} lacks {error}") from error
        try:
            return self._finished()
        except ValueError as error:
            raise UserError(f"{self.path} does not make a program: {error}") from error

    def _finished(self) -> Program:
        outputs = [info.name for info in self.model.graph.output]
        if len(outputs) != 1 or outputs[0] not in self.values:
            raise ValueError(f"it must have one output, the class scores or a map, not {', '.join(outputs)}")
        self._end(outputs[0])
        convolutions = [op for op in self.ops.values() if isinstance(op, Convolution)]
        metadata = {
            "network": self.path.stem,
            "kernel": "+".join(sorted({op.kernel for op in convolutions})) or "none",
            "bits": str(max((op.weight_format.bits for op in convolutions), default=8)),
            "source": self.path.name,
        }
        return self.assembled(metadata)

    def _end(self, name: str) -> None:
        value = self._value(name)
        _, height, width = self.shape(value.op)
        if (height, width) == (1, 1):
            value = self._pending(name)
            self.scores(value if value.affine else self.pending_of(self._stored(name)))
        elif isinstance(value, Pending):
            raise ValueError(
                f"its output is a map of {height}x{width}, not one score per class: it needs a quantiser in front"
            )
        else:
            self.ending(value.op)

    # Tensors

    def _named(self, text: str) -> str:
        """A name for an operation, without what exporters put before it."""
        return self.unique(re.sub(r"^(node)?[_/]*", "", text) or "layer")

    def _value(self, name: str) -> _Value:
        if name not in self.values:
            raise ValueError(f"input {name!r} must be a tensor of the network")
        return self.values[name]

    def _constant(self, name: str) -> NDArray[Any]:
        """A constant's real values, quantised or not."""
        if name in self.quantised:
            return self.quantised[name].real
        if name not in self.constants:
            raise ValueError(f"input {name!r} must be a constant")
        return np.asarray(self.constants[name])

    def _is_constant(self, name: str) -> bool:
        return name in self.constants or name in self.quantised

    def _pending(self, name: str) -> Pending:
        value = self._value(name)
        return value if isinstance(value, Pending) else self.pending_of(value)

    def _stored(self, name: str) -> Stored:
        value = self._value(name)
        if isinstance(value, Bits):
            return self.numbers_of(value)
        if isinstance(value, Pending):
            raise ValueError(f"input {name!r} needs a quantiser in front, so that it is integers")
        return value

    # Quantisers

    def _quant(self, node: NodeProto) -> None:
        given = attributes(node)
        scale, zero, bits = (np.asarray(self._constant(name), np.float64) for name in node.input[1:])
        if bits.size != 1 or bits.item() != int(bits.item()):
            raise ValueError(f"its bit width must be a whole number, not {bits.reshape(-1)[:4].tolist()}")
        if not np.all(scale > 0) or not np.all(np.isfinite(scale)):
            raise ValueError("its scale must be positive")
        if given.get("rounding_mode", "ROUND").upper() not in ("ROUND", "HALF_EVEN"):
            raise ValueError(f"its rounding mode must be ROUND, not {given['rounding_mode']}")
        is_signed, width = bool(given["signed"]), int(bits.item())
        if width == 1 and is_signed:
            return self._signs(node, scale)
        fmt = Format(bits=width, signed=is_signed)
        lo = fmt.lo + (1 if is_signed and given["narrow"] else 0)
        hi = fmt.hi - (1 if not is_signed and given["narrow"] else 0)
        if self._is_constant(node.input[0]):
            real = self._constant(node.input[0]).astype(np.float32)
            integers = np.rint((real / scale.astype(np.float32) + zero.astype(np.float32)).clip(lo, hi)) - zero
            held = fmt if not np.any(zero) else format_for(int(lo - zero.max()), int(hi - zero.min()))
            self.quantised[node.output[0]] = _Constant(integers=integers.astype(np.int64), scale=scale, format=held)
            return None
        if scale.size != 1 or zero.size != 1:
            raise ValueError("features must have one scale and one zero point")
        place = int(zero.item())
        if place:
            lo, hi = lo - place, hi - place
            fmt = format_for(lo, hi)
        value = self._pending(node.input[0])
        name = self._named(f"{value.op}_out")
        self.values[node.output[0]] = self.requantise(name, value, scale.item(), fmt, lo=lo, hi=hi)
        return None

    def _bipolar_quant(self, node: NodeProto) -> None:
        self._signs(node, np.asarray(self._constant(node.input[1]), np.float64))

    def _signs(self, node: NodeProto, scale: Floats) -> None:
        """+scale for 0 and above, else -scale."""
        if self._is_constant(node.input[0]):
            signs = np.where(self._constant(node.input[0]) >= 0, 1, -1).astype(np.int64)
            self.quantised[node.output[0]] = _Constant(integers=signs, scale=scale, format=unsigned(1))
            return
        if scale.size != 1:
            raise ValueError("features must have one scale")
        value = self._pending(node.input[0])
        if not value.affine:
            raise ValueError("a sign behind a ReLU or an addition needs a quantiser in between")
        found = fold_sign(
            gain=value.gain, centre=value.centre, bias=value.bias, accumulator=self.format(value.op), at_zero=True
        )
        name = self.emit(
            Threshold(
                name=self._named(f"{value.op}_sign"), source=value.op, thresholds=found.levels, falling=found.falling,
                format=unsigned(1),
            )
        )  # fmt: skip
        self.values[node.output[0]] = Bits(op=name, step=scale.item())

    # Convolutions

    def _conv(self, node: NodeProto) -> None:
        given = attributes(node)
        weights = self._weights(node.input[1])
        if weights.integers.ndim != 4:
            raise ValueError(f"weights of shape {weights.integers.shape} are not those of images")
        if given.get("auto_pad", "NOTSET") != "NOTSET" or square(node, "dilations", 1) != 1:
            raise ValueError("automatic padding and dilation are not supported")
        self._products(
            node, weights, weights.integers, stride=square(node, "strides", 1), padding=square(node, "pads", 0),
            groups=given.get("group", 1),
        )  # fmt: skip

    def _gemm(self, node: NodeProto) -> None:
        given = attributes(node)
        if (given.get("alpha", 1), given.get("beta", 1), given.get("transA", 0)) != (1, 1, 0):
            raise ValueError("alpha and beta must be 1, and the features not transposed")
        weights = self._weights(node.input[1])
        self._dense(node, weights if given.get("transB", 0) else _transposed(weights))

    def _matmul(self, node: NodeProto) -> None:
        self._dense(node, _transposed(self._weights(node.input[1])))

    def _dense(self, node: NodeProto, weights: _Constant) -> None:
        if weights.integers.ndim != 2 or self.shape(self._value(node.input[0]).op)[1:] != (1, 1):
            raise ValueError("a dense layer reads a flattened tensor")
        self._products(node, weights, weights.integers[:, :, None, None], stride=1, padding=0, groups=1)

    def _weights(self, name: str) -> _Constant:
        if name not in self.quantised:
            raise ValueError(f"weights {name!r} must be a constant behind a quantiser")
        return self.quantised[name]

    def _products(
        self, node: NodeProto, weights: _Constant, integers: Ints, *, stride: int, padding: int, groups: int
    ) -> None:
        source, fmt = self._value(node.input[0]), weights.format
        # Zeros of the padding are neither +1 nor -1: there, bits become numbers.
        binary = isinstance(source, Bits) and fmt.bits == 1 and not padding
        read = source if binary and isinstance(source, Bits) else self._stored(node.input[0])
        bias = self._constant(node.input[2]).reshape(-1) if len(node.input) > 2 else np.zeros(len(integers))
        channels = self.shape(read.op)[0]
        op = Convolution(
            name=self._named(node.name or node.output[0]), source=read.op, kernel="xnor" if binary else "mult",
            weight=(integers + 1) // 2 if fmt.bits == 1 else integers, weight_format=fmt, stride=stride,
            padding=padding, pad=np.zeros(channels, np.int64), groups=groups,
        )  # fmt: skip
        self.values[node.output[0]] = Pending(
            op=self.emit(op), gain=read.step * weights.per_output(len(integers)), centre=np.zeros(len(integers)),
            bias=bias.astype(np.float64),
        )  # fmt: skip

    # Between quantisers

    def _batch_norm(self, node: NodeProto) -> None:
        gamma, beta, mean, variance = (self._constant(name).astype(np.float64) for name in node.input[1:])
        value = self._affine(node)
        factor = gamma / np.sqrt(variance + attributes(node).get("epsilon", 1e-5))
        if np.any(value.gain == 0):
            self.values[node.output[0]] = _moved(value, factor, beta - factor * mean)
            return
        # The offset is folded at the mean, where the error of the rounded factor cancels.
        self.values[node.output[0]] = replace(
            value, gain=value.gain * factor, centre=value.centre + (mean - value.bias) / value.gain, bias=beta
        )

    def _scaled(self, node: NodeProto) -> None:
        """Add, Sub, Mul, Div with a constant."""
        left, right = node.input
        if self._is_constant(left):
            if node.op_type == "Div":
                raise ValueError("a constant divided by features is not linear")
            left, right = right, left
        channels = self.shape(self._value(left).op)[0]
        number = _per_channel(self._constant(right), channels)
        one, none = np.ones(channels), np.zeros(channels)
        swapped = left != node.input[0]
        factor, offset = {
            "Add": (one, number), "Sub": (-one, number) if swapped else (one, -number), "Mul": (number, none),
            "Div": (1 / np.where(number == 0, np.nan, number), none),
        }[node.op_type]  # fmt: skip
        if not np.all(np.isfinite(factor)):
            raise ValueError("it divides by zero")
        value = self._pending(left)
        if not value.affine:
            raise ValueError("a factor or an offset behind a ReLU or an addition needs a quantiser in between")
        self.values[node.output[0]] = _moved(value, factor, offset)

    def _add(self, node: NodeProto) -> None:
        if any(self._is_constant(name) for name in node.input):
            self._scaled(node)
            return
        left, right = node.input
        if not isinstance(self._value(left), Pending):
            left, right = right, left
        main = self._pending(left)
        if not main.affine:
            raise ValueError("a sum of a ReLU or of three tensors needs a quantiser in between")
        self.values[node.output[0]] = replace(main, residual=self._stored(right))

    def _affine(self, node: NodeProto) -> Pending:
        value = self._pending(node.input[0])
        if not value.affine:
            raise ValueError("it must not follow a ReLU or an addition without a quantiser in between")
        return value

    def _relu(self, node: NodeProto) -> None:
        value = self._value(node.input[0])
        if isinstance(value, Stored) and not self.format(value.op).signed:
            self.values[node.output[0]] = value
        else:
            self.values[node.output[0]] = replace(self._pending(node.input[0]), relu=True)

    # Pools and shapes

    def _max_pool(self, node: NodeProto) -> None:
        if attributes(node).get("ceil_mode", 0) or square(node, "dilations", 1) != 1:
            raise ValueError("ceil_mode and dilations are not supported")
        value = self._value(node.input[0])
        if isinstance(value, Pending) and (value.residual is not None or not np.all(value.gain > 0)):
            raise ValueError(f"input {node.input[0]!r} needs a quantiser in front, so that it is integers")
        name = self.emit(
            MaxPool(
                name=self._named(node.name or node.output[0]), source=value.op, size=square(node, "kernel_shape", 1),
                stride=square(node, "strides", 1), padding=square(node, "pads", 0),
            ),
            value.step if isinstance(value, Stored) else None,
        )  # fmt: skip
        self.values[node.output[0]] = replace(value, op=name)

    def _average_pool(self, node: NodeProto) -> None:
        if square(node, "pads", 0) or attributes(node).get("ceil_mode", 0):
            raise ValueError("padding and ceil_mode are not supported")
        self._average(node, square(node, "kernel_shape", 1), square(node, "strides", 1))

    def _global_pool(self, node: NodeProto) -> None:
        _, height, width = self.shape(self._value(node.input[0]).op)
        if height != width:
            raise ValueError(f"the mean of a map of {height}x{width} is not supported: it must be square")
        self._average(node, height, 1)

    def _reduce_mean(self, node: NodeProto) -> None:
        axes = attributes(node).get("axes") or self._constant(node.input[1]).tolist()
        if sorted(axis % 4 for axis in axes) != [2, 3]:
            raise ValueError(f"the mean must be over rows and columns, not over axes {axes}")
        self._global_pool(node)

    def _average(self, node: NodeProto, size: int, stride: int) -> None:
        read = self._stored(node.input[0])
        name = self._named(node.name or node.output[0])
        self.emit(AveragePool(name=name, source=read.op, size=size, stride=stride))
        mean = self.pending_of(Stored(op=name, step=read.step / size**2))
        self.values[node.output[0]] = mean

    def _pixel_shuffle(self, node: NodeProto) -> None:
        factor = shuffle_factor(node)
        self._enlarged(node, lambda name, source: PixelShuffle(name=name, source=source, factor=factor))

    def _resize(self, node: NodeProto) -> None:
        _, height, width = self.shape(self._value(node.input[0]).op)
        factor = resize_factor(
            node, {name: self._constant(name) for name in node.input if self._is_constant(name)}, (height, width)
        )
        self._enlarged(node, lambda name, source: Upsample(name=name, source=source, factor=factor))

    def _enlarged(self, node: NodeProto, make: Callable[[str, str], Op]) -> None:
        value = self._value(node.input[0])
        read = value if isinstance(value, Bits) else self._stored(node.input[0])
        name = self.emit(make(self._named(node.name or node.output[0]), read.op), read.step)
        self.values[node.output[0]] = replace(read, op=name)

    def _flatten(self, node: NodeProto) -> None:
        value, given = self._value(node.input[0]), attributes(node)
        channels, height, width = self.shape(value.op)
        if node.op_type == "Flatten" and given.get("axis", 1) != 1:
            raise ValueError(f"it must keep the batch and flatten all the rest, not from axis {given['axis']} on")
        if node.op_type == "Reshape":
            wanted = self._constant(node.input[1]).tolist()
            same = [-1, channels * height * width]
            if len(wanted) not in (2, 4) or wanted[1] not in same or any(n != 1 for n in wanted[2:]):
                raise ValueError(f"it must keep the batch and flatten all the rest, not make {wanted}")
        if (height, width) == (1, 1):
            self.values[node.output[0]] = value
            return
        name = self._named(node.name or node.output[0])
        step = value.step if isinstance(value, Stored) else None
        if isinstance(value, Pending):
            if value.residual is not None:
                raise ValueError("an addition needs a quantiser before it is flattened")
            gain, centre, bias = (np.repeat(part, height * width) for part in (value.gain, value.centre, value.bias))
            value = replace(value, gain=gain, centre=centre, bias=bias)
        self.emit(Flatten(name=name, source=value.op), step)
        self.values[node.output[0]] = replace(value, op=name)

    def _concat(self, node: NodeProto) -> None:
        if attributes(node).get("axis") != 1:
            raise ValueError("only channels can be joined")
        parts = [self._stored(name) for name in node.input]
        if len({part.step for part in parts}) != 1:
            raise ValueError(f"what it joins must have one scale, not {', '.join(f'{p.step:g}' for p in parts)}")
        name = self._named(node.name or node.output[0])
        op = Concat(name=name, source=parts[0].op, others=tuple(part.op for part in parts[1:]))
        self.values[node.output[0]] = Stored(op=self.emit(op, parts[0].step), step=parts[0].step)

    def _same(self, node: NodeProto) -> None:
        if self._is_constant(node.input[0]):
            self.constants[node.output[0]] = self._constant(node.input[0])
        else:
            self.values[node.output[0]] = self._value(node.input[0])

    def _transpose(self, node: NodeProto) -> None:
        if node.input[0] not in self.quantised or attributes(node).get("perm", [1, 0]) != [1, 0]:
            raise ValueError("only the weights of a dense layer can be transposed")
        self.quantised[node.output[0]] = _transposed(self.quantised[node.input[0]])


def _transposed(weights: _Constant) -> _Constant:
    scale = weights.scale.T if weights.scale.ndim == 2 else weights.scale
    return replace(weights, integers=weights.integers.T, scale=scale)


def _moved(value: Pending, factor: Floats, offset: Floats) -> Pending:
    """``factor * value + offset``."""
    return replace(value, gain=value.gain * factor, bias=value.bias * factor + offset)


def _per_channel(number: NDArray[Any], channels: int) -> Floats:
    """A constant that is a number, or one per channel of (N, C, H, W) or (N, C), as (C,)."""
    values = np.asarray(number, np.float64)
    flat = values.reshape(-1)
    # Trailing axes are rows and columns, unless there is but one axis: a flattened tensor's channels.
    fits = flat.size == 1 or (flat.size == channels and max(values.shape[-2:-4:-1] or (channels,)) == channels)
    if not fits:
        raise ValueError(f"a constant of shape {values.shape} is neither one number nor one per channel")
    return np.broadcast_to(flat, (channels,)).astype(np.float64)
