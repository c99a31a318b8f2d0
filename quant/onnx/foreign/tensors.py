"""The tensors and constants of a foreign ONNX graph, as the file sees them and as a Program holds them.

The file sees a tensor of any number of axes, which it flattens and transposes at will; a Program holds a map (C, H, W).
`Tensor` keeps both, so that a flatten or a transposition costs nothing until a dense layer or a constant asks for it.
What lies between two quantisers waits in a `Pending`, max pools of sums too: they move behind the quantiser.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...fold.assembly import Bits, Pending, Stored
from ...formats import Format
from .attributes import Window

__all__ = ["NEEDS_QUANTIZER", "Constant", "Floats", "Given", "Grid", "Ints", "Joined", "Tensor", "one_number"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Given = dict[str, Any]
NEEDS_QUANTIZER = "needs a quantiser in front, so that it is integers"


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """A tensor of the network.

    Attributes
    ----------
    value : integers, bits, or sums that wait for a quantiser
    shape : its axes in the file, without the batch
    order : for each element its place in the map, channel by channel and row by row, in ``shape``; None: that order
    low, high : limits of the real value, of a ReLU or a Clip behind ``value``
    slope : (C,), positive, what a LeakyRelu or PRelu before those limits multiplies values below 0 by; None: neither
    pools : max pools behind all of that, to be done behind the quantiser; (C, H, W) of ``value`` is before them
    falls : (C,), channels whose value was multiplied by a negative number behind the pools; None: none
    flattened : node that made one axis of all
    ended : kind of the operation, such as Softmax, behind class scores, which was left out
    """

    value: Stored | Bits | Pending
    shape: tuple[int, ...]
    order: Ints | None = None
    low: float = -math.inf
    high: float = math.inf
    slope: Floats | None = None
    pools: tuple[tuple[str, Window], ...] = ()
    falls: NDArray[np.bool_] | None = None
    flattened: str = ""
    ended: str = ""

    @property
    def op(self) -> str:
        """Operation of the Program whose result it is made of."""
        return self.value.op

    @property
    def limited(self) -> bool:
        """Whether a ReLU, a second slope or a Clip waits for a quantiser."""
        return self.low > -math.inf or self.high < math.inf or self.slope is not None


@dataclass(frozen=True, kw_only=True)
class Joined:
    """Channels side by side that have no common grid yet: a quantiser behind them gives it."""

    parts: tuple[Tensor, ...]
    shape: tuple[int, ...]
    name: str


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What QuantizeLinear makes, before DequantizeLinear reads it: integers ``lo..hi``, of which ``zero`` is 0."""

    tensor: Tensor | Joined
    scale: float
    zero: int
    lo: int
    hi: int


@dataclass(frozen=True, kw_only=True)
class Constant:
    """A quantised constant: ``integers * scale``, signs where ``format`` has one bit; both of one shape."""

    integers: Ints
    scale: Floats
    format: Format

    @property
    def real(self) -> Floats:
        """The real values that the integers stand for."""
        return np.asarray(self.integers * self.scale, np.float64)

    def changed(self, change: Callable[[NDArray[Any]], NDArray[Any]]) -> "Constant":
        """This constant with its axes changed: ``change`` transposes or reshapes integers and scales alike."""
        return replace(self, integers=change(self.integers), scale=change(self.scale))

    def per_output(self) -> Floats:
        """One scale for every output, the first axis."""
        rows = self.scale.reshape(len(self.scale), -1)
        if np.any(rows != rows[:, :1]):
            raise ValueError(f"weights {self.integers.shape} must have one scale, or one per output")
        return np.asarray(rows[:, 0], np.float64)


def one_number(values: NDArray[Any], what: str) -> float:
    """The one number in ``values``, which may repeat it; raises ``ValueError`` for several."""
    found = np.unique(np.asarray(values, np.float64))
    if len(found) != 1:
        raise ValueError(f"{what} must have one value, not {found[:4].tolist()}")
    return float(found[0])
