"""A foreign ONNX graph half read: its constants, and each of its tensors as what a Program holds of it."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto

from ...fold.assembly import Bits, Pending, Stored
from ...formats import format_for, unsigned
from ...program import AveragePool, Convolution, Flatten, Requantise
from ..graph import constants_of, datatypes
from .operations import Operations
from .tensors import NEEDS_QUANTIZER, Constant, Floats, Given, Grid, Joined, Tensor

__all__ = ["Handler", "Reader"]

Handler = Callable[["Reader", NodeProto, Given], None]
"""Reads a node, whose attributes are given, and adds what it makes to the Reader."""


@dataclass
class _Names:
    """What the file calls things."""

    constants: dict[str, NDArray[Any]]
    quantised: dict[str, Constant] = field(default_factory=dict)
    tensors: dict[str, Tensor | Joined | Grid] = field(default_factory=dict)


class Reader(Operations):
    """A Program in the making, and the names of the file for what it holds so far.

    Attributes
    ----------
    batch : images that the file says it takes at once
    input_said : whether scale or offset of the pixels are known
    annotated : datatypes that qonnx notes beside tensors
    """

    def __init__(self, model: ModelProto, path: Path):
        super().__init__(ties="even", exact=True)
        self.model = model
        self.path = path
        self.batch = 1
        self.input_said = False
        self.annotated = datatypes(model)
        names = _Names(constants=constants_of(model))
        self.constants, self.quantised, self.tensors = names.constants, names.quantised, names.tensors

    # What nodes read

    def is_constant(self, name: str) -> bool:
        """Whether ``name`` is known without an image."""
        return name in self.constants or name in self.quantised

    def constant(self, name: str) -> NDArray[Any]:
        """A constant's real values, quantised or not."""
        if name in self.quantised:
            return self.quantised[name].real
        if name not in self.constants:
            raise ValueError(f"input {name!r} must be a constant")
        values = self.constants[name]
        if values.dtype.kind not in "fiub" and values.dtype.name not in ("bfloat16", "int4", "uint4"):
            raise ValueError(f"constant {name!r} must hold numbers, not {values.dtype}")
        return values

    def optional(self, node: NodeProto, position: int) -> NDArray[Any] | None:
        """A constant that a node may leave out."""
        given = len(node.input) > position and node.input[position]
        return self.constant(node.input[position]) if given else None

    def any_tensor(self, name: str) -> Tensor | Joined:
        """A tensor of the network that a quantiser reads, which may be several side by side."""
        if name not in self.tensors:
            raise ValueError(f"input {name!r} must be a tensor of the network")
        found = self.tensors[name]
        if isinstance(found, Grid):
            raise ValueError(f"input {name!r} is what QuantizeLinear makes; only a DequantizeLinear can read it")
        if isinstance(found, Tensor) and found.ended:
            raise ValueError(f"input {name!r} comes from a {found.ended}, which can only stand behind the class scores")
        return found

    def tensor(self, name: str) -> Tensor:
        """A tensor of the network."""
        found = self.any_tensor(name)
        if isinstance(found, Joined):
            steps = [part.value.step if isinstance(part.value, Stored) else None for part in found.parts]
            shown = ", ".join("none yet" if step is None else f"{step:g}" for step in steps)
            raise ValueError(f"what it joins must have one scale, not {shown}")
        return found

    def is_map(self, tensor: Tensor) -> bool:
        """Whether the file sees channels, then rows and columns, or one line of them."""
        channels, height, width = self.map_of(tensor)
        line = tensor.shape == (channels, width) and height == 1
        return tensor.order is None and (line or tensor.shape == (channels, height, width))

    def image(self, name: str) -> Tensor:
        """A tensor that the file sees as a map."""
        tensor = self.tensor(name)
        if len(tensor.shape) < 2 or not self.is_map(tensor):
            raise ValueError(f"input {name!r} must be images (N, C, H, W), not {('N', *tensor.shape)}")
        return tensor

    def is_sums(self, tensor: Tensor) -> bool:
        """Whether it is made of sums, which no operation but a requantise should read."""
        return isinstance(self.ops[tensor.op], Convolution | AveragePool)

    def features(self, tensor: Tensor, name: str) -> tuple[Tensor, float]:
        """``tensor``, called ``name``, as integers: ``step * integer + offset`` is its value. Bits stay bits."""
        if isinstance(tensor.value, Stored | Bits):
            return tensor, 0.0
        value = tensor.value
        gain, offset = value.gain, value.bias - value.gain * value.centre
        plain = value.residual is None and not self.is_sums(tensor) and not tensor.pools
        if not plain or np.any(gain != gain[0]) or np.any(offset != offset[0]) or gain[0] == 0:
            raise ValueError(f"input {name!r} {NEEDS_QUANTIZER}")
        step, moved = float(gain[0]), float(offset[0])
        if self.format(value.op).bits == 1:
            # Bits b are read as the numbers 2 * b - 1.
            numbers = self.numbers_of(Bits(op=value.op, step=step / 2))
            found, moved = replace(tensor, value=numbers), moved + step / 2
        else:
            found = replace(tensor, value=Stored(op=value.op, step=step))
        if not tensor.limited:
            return found, moved
        if (tensor.low, tensor.high, moved) != (0, math.inf, 0) or step < 0:
            raise ValueError(f"input {name!r} {NEEDS_QUANTIZER}")
        return self._positive(found), 0.0

    def _positive(self, tensor: Tensor) -> Tensor:
        """The integers of a tensor behind its ReLU."""
        fmt, ones = self.format(tensor.op), np.ones(self.shape(tensor.op)[0], np.int64)
        held = fmt if not fmt.signed else unsigned(max(fmt.bits - 1, 2))
        op = Requantise(
            name=self.unique(f"{tensor.op}_relu"), source=tensor.op, multiplier=ones, offset=0 * ones, shift=0, lo=0,
            hi=min(max(fmt.hi, 0), held.hi), format=held,
        )  # fmt: skip
        assert isinstance(tensor.value, Stored)
        step = tensor.value.step
        return replace(tensor, value=Stored(op=self.emit(op, step), step=step), low=-math.inf)

    def shifted(self, tensor: Tensor, name: str) -> Stored | Bits:
        """The integers of a tensor whose offset is a whole number of steps, offset included."""
        read, offset = self.features(tensor, name)
        value = read.value
        if not offset or not isinstance(value, Stored):
            assert not isinstance(value, Pending)
            return value
        added, fmt = -self.zero_of(value, offset, name, outside=True), self.format(value.op)
        held, ones = format_for(fmt.lo + added, fmt.hi + added), np.ones(self.shape(value.op)[0], np.int64)
        op = Requantise(
            name=self.unique(f"{value.op}_moved"), source=value.op, multiplier=ones, offset=added * ones, shift=0,
            lo=held.lo, hi=held.hi, format=held,
        )  # fmt: skip
        return replace(value, op=self.emit(op, value.step))

    # Constants along axes

    def along(self, tensor: Tensor, values: NDArray[Any], axis: int = 0) -> tuple[Tensor, Floats]:
        """`spread` of (n,) values that belong to one axis, of those behind the batch."""
        values = np.asarray(values).reshape(-1)
        if axis >= len(tensor.shape):
            raise ValueError(f"a tensor of shape {('N', *tensor.shape)} has no channels")
        if values.size not in (1, tensor.shape[axis]):
            raise ValueError(f"{values.size} values do not fit the {tensor.shape[axis]} channels of its input")
        return self.spread(tensor, values.reshape((1,) * (axis + 1) + (-1,) + (1,) * (len(tensor.shape) - axis - 1)))

    def spread(self, tensor: Tensor, values: NDArray[Any]) -> tuple[Tensor, Floats]:
        """A constant that is broadcast over a tensor, last axes aligned, as one number per channel of the map.

        Returns
        -------
        the tensor, flattened in the Program where each element has a number of its own; (C,)
        """
        target = (1, *tensor.shape)
        channels = self.map_of(tensor)[0]
        if values.ndim <= len(target) and values.size == 1:
            return tensor, np.full(channels, float(values.reshape(-1)[0]))
        try:
            fits = values.ndim <= len(target) and np.broadcast_shapes(values.shape, target) == target
        except ValueError:
            fits = False
        if not fits:
            raise ValueError(
                f"a constant of shape {values.shape} cannot be spread over a tensor of shape {('N', *tensor.shape)}; "
                f"its last axes must be those of the tensor"
            )
        placed = np.broadcast_to(values, target).reshape(-1).astype(np.float64)
        if tensor.order is not None:
            there = np.empty_like(placed)
            there[tensor.order.reshape(-1)] = placed
            placed = there
        rows = placed.reshape(channels, -1)
        if np.all(rows == rows[:, :1]):
            return tensor, rows[:, 0].copy()
        if max(tensor.shape) != math.prod(tensor.shape):
            raise ValueError(f"a constant of shape {values.shape} is neither one number nor one per channel")
        return self.flat(tensor), placed

    def flat(self, tensor: Tensor) -> Tensor:
        """A tensor whose map is (C * H * W, 1, 1) in the Program as well."""
        value = tensor.value
        if self.map_of(tensor)[1:] == (1, 1) and not tensor.pools:
            return tensor
        if tensor.pools:
            tensor = self.pooled_sums(tensor)
            value = tensor.value
        _, height, width = self.shape(value.op)
        if isinstance(value, Pending):
            if value.residual is not None:
                raise ValueError("an addition needs a quantiser before it is flattened")
            gain, centre, bias = (np.repeat(part, height * width) for part in (value.gain, value.centre, value.bias))
            value = replace(value, gain=gain, centre=centre, bias=bias)
        name = self.named(tensor.flattened or f"{value.op}_flat")
        self.emit(Flatten(name=name, source=value.op), value.step if isinstance(value, Stored) else None)
        return replace(tensor, value=replace(value, op=name))
