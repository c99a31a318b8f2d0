"""Random Programs whose pixels choose: masks of arg-maxes and of thresholds, branches, sums and maxima of channels."""

import numpy as np
from addax.quant.formats import signed, unsigned
from addax.quant.program import ArgMax, Flatten, Reduce, Select
from network_builder import Builder


def random_choosing(seed, raw=None):
    """Layers side by side, among which a mask chooses for each pixel, of sums or of few bits, so that ties are common.

    With ``raw`` the Program ends in a map or in a mask, else in class scores; without a choice, in either.
    """
    rng = np.random.default_rng(seed)
    b = Builder(rng, (int(rng.integers(1, 4)), int(rng.integers(2, 6)), int(rng.integers(2, 6))))
    raw = bool(rng.random() < 0.5) if raw is None else raw

    def choose(*what):
        return what[int(rng.integers(len(what)))]

    def layer(source, outputs, result=None):
        b.last, size = source, choose(1, 3)
        b.convolution(choose("adder", "mult", "shift"), outputs, size, padding=size // 2, weight_bits=choose(2, 5))
        if result is not None:
            b.rescale(result)
        return b.last

    def mask(source):
        if rng.random() < 0.3:
            b.last = source
            b.emit(Reduce(name=f"sum{len(b.ops)}", source=source, how="sum"))
            b.threshold(unsigned(choose(1, 2)))
        else:
            layer(source, choose(2, 3, 4), choose(None, unsigned(2), signed(6)))
            b.emit(ArgMax(name=f"number{len(b.ops)}", source=b.last))
        return b.last

    def reduced():
        channels = b.shape()[0]
        parts = choose(*(n for n in range(1, channels + 1) if channels % n == 0))
        b.emit(Reduce(name=f"reduce{len(b.ops)}", source=b.last, how=choose("sum", "max"), parts=parts))
        b.rescale(choose(unsigned(4), signed(7)))

    for _ in range(int(rng.integers(1, 3))):
        source, outputs, result = b.last, choose(2, 3, 4, 6), choose(unsigned(2), unsigned(7), signed(5))
        made = [layer(source, outputs, result) for _ in range(choose(2, 2, 3))]
        number = mask(source)
        count = int(rng.integers(2, b.format().hi + 2))
        branches = tuple(made[int(rng.integers(len(made)))] for _ in range(count))
        b.emit(Select(name=f"select{len(b.ops)}", source=number, branches=branches))
        if rng.random() < 0.6:
            reduced()
    if raw:
        if rng.random() < 0.3:
            b.emit(ArgMax(name="classes", source=b.last))
        return b.raw()
    b.emit(Flatten(name="flatten", source=b.last))
    b.convolution("mult", int(rng.integers(1, 6)))
    b.requantise(None, scores=True)
    return b.program()
