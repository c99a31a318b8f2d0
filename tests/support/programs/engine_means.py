"""Networks with means of maps that a small ring does not hold."""

import numpy as np
from addax.quant.formats import signed, unsigned
from addax.quant.program import AveragePool
from network_builder import Builder


def whole_means(seed, *, bits=8, tables=False, kernels=("mult", "adder"), size=None):
    """Means of the input, of what a convolution makes of it, and of single pixels, with and without a sign, each behind
    a requantise, some behind a residual or a table; a maximum pool in front of one."""
    rng = np.random.default_rng(seed)
    height, width = size or (int(rng.integers(24, 50)), int(rng.integers(3, 14)))
    b = Builder(rng, (int(rng.integers(3, 20)), height, width))
    b.varied = lambda op: op

    def stored():
        return unsigned(bits - 1) if rng.random() < 0.5 else signed(bits)

    def mean(source, join=None, result=None):
        b.last = source
        b.emit(AveragePool(name=f"mean{len(b.ops)}", source=source, size=b.shape()[1:], stride=1))
        b.rescale(result or stored(), residual=join)
        if tables and rng.random() < 0.5 and result is None:
            b.table(stored())
        return b.last

    pixels = b.last
    b.convolution(str(rng.choice(kernels)), int(rng.integers(2, 20)), 3, padding=1, weight_bits=min(bits, 8))
    b.rescale(stored())
    features, channels = b.last, b.shape()[0]
    first = mean(features, result=signed(min(bits + 2, 16)) if rng.random() < 0.5 else None)
    second = mean(features, join=first)
    mean(second)
    b.convolution(str(rng.choice(kernels)), channels, 1, weight_bits=min(bits, 8))
    b.rescale(stored())
    mean(pixels)
    return b.raw()
