"""Random Programs of tables and products: activations of any form, gates of channels and of whole maps."""

import numpy as np
from addax.quant.formats import signed, unsigned
from addax.quant.program import AveragePool, Flatten
from network_builder import Builder


def random_gated(seed, raw=None):
    """Layers whose activations are tables, channels that a branch of means gates, products of maps, and of a map with
    itself.

    With ``raw`` the Program ends in a map, else in class scores; without a choice, in either.
    """
    rng = np.random.default_rng(seed)
    b = Builder(rng, (int(rng.integers(1, 4)), int(rng.integers(2, 6)), int(rng.integers(2, 6))))
    raw = bool(rng.random() < 0.5) if raw is None else raw

    def choose(*what):
        return what[int(rng.integers(len(what)))]

    def layer(outputs, result, size=1):
        b.convolution(choose("adder", "mult"), outputs, size, padding=size // 2, weight_bits=int(rng.integers(2, 6)))
        b.rescale(result)

    def gate():
        """One number for each channel, as squeeze-and-excitation makes them."""
        channels, *size = b.shape()
        b.emit(AveragePool(name=f"mean{len(b.ops)}", source=b.last, size=tuple(size), stride=1))
        b.rescale(choose(unsigned(8), signed(5)))
        layer(choose(1, 2, 3), unsigned(6))
        layer(channels, choose(signed(8), signed(4), unsigned(3)))
        b.table(choose(unsigned(8), unsigned(3), signed(9)))
        return b.last

    if rng.random() < 0.3:
        b.table(choose(signed(7), unsigned(4)))
    for _ in range(int(rng.integers(1, 3))):
        layer(choose(2, 3, 4), choose(signed(8), unsigned(2), signed(5), signed(11)), choose(1, 3))
        if rng.random() < 0.7:
            b.table(choose(unsigned(7), signed(6), signed(12)))
        features = b.last
        match choose("gate", "gate", "map", "square"):
            case "gate":
                gate()
            case "map":
                layer(b.shape()[0], choose(signed(6), unsigned(8)), 3)
        other, b.last = b.last, features
        b.product(other)
        b.rescale(choose(signed(8), unsigned(5), signed(14)), residual=choose(None, None, features))
    if raw:
        return b.raw()
    b.emit(Flatten(name="flatten", source=b.last))
    b.convolution("mult", int(rng.integers(1, 6)))
    b.requantise(None, scores=True)
    return b.program()
