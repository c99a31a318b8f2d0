"""Small Programs whose input is no image of bytes: other formats, features, tokens."""

import numpy as np
from addax.quant.formats import signed, unsigned
from addax.quant.program import Flatten, MaxPool, Upsample
from network_builder import Builder

FORMATS = (signed(8), unsigned(4), signed(12), unsigned(16))
"""Less than a byte, a byte, less than two bytes and two, with signs and without."""
FIRST = ("adder", "mult", "shift", "pool", "requantise", "threshold", "upsample")
"""What reads the input."""


def with_input(fmt, first, *, shape=(2, 4, 4), seed=0):
    """A classifier of ``fmt`` integers whose input is read by an operation of the kind ``first``, and by another layer
    besides where that is a layer itself."""
    b = Builder(np.random.default_rng([seed, fmt.bits, fmt.signed, FIRST.index(first)]), shape, fmt)
    small = min(shape[1:]) < 3
    match first:
        case "pool":
            b.emit(MaxPool(name="pool", source=b.last, size=1 if small else 2, stride=1))
        case "requantise":
            b.requantise(signed(6))
        case "threshold":
            b.threshold(unsigned(2))
        case "upsample":
            b.enlarge(Upsample, 2)
        case kernel:
            b.convolution(kernel, 3, 1 if small else 3, padding=0 if small else 1)
            b.requantise(unsigned(5))
    b.convolution("mult", 3, 1, weight_bits=5)
    b.requantise(unsigned(6))
    b.emit(Flatten(name="flatten", source=b.last))
    b.convolution("mult", 4, weight_bits=4)
    b.requantise(None, scores=True)
    return b.program()


def values_for(program, count, seed=0):
    """(N, C, H, W) integers of 64 bits for the input of ``program``, the extremes of its format made common."""
    fmt = program.input.format
    return Builder.integers(_Drawn(seed), fmt, (count, *program.input.shape))


class _Drawn:
    """What `Builder.integers` needs of a builder."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
