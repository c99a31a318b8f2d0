"""Random Programs of second slopes, ties to even numbers and thresholds of several levels, of any kernel."""

import numpy as np
from addax.quant.formats import signed, unsigned
from addax.quant.program import AveragePool, PixelShuffle, Threshold
from network_builder import Builder


def activations(seed, *, bits=8, kernels=("adder", "mult", "shift", "xnor")):
    """Requantises of all kinds and thresholds of one to seven levels behind any kernel, a pool, a residual, a dense
    end; channels that fill no block."""
    rng = np.random.default_rng(seed)
    b = Builder(rng, (int(rng.integers(1, 7)), int(rng.integers(5, 9)), int(rng.integers(5, 9))))
    multiplied = [kernel for kernel in kernels if kernel != "xnor"]

    def layer(outputs, size=1, join=None):
        """A convolution, and any result, of the format of ``join`` where there is one."""
        kernel = "xnor" if b.format() == unsigned(1) else str(rng.choice(multiplied))
        b.convolution(kernel, outputs, size, 1, size // 2, 4)
        if join is None and rng.random() < 0.5:
            levels = int(rng.integers(1, 4))
            b.threshold(unsigned(levels if "xnor" in kernels else max(levels, 2)))
            return b.last
        b.rescale(unsigned(bits) if rng.random() < 0.5 else signed(bits), residual=join)
        if rng.random() < 0.7:
            b.bend()
        return b.last

    for _ in range(int(rng.integers(1, 4))):
        layer(int(rng.integers(1, 11)), int(rng.integers(0, 2)) * 2 + 1)
    left = layer(int(rng.integers(1, 11)))
    layer(b.shape()[0], 3, join=left)
    b.emit(AveragePool(name="pool", source=b.last, size=2, stride=1))
    b.rescale(signed(bits))
    b.bend()
    if rng.random() < 0.3:
        layer(4 * int(rng.integers(1, 6)))
        b.enlarge(PixelShuffle, 2)
    layer(int(rng.integers(1, 6)))
    return b.raw()


def even_levels(seed, *, count, outputs=12, spaced=True):
    """A dense layer of bits and a threshold of ``count`` levels, which a uniform quantiser would have, or which lie
    anywhere; ends that no sum reaches, or every one."""
    rng = np.random.default_rng(seed)
    b = Builder(rng, (9, 4, 5))
    b.convolution("mult", outputs, 3, padding=1, weight_bits=1)
    sums = b.format()
    step, start = rng.uniform(0.3, 900 / count, outputs), rng.normal(0, 200, outputs)
    places = np.arange(1, count + 1) if spaced else np.cumsum(rng.uniform(0.1, 2, count))
    levels = np.ceil(places * step[:, None] + start[:, None]).astype(np.int64)
    levels[0], levels[1] = sums.hi + 1, sums.lo
    b.emit(
        Threshold(
            name="levels", source=b.last, thresholds=levels.clip(sums.lo, sums.hi + 1),
            falling=rng.integers(0, 2, outputs), format=unsigned(count.bit_length()),
        )
    )  # fmt: skip
    return b.raw()
