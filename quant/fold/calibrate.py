"""Shared-scale post-training calibration: the grid of a layer is set by its features alone.

``|s*x - s*w| = s*|x - w|`` only when both operands have the same step. A weight beyond the feature range ``[lo, hi]``
is clamped onto the grid, and what the clamp takes away is a constant per filter that is given back exactly:
``-sum|x - w/s| = -sum|x - clamp(w/s)| - C`` for every ``x`` in the range.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx
from torch.nn import functional as F

from ...models.layers.adder import AdderConv2d
from ..formats import Format
from ..golden.loops import native_loops, on_bytes
from .grid import Grid
from .scheme import Scheme

__all__ = ["Grid", "Patches", "Ranges", "Statistics", "group_steps", "observe", "per_channel_symmetric", "shared_scale"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_SMALLEST = 1e-3
"""Magnitude of a tensor that is always 0."""
_SAMPLES = 4096
"""Values per node and batch that a range of least error is chosen on, besides the largest."""
_LARGEST = 1024
"""Magnitudes per node of which none may be missing there: what a range clips is rare, and no sample would hold it."""
_PATCHES = (8, 300)
"""Images per batch, and patches of them, on which an adder layer's error is measured."""
_AROUND = 2.0 ** (np.arange(-8, 5) / 4)
"""Steps that are tried for a group, relative to that of the features."""
_CANDIDATES = 0.5 ** (np.arange(0, 33) / 8)
"""Ranges that are tried, as shares of the largest magnitude: down to a sixteenth, by a twelfth root of two at most."""


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """What calibration notes of the magnitudes that one tensor of the network took.

    Attributes
    ----------
    quantile : the largest, over batches, of their quantile
    largest : the largest ones, ascending, up to `_LARGEST`
    sample : some of the values themselves, signs included, drawn from all
    count : of all values
    """

    quantile: float
    largest: Floats
    sample: Floats
    count: int

    def joined(self, other: "Statistics") -> "Statistics":
        """The statistics of both sets of values together."""
        return Statistics(
            quantile=max(self.quantile, other.quantile),
            largest=np.sort(np.concatenate([self.largest, other.largest]))[-_LARGEST:],
            sample=np.concatenate([self.sample, other.sample]),
            count=self.count + other.count,
        )

    @property
    def most(self) -> float:
        """The largest magnitude of all values."""
        return float(self.largest[-1])


@dataclass(frozen=True, kw_only=True)
class Patches:
    """What an adder layer's filters met in the float network, and what they made of it.

    Attributes
    ----------
    x : (P, K) features
    sums : (P, O)
    """

    x: Floats
    sums: Floats

    def on_grid(self, weight: Floats, step: float, grid: Format) -> tuple[Floats, Floats]:
        """Mean error of the sums on a grid, and its variance, each (O,), in units of ``step``."""
        words, lost = shared_scale(weight.reshape(len(weight), -1), step, grid)
        x = np.rint(self.x / step).clip(grid.lo, grid.hi).astype(np.int64)
        sums = (
            native_loops().adder(on_bytes(x, grid), on_bytes(words, grid), words.shape[1] * (grid.hi - grid.lo)) - lost
        )
        error = sums - self.sums / step
        return error.mean(0), error.var(0)


@dataclass(frozen=True, kw_only=True)
class Ranges:
    """What every value of a network was over the calibration images, by the name of its node."""

    statistics: Mapping[str, Statistics]
    patches: Mapping[str, Patches] = field(default_factory=dict)

    def step(self, node: str, fmt: Format, scheme: Scheme) -> float:
        """Real value of one unit when ``node`` is stored in ``fmt``."""
        found = self.statistics[node]
        match scheme.ranges:
            case "quantile":
                bound = found.quantile
            case "max":
                bound = found.most
            case _:
                bound = _least_error(found, fmt)
        return _step_of(bound, fmt, scheme)

    def step_before(self, node: str, fmt: Format, scheme: Scheme, function: Callable[[Floats], Floats]) -> float:
        """As `step`, for the grid of what ``function`` reads alone: the least error is that of what it gives."""
        if scheme.ranges in ("quantile", "max"):
            return self.step(node, fmt, scheme)
        return _step_of(_least_error_behind(self.statistics[node], fmt, function), fmt, scheme)


def _step_of(bound: float, fmt: Format, scheme: Scheme) -> float:
    """The step of ``fmt`` with which it reaches ``bound``, or nearly, where steps are powers of two."""
    step = max(bound, _SMALLEST) / fmt.hi
    return float(2.0 ** np.round(np.log2(step))) if scheme.pow2_steps else step


def _least_error(found: Statistics, fmt: Format) -> float:
    """The range whose grid is nearest to the values in the mean square: the largest, each, and those of the sample that
    are smaller, each for as many as it stands for."""
    bounds = max(found.most, _SMALLEST) * _CANDIDATES
    magnitudes = np.abs(found.sample)
    rest = magnitudes[magnitudes < found.largest[0]]
    weight = (found.count - len(found.largest)) / max(len(rest), 1)
    errors = [
        float(_squared_error(found.largest, step, fmt).sum() + weight * _squared_error(rest, step, fmt).sum())
        for step in bounds / fmt.hi
    ]
    return float(bounds[int(np.argmin(errors))])


