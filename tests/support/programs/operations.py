"""One operation of each kind with any of its fields changed, and small Programs around it."""

import numpy as np
from addax.quant.formats import signed, unsigned
from addax.quant.program import (
    ArgMax,
    Convolution,
    Flatten,
    Input,
    Program,
    Requantise,
    Threshold,
    infer,
)

SHAPE = (2, 6, 5)


def integers(*values):
    return np.array(values, np.int64)


def convolution(**changes):
    weight = changes.pop("weight", np.ones((3, 2, 3, 3), np.int64))
    groups = 2 if changes.get("groups") == 2 else 1
    values = {
        "name": "conv", "source": "pixels", "kernel": "mult", "weight": weight, "weight_format": signed(4),
        "pad": np.zeros(weight.shape[1] * groups if weight.ndim > 1 else 1, np.int64),
    }  # fmt: skip
    return Convolution(**{**values, **changes})


def requantise(**changes):
    fmt = changes.get("format", unsigned(8))
    values = {
        "name": "req", "source": "conv", "multiplier": integers(3, -4, 5), "offset": integers(1, 2, 3), "shift": 4,
        "format": fmt, "lo": fmt.lo, "hi": fmt.hi,
    }  # fmt: skip
    return Requantise(**{**values, **changes})


def threshold(**changes):
    values = {
        "name": "thr", "source": "pixels", "thresholds": np.array([[1, 2, 3], [0, 9, 256]]), "falling": integers(0, 1),
        "format": unsigned(2),
    }  # fmt: skip
    return Threshold(**{**values, **changes})


def bits(name="bits", source="pixels", channels=2):
    """One bit per channel, for the xnor kernel."""
    levels, falling = np.full((channels, 1), 9), np.zeros(channels, np.int64)
    return Threshold(name=name, source=source, thresholds=levels, falling=falling, format=unsigned(1))


def xnor(**changes):
    return convolution(**{"source": "bits", "kernel": "xnor", "weight_format": unsigned(1), **changes})


def tail(source, channels):
    """From any tensor to two scores that cannot saturate."""
    weight = np.ones((2, channels, 1, 1), np.int64)
    return (
        Convolution(name="fc", source=source, kernel="mult", weight=weight, weight_format=signed(2),
                    pad=np.zeros(channels, np.int64)),
        Requantise(name="scores", source="fc", multiplier=integers(1, 1), offset=integers(0, 0), shift=0,
                   format=signed(40), lo=signed(40).lo, hi=signed(40).hi),
        ArgMax(name="argmax", source="scores"),
    )  # fmt: skip


def program(*ops, last=None, shape=SHAPE, **metadata):
    """Pixels, ``ops``, and what turns the result of the last of them into scores."""
    ops = (Input(name="pixels", shape=shape), *ops)
    inferred = {}
    for op in ops:
        try:
            inferred[op.name] = infer(op, inferred)
        except (ValueError, KeyError):
            return Program(ops=(*ops, ArgMax(name="argmax", source=ops[-1].name)))  # the constructor says what is wrong
    (channels, height, width), fmt = inferred[ops[-1].name]
    if not 2 <= fmt.bits <= 16:
        ones = np.ones(channels, np.int64)
        ops += (requantise(name="narrow", source=ops[-1].name, multiplier=ones, offset=ones, shift=0),)
    flat = Flatten(name="flat", source=ops[-1].name)
    return Program(ops=(*ops, flat, *tail("flat", channels * height * width)), **metadata)


SHIFT_WORDS = [0, 1, 2, 4, 8, 16, 32, 64, 0, -1, -2, -4, -8, -16, -32, -64]


def classifier(*ops):
    """Two sums of pixels of one image of one pixel, -510..510, and ``ops`` behind them."""
    weight = np.array([[1, 1], [-1, -1]], np.int64)[:, :, None, None]
    fc = Convolution(
        name="fc", source="pixels", kernel="mult", weight=weight, weight_format=signed(2), pad=integers(0, 0)
    )
    return Program(ops=(Input(name="pixels", shape=(2, 1, 1)), fc, *ops))
