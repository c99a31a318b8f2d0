"""Programs around one operation, and whatever values its tensors may hold."""

import numpy as np
from addax.quant.formats import Format, signed, unsigned
from addax.quant.program import (
    ArgMax,
    Convolution,
    Flatten,
    Input,
    Program,
    Requantise,
    infer,
    score_format,
)
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

BITS = range(2, 17)
R_MAX = 2**31 - 1
"""The factor of a residual has 32 bits."""
ONE_BIT = unsigned(1)


class Chain:
    """Pixels brought into any format, operations under test, and scores."""

    def __init__(self, shape, fmt):
        self.ops, self.inferred = {}, {}
        channels = shape[0]
        self.add(Input(name="pixels", shape=shape))
        # p * 257 >> 16 - bits spreads 0..255 over the whole format, ends included.
        self.requantise(
            "stored", fmt, np.full(channels, 257), np.full(channels, fmt.lo << 16 - fmt.bits), 16 - fmt.bits
        )

    def add(self, op):
        self.ops[op.name] = op
        self.inferred[op.name] = infer(op, self.inferred)
        self.last = op.name
        return self

    @property
    def shape(self):
        return self.inferred[self.last][0]

    @property
    def format(self):
        return self.inferred[self.last][1]

    def requantise(self, name, fmt, multiplier, offset, shift, **more):
        values = {"lo": fmt.lo, "hi": fmt.hi, **more}
        return self.add(
            Requantise(name=name, source=self.last, multiplier=multiplier.astype(np.int64),
                       offset=offset.astype(np.int64), shift=shift, format=fmt, **values)
        )  # fmt: skip

    def program(self):
        """Two scores: the sum of everything, and minus it."""
        n = self.shape[0]
        if self.format.bits > 16:
            self.requantise("narrow", signed(8), np.ones(n), np.zeros(n), min(self.format.bits - 8, 31))
        elif self.format.bits == 1:
            self.requantise("wide", signed(2), np.ones(n), np.zeros(n), 0)
        self.add(Flatten(name="flat", source=self.last))
        n = self.shape[0]
        weight = np.array([[1] * n, [-1] * n], np.int64)[:, :, None, None]
        self.add(Convolution(name="fc", source="flat", kernel="mult", weight=weight, weight_format=signed(2),
                             pad=np.zeros(n, np.int64)))  # fmt: skip
        self.requantise("scores", score_format(self.format), np.ones(2), np.zeros(2), 0)
        self.add(ArgMax(name="argmax", source="scores"))
        return Program(ops=tuple(self.ops.values()))


def values(fmt, shape):
    """Any integers of the format, with both ends common."""
    elements = st.sampled_from([fmt.lo, fmt.hi]) | st.integers(fmt.lo, fmt.hi)
    return arrays(np.int64, shape, elements=elements)


def images_of(shape, count=2):
    elements = st.sampled_from([0, 255]) | st.integers(0, 255)
    return arrays(np.uint8, (count, *shape), elements=elements)


@st.composite
def shapes(draw, least=1):
    return draw(st.integers(1, 3)), draw(st.integers(least, 5)), draw(st.integers(least, 5))


def formats():
    return st.builds(Format, bits=st.integers(2, 16), signed=st.booleans())


def weight_format_for(kernel, x, bits):
    """Of the features ``x``; ``bits`` for mult, the only kernel that leaves a choice."""
    if kernel == "mult" and bits > 1:
        return signed(bits)
    return {"adder": x, "shift": unsigned(4)}.get(kernel, ONE_BIT)