def _least_error_behind(found: Statistics, fmt: Format, function: Callable[[Floats], Floats]) -> float:
    """As `_least_error`, of the values of ``function``: beyond where a sigmoid is flat, a range may clip what it likes.
    The largest magnitudes are of either sign."""
    bounds = max(found.most, _SMALLEST) * _CANDIDATES
    rest = found.sample[np.abs(found.sample) < found.largest[0]]
    values = np.concatenate([found.largest, -found.largest, rest])
    weight = np.full(len(values), (found.count - len(found.largest)) / max(len(rest), 1))
    weight[: 2 * len(found.largest)] = 0.5
    wanted = function(values)
    errors = [
        float(weight @ np.square(function(np.rint(values / step).clip(fmt.lo, fmt.hi) * step) - wanted))
        for step in bounds / fmt.hi
    ]
    return float(bounds[int(np.argmin(errors))])


def _squared_error(magnitudes: Floats, step: float, fmt: Format) -> Floats:
    return np.asarray(np.square(np.rint(magnitudes / step).clip(0, fmt.hi) * step - magnitudes))


class _Observer(fx.Interpreter):
    """Runs a traced network and keeps, for each node, statistics of its values."""

    def __init__(self, module: fx.GraphModule, quantile: float):
        super().__init__(module)
        self.quantile = quantile
        self.found: dict[str, Statistics] = {}
        self.met: dict[str, list[Patches]] = {}
        self.random = np.random.default_rng(0)

    def run_node(self, n: fx.Node) -> object:
        result = super().run_node(n)
        if n.op != "get_attr" and isinstance(result, Tensor) and result.is_floating_point():
            values = result.detach().flatten().numpy()
            magnitudes = np.abs(values)
            few = min(_LARGEST, values.size)
            rank = min(int(np.ceil(self.quantile * values.size)), values.size) - 1
            found = Statistics(
                quantile=float(np.partition(magnitudes, rank)[rank]),
                largest=np.sort(np.partition(magnitudes, -few)[-few:]).astype(np.float64),
                sample=values[self.random.integers(0, values.size, min(_SAMPLES, values.size))].astype(np.float64),
                count=values.size,
            )
            before = self.found.get(n.name)
            self.found[n.name] = found if before is None else before.joined(found)
            layer = self.module.get_submodule(str(n.target)) if n.op == "call_module" else None
            # Filters of several groups see different patches, and have no statistics together.
            if isinstance(layer, AdderConv2d) and layer.groups == 1 and not hasattr(layer, "quantiser"):
                (x,), _ = self.fetch_args_kwargs_from_env(n)
                self.met.setdefault(n.name, []).append(self._patches(layer, x))
        return result

    def _patches(self, layer: AdderConv2d, x: Tensor) -> Patches:
        images, most = _PATCHES
        unfolded = F.unfold(
            x[:images], layer.weight.shape[2:], padding=layer.padding, stride=layer.stride, dilation=layer.dilation
        )
        rows = unfolded.transpose(1, 2).flatten(0, 1)
        some = rows[torch.from_numpy(self.random.permutation(len(rows))[:most])]
        sums = -torch.cdist(some.double(), layer.weight.detach().flatten(1).double(), p=1.0)
        return Patches(x=some.double().numpy(), sums=sums.numpy())


def observe(module: fx.GraphModule, batches: Iterator[Tensor], *, quantile: float) -> Ranges:
    """Run the float network over calibration batches and record what its values are."""
    observer = _Observer(module, quantile)
    with torch.no_grad():
        for batch in batches:
            observer.run(batch)
    patches = {
        name: Patches(x=np.concatenate([p.x for p in parts]), sums=np.concatenate([p.sums for p in parts]))
        for name, parts in observer.met.items()
    }
    return Ranges(statistics=observer.found, patches=patches)


def group_steps(weight: Floats, patches: Patches, step: float, grid: Format, groups: int) -> list[tuple[int, float]]:
    """A step for each group of an adder layer's filters: how many filters, and their step.

    Groups are of equal size, in order; neighbours that want the same step are joined. A group's step is the one with
    the least variance of its sums' error over the calibration patches, whose mean is corrected anyway.

    Parameters
    ----------
    weight : (O, ...)
    step : that the features alone would set; candidates lie around it
    """
    candidates = step * _AROUND
    variances = np.stack([patches.on_grid(weight, float(s), grid)[1] * s**2 for s in candidates])  # (S, O)
    chosen: list[tuple[int, float]] = []
    for part in np.array_split(np.arange(len(weight)), min(groups, len(weight))):
        best = float(candidates[int(np.argmin(variances[:, part].sum(1)))])
        if chosen and chosen[-1][1] == best:
            chosen[-1] = (chosen[-1][0] + len(part), best)
        else:
            chosen.append((len(part), best))
    return chosen


def shared_scale(weight: Floats, step: float, grid: Format, *, lossless: bool = True) -> tuple[Ints, Floats]:
    """Weights of an adder layer on the grid of its features, with the lossless clamp.

    Parameters
    ----------
    weight : (O, ...) real weights
    step : real value of one unit of the features
    lossless : give back what the clamp takes away; else ``C`` is 0

    Returns
    -------
    integer weights in ``grid``, and the constant ``C`` (O,) in units of ``step``, computed from the weights before
    rounding (from rounded weights it costs 9 points of agreement at 4 bits)
    """
    scaled = weight / step
    clamped = scaled.clip(grid.lo, grid.hi)
    correction = np.abs(scaled - clamped).reshape(len(weight), -1).sum(1) * lossless
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
