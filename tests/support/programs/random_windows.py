"""Random small Programs whose windows are not square: sides, strides, distances between taps and pads all differ."""

import numpy as np
from addax.quant.formats import signed, unsigned
from addax.quant.program import AveragePool, Convolution, Flatten, MaxPool
from network_builder import Builder, words


def random_windows(seed, raw=False):
    """Two or three layers, each with a window of its own; ``raw`` Programs end without scores."""
    rng = np.random.default_rng(seed)
    b = Builder(rng, (int(rng.integers(1, 4)), int(rng.integers(4, 10)), int(rng.integers(4, 10))))
    for depth in range(int(rng.integers(2, 4))):
        kernels = ["adder", "mult", "shift"] + ["xnor"] * (3 * (b.format() == unsigned(1)))
        kernel = str(rng.choice(kernels)) if b.format().bits > 1 else "xnor"
        _convolution(b, kernel)
        if depth and rng.random() < 0.3:
            b.threshold(unsigned(1))
        else:
            bits = int(rng.integers(2, 9))
            b.rescale(unsigned(bits) if rng.random() < 0.7 else signed(bits))
        if rng.random() < 0.6:
            _pool(b)
    if raw:
        return b.raw()
    b.emit(Flatten(name="flatten", source=b.last))
    b.convolution("xnor" if b.format().bits == 1 else "mult", int(rng.integers(2, 6)))
    b.requantise(None, scores=True)
    return b.program()


def _sides(rng, size, most):
    """Height and width of a window that a map of ``size`` holds."""
    return tuple(int(rng.integers(1, min(most, n) + 1)) for n in size)


def _convolution(b, kernel):
    rng, x = b.rng, b.format()
    channels, *size = b.shape()
    sides = _sides(rng, size, 4)
    room = [(n - 1) // (k - 1) if k > 1 else 3 for n, k in zip(size, sides, strict=True)]
    dilation = tuple(int(rng.integers(1, min(3, most) + 1)) for most in room)
    extent = [(k - 1) * d + 1 for k, d in zip(sides, dilation, strict=True)]
    pads = tuple(int(rng.integers(0, min(n, 3))) for n in extent * 2)
    weight_format = words(kernel, x, int(rng.integers(1, 5)))
    groups = channels if rng.random() < 0.2 else 1
    outputs = channels * int(rng.integers(1, 3)) if groups > 1 else int(rng.integers(1, 6))
    b.emit(
        Convolution(
            name=f"conv{len(b.ops)}", source=b.last, kernel=kernel, weight_format=weight_format,
            weight=b.integers(weight_format, (outputs, channels // groups, *sides)),
            stride=_sides(rng, (3, 3), 3), padding=pads, pad=b.integers(x, channels), groups=groups,
            dilation=dilation,
        )
    )  # fmt: skip


def _pool(b):
    rng, x = b.rng, b.format()
    _, *size = b.shape()
    sides = _sides(rng, size, 3)
    stride = _sides(rng, (3, 3), 3)
    name = f"pool{len(b.ops)}"
    if rng.random() < 0.6 or x.bits == 1:
        pads = tuple(int(rng.integers(0, n)) for n in sides * 2)
        b.emit(MaxPool(name=name, source=b.last, size=sides, stride=stride, padding=pads))
    else:
        b.emit(AveragePool(name=name, source=b.last, size=sides, stride=stride))
        b.rescale(unsigned(int(rng.integers(2, 9))))
