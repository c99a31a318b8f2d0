"""Perceptrons of small integers: those whose unrolled circuits are measured, and smaller ones of the same build."""

from itertools import pairwise

import numpy as np
from addax.quant.formats import signed, unsigned
from addax.quant.ops.ends import PIXEL
from addax.quant.program import Convolution, Input, Program, Requantise, Threshold, infer

ZEROS = 0.3
"""Share of the weights of a multiplying kernel that are 0."""


def perceptron(kernel, sizes, *, seed=0, pixel=PIXEL, weight_bits=4, bits=6, factors="steps"):
    """Dense layers of ``sizes`` features, the first the input's, with ``bits`` bits between them; the last gives its
    sums as they are.

    Parameters
    ----------
    factors : ``steps``, powers of two, as grids of fixed point have; ``any``, of 16 bits
    """
    rng = np.random.default_rng(seed)
    ops = {}
    inferred = {}

    def emit(op):
        ops[op.name] = op
        inferred[op.name] = infer(op, inferred)
        return op.name

    last = emit(Input(name="pixels", shape=(sizes[0], 1, 1), format=unsigned(1) if kernel == "xnor" else pixel))
    for number, (inputs, outputs) in enumerate(pairwise(sizes)):
        x = inferred[last][1]
        weight, fmt = _weights(rng, kernel, (outputs, inputs), x, weight_bits)
        sums = emit(
            Convolution(
                name=f"dense{number}", source=last, kernel=kernel, weight=weight, weight_format=fmt, stride=1,
                padding=0, pad=np.zeros(inputs, np.int64),
            )
        )  # fmt: skip
        if number + 2 == len(sizes):
            last = emit(_kept(f"result{number}", sums, inferred[sums][1], outputs))
        elif kernel == "xnor":
            middle = rng.integers(-2, 3, (outputs, 1)) * 2
            last = emit(Threshold(
                name=f"sign{number}", source=sums, thresholds=middle, falling=rng.integers(0, 2, outputs),
                format=unsigned(1),
            ))  # fmt: skip
        else:
            last = emit(_rescaled(rng, f"scaled{number}", sums, kernel, weight, x, bits, factors))
    return Program(ops=tuple(ops.values()))


def _weights(rng, kernel, shape, x, bits):
    """Weights, and their format."""
    if kernel == "xnor":
        return rng.integers(0, 2, (*shape, 1, 1)), unsigned(1)
    if kernel == "shift":
        return rng.integers(0, 16, (*shape, 1, 1)), unsigned(4)
    if kernel == "adder":
        return rng.integers(x.lo, x.hi, (*shape, 1, 1), endpoint=True), x
    fmt = signed(bits)
    values = rng.integers(fmt.lo, fmt.hi, (*shape, 1, 1), endpoint=True)
    return values * (rng.random(values.shape) >= ZEROS), fmt


def _kept(name, source, fmt, channels):
    """Sums that leave as they are."""
    ones = np.ones(channels, np.int64)
    return Requantise(
        name=name, source=source, multiplier=ones, offset=0 * ones, shift=0, format=fmt, lo=fmt.lo, hi=fmt.hi
    )


def _rescaled(rng, name, source, kernel, weight, x, bits, factors):
    """Sums onto unsigned numbers of ``bits`` bits that reach both ends now and then."""
    rows = weight.reshape(len(weight), -1)
    taps = rng.integers(x.lo, x.hi, (256, 1, rows.shape[1]), endpoint=True)
    sums = {
        "adder": lambda: -abs(taps - rows), "mult": lambda: taps * rows,
        "shift": lambda: taps * np.where(rows % 8 == 0, 0, (1 - 2 * (rows // 8)) << np.maximum(rows % 8 - 1, 0)),
    }[kernel]().sum(2)  # fmt: skip
    span = max(float(sums.std(0).mean()) * 4, 1.0)
    step = max(round(np.log2(span / (1 << bits))), 0)
    if factors == "steps":
        shift, multiplier = step, np.ones(len(rows), np.int64)
    else:
        shift = step + 14
        multiplier = np.rint(rng.uniform(0.6, 1.4, len(rows)) * (1 << 14)).astype(np.int64)
    middle = np.rint(sums.mean(0) - span / 2 * (kernel == "adder")).astype(np.int64)
    offset = (((1 << bits) // 2 * (kernel != "adder")) << shift) - middle * multiplier + ((1 << shift) >> 1)
    fmt = unsigned(bits)
    return Requantise(
        name=name, source=source, multiplier=multiplier, offset=offset, shift=shift, format=fmt, lo=0, hi=fmt.hi
    )
