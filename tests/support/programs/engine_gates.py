"""Networks with squeeze-and-excitation and activations of any form, for engines that multiply and look up."""

import numpy as np
from addax.models.nets.efficientnet import TINYNETS
from addax.quant.formats import signed, unsigned
from addax.quant.program import AveragePool, Table
from network_builder import Builder

STAGES = ((1, 3, 16, 1, 1), (6, 3, 24, 2, 2), (6, 5, 40, 2, 2), (6, 3, 80, 3, 2), (6, 5, 112, 3, 1), (6, 5, 192, 4, 2),
          (6, 3, 320, 1, 1))  # fmt: skip
"""Of EfficientNet-B0: expansion, window, outputs, repetitions, stride."""


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def silu(x):
    return x * sigmoid(x)


class Gates(Builder):
    """A builder of layers that end in a table, and of gates."""

    def __init__(self, seed, shape):
        super().__init__(np.random.default_rng(seed), shape)
        self.varied = lambda op: op

    def layer(self, outputs, window=1, stride=1, groups=1, kernel="adder", join=None, function=silu):
        """A convolution, a requantise, and a table of ``function`` if there is one: -8 to 8 onto its range."""
        self.convolution(kernel, outputs, window, stride, window // 2, 8, groups=groups)
        self.rescale(signed(8), residual=join)
        if function is None:
            return self.last
        values = function(np.arange(-128, 128) / 16)
        result = unsigned(8) if values.min() >= 0 else signed(8)
        entries = np.rint(values * (result.hi / values.max())).astype(np.int64)
        return self.emit(Table(name=f"table{len(self.ops)}", source=self.last, entries=entries, format=result))

    def mean(self):
        _, *size = self.shape()
        self.emit(AveragePool(name=f"mean{len(self.ops)}", source=self.last, size=tuple(size), stride=1))
        self.rescale(signed(8))
        return self.last

    def excited(self, inner):
        """Every channel times a number that a small network makes of the means of all."""
        features, channels = self.last, self.shape()[0]
        self.mean()
        self.layer(inner, kernel="mult")
        gate = self.layer(channels, kernel="mult", function=sigmoid)
        self.last = features
        self.product(gate)
        self.rescale(signed(8))
        return self.last


def joined_gates(seed):
    """Products of two maps and of a map and a gate, of 8 bits each, that a residual joins; some are read twice."""
    b = Gates(seed, (3, 6, 6))
    first, second = b.layer(16, 3, kernel="mult", function=None), b.layer(16, 3, function=None)
    b.last = first
    b.mean()
    gate = b.layer(16, kernel="mult", function=None)
    b.last = first
    b.product(gate if seed % 2 else second)
    products = b.last
    b.rescale(signed(8), residual=second)
    if seed % 3 == 0:
        b.last = products
        b.rescale(signed(8), residual=first)
    return b.raw()


def tinynet_e():
    """TinyNet-E (Han et al. 2020) in the same way: EfficientNet-B0 on 106 x 106, narrower and with fewer blocks."""
    scaling = TINYNETS["e"]
    stages = [
        (expansion, window, scaling.channels(outputs), scaling.blocks(count), stride)
        for expansion, window, outputs, count, stride in STAGES
    ]
    return efficientnet_b0(scaling.pixels, stages)


def efficientnet_b0(size=224, stages=STAGES, classes=1000, head=1280, stem=32):
    """EfficientNet-B0 with adder layers and random weights; or one of other stages."""
    b = Gates(0, (3, size, size))
    b.layer(stem, 3, 2, kernel="mult")
    for expansion, window, outputs, count, first in stages:
        for stride in (first, *[1] * (count - 1)):
            x, channels = b.last, b.shape()[0]
            if expansion > 1:
                b.layer(channels * expansion)
            b.layer(channels * expansion, window, stride, channels * expansion)
            b.excited(channels // 4)
            b.layer(outputs, join=x if stride == 1 and channels == outputs else None, function=None)
    b.layer(head)
    b.mean()
    b.convolution("mult", classes, weight_bits=8)
    b.requantise(None, scores=True)
    return b.program()
