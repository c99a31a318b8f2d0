"""Shared-scale post-training calibration: the grid of a layer is set by its features alone.

``|s*x - s*w| = s*|x - w|`` only when both operands have the same step. A weight beyond the feature range ``[lo, hi]``
is clamped onto the grid, and what the clamp takes away is a constant per filter that is given back exactly:
``-sum|x - w/s| = -sum|x - clamp(w/s)| - C`` for every ``x`` in the range.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx

from .formats import Format

__all__ = ["Ranges", "observe", "per_channel_symmetric", "shared_scale"]

QUANTILE = 0.9997
"""Share of feature values that the grid covers without clipping."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Ranges:
    """Magnitude of every node's values over the calibration images: the QUANTILE of their absolute values."""

    magnitude: dict[str, float]

    def step(self, node: str, fmt: Format) -> float:
        """Real value of one unit when ``node`` is stored in ``fmt``."""
        return max(self.magnitude[node], 1e-3) / fmt.hi


class _Observer(fx.Interpreter):
    """Runs a traced network and keeps, for each node, the largest quantile over batches."""

    def __init__(self, module: fx.GraphModule):
        super().__init__(module)
        self.magnitude: dict[str, float] = {}

    def run_node(self, n: fx.Node) -> object:
        result = super().run_node(n)
        if isinstance(result, Tensor) and result.is_floating_point():
            values = result.detach().abs().flatten().numpy()
            rank = min(int(np.ceil(QUANTILE * values.size)), values.size) - 1
            quantile = float(np.partition(values, rank)[rank])
            self.magnitude[n.name] = max(self.magnitude.get(n.name, 0.0), quantile)
        return result


def observe(module: fx.GraphModule, batches: Iterator[Tensor]) -> Ranges:
    """Run the float network over calibration batches and record each node's range."""
    observer = _Observer(module)
    with torch.no_grad():
        for batch in batches:
            observer.run(batch)
    return Ranges(magnitude=observer.magnitude)


def shared_scale(weight: Floats, step: float, grid: Format) -> tuple[Ints, Floats]:
    """Weights of an adder layer on the grid of its features, with the lossless clamp.

    Parameters
    ----------
    weight : (O, ...) real weights
    step : real value of one unit of the features

    Returns
    -------
    integer weights in ``grid``, and the constant ``C`` (O,) in units of ``step``, computed from the weights before
    rounding (from rounded weights it costs 9 points of agreement at 4 bits)
    """
    scaled = weight / step
    clamped = scaled.clip(grid.lo, grid.hi)
    correction = np.abs(scaled - clamped).reshape(len(weight), -1).sum(1)
    return np.rint(clamped).astype(np.int64), correction


def per_channel_symmetric(weight: Floats, fmt: Format) -> tuple[Ints, Floats]:
    """Weights of a multiplying layer: one step per output channel, zero stays zero, ``-hi..hi``.

    Returns
    -------
    integer weights and steps (O,)
    """
    largest = np.abs(weight).reshape(len(weight), -1).max(1)
    steps = np.where(largest > 0, largest, 1.0) / fmt.hi
    return np.rint(weight / steps.reshape(-1, *[1] * (weight.ndim - 1))).astype(np.int64), steps
