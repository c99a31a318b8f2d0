"""What an array works on: steps of a real layer, taken from a network and images that come along, or random ones."""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from ...common.errors import UserError
from ...hdl.lanes.shape import ArrayShape
from ...models import data
from ...quant.formats import Format
from ...quant.golden.execute import run
from ...quant.program import Convolution, Program, weight_values
from ...quant.quantize import quantize

__all__ = ["LAYER", "NETWORK", "SOURCES", "Steps", "bits_of", "steps_for", "terms_of"]

NETWORK, LAYER, DATA = "lenet5", "conv2", "digits"
"""The layer of which steps are taken: 16 filters of 150 terms behind a ReLU, of the same shape with every kernel."""
SOURCES = (NETWORK, "random")
_SEED = 1
_TERMS = 150
_WIDEST = 8
"""Bits at which a network is quantised whose array reads single bits."""

Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Steps:
    """What an array reads, group after group.

    Attributes
    ----------
    x : (groups, steps, pin) features
    w : (groups, steps, pout, pin) words of the weight format
    """

    x: Ints
    w: Ints

    @property
    def count(self) -> int:
        """Steps of all groups."""
        return self.x.shape[0] * self.x.shape[1]


def steps_for(shape: ArrayShape, *, source: str, count: int) -> Steps:
    """At least ``count`` steps in whole groups.

    Parameters
    ----------
    source : the network ``lenet5`` on handwritten digits, or ``random``: uniform over both formats, as many terms

    Raises
    ------
    UserError
        for another source, and when the layer's formats are not the array's.
    """
    if source not in SOURCES:
        raise UserError(f"operands must come from {' or '.join(SOURCES)}, not {source!r}")
    if source == "random":
        rng = np.random.default_rng(_SEED)
        steps = math.ceil(_TERMS / shape.pin)
        groups = math.ceil(count / steps)
        x = rng.integers(shape.x.lo, shape.x.hi + 1, (groups, steps, shape.pin))
        return Steps(x=x, w=rng.integers(shape.w.lo, shape.w.hi + 1, (groups, steps, shape.pout, shape.pin)))
    program = _program(shape.kernel, shape.x.bits if shape.x.bits > 1 else _WIDEST)
    layer = program.by_name[LAYER]
    assert isinstance(layer, Convolution)
    found = program.format(layer.source), layer.weight_format
    if found != (shape.x, shape.w):
        raise UserError(
            f"{LAYER} of {NETWORK} reads {found[0]} and {found[1]}, the array {shape.x} and {shape.w}; "
            "take random operands"
        )
    return _of_layer(program, layer, shape, count)


@cache
def _program(kernel: str, bits: int) -> Program:
    return quantize(NETWORK, kernel=kernel, weights=None, bits=bits, data_source=DATA)


def _of_layer(program: Program, layer: Convolution, shape: ArrayShape, count: int) -> Steps:
    steps = math.ceil(layer.taps / shape.pin)
    groups = math.ceil(count / steps)
    assert layer.padding == 0 and layer.groups == 1
    rows, columns = program.shape(layer.name)[1:]
    images = data.load(DATA, "test", shape=program.input.shape).head(math.ceil(groups / (rows * columns)))
    features = run(program, images.x, trace=[layer.source]).tensors[layer.source]
    kernel = layer.weight.shape[2:]
    windows = np.lib.stride_tricks.sliding_window_view(features, kernel, axis=(2, 3))
    windows = windows[:, :, :: layer.stride, :: layer.stride][:, :, :rows, :columns]
    # Tap by tap, all channels of a tap together, as the accelerators read them.
    terms = windows.transpose(0, 2, 3, 4, 5, 1).reshape(-1, layer.taps)[:groups]
    filters = layer.weight.transpose(0, 2, 3, 1).reshape(-1, layer.taps)
    chosen = np.arange(len(terms) * shape.pout).reshape(len(terms), shape.pout) % len(filters)
    empty = steps * shape.pin - layer.taps
    x = np.pad(terms, ((0, 0), (0, empty))).reshape(len(terms), steps, shape.pin)
    w = np.pad(filters, ((0, 0), (0, empty)))[chosen].reshape(len(terms), shape.pout, steps, shape.pin)
    return Steps(x=x.astype(np.int64), w=w.transpose(0, 2, 1, 3).astype(np.int64))


def terms_of(shape: ArrayShape, steps: Steps) -> Ints:
    """The sums that the kernel's definition gives: (groups, pout)."""
    x = steps.x[:, :, None, :]
    if shape.kernel == "adder":
        terms = -np.abs(x - steps.w)
    elif shape.kernel == "xnor":
        terms = np.where(x == steps.w, 1, -1)
    else:
        terms = x * _values(shape, steps.w)
    return terms.sum(axis=(1, 3))


def _values(shape: ArrayShape, words: Ints) -> Ints:
    if shape.kernel != "shift":
        return words
    layer = Convolution(
        name="w", source="x", kernel="shift", weight=words.reshape(1, -1, 1, 1), weight_format=shape.w,
        pad=np.zeros(words.size, np.int64),
    )  # fmt: skip
    return weight_values(layer).reshape(words.shape)


def bits_of(values: Ints, fmt: Format) -> NDArray[np.uint8]:
    """Two's complement bits, lowest first, along a new last axis."""
    return ((values[..., None] >> np.arange(fmt.bits)) & 1).astype(np.uint8)
