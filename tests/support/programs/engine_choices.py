"""Random Programs whose pixels choose, of what an engine with choices has."""

import numpy as np
from addax.quant.formats import signed, unsigned
from addax.quant.program import ArgMax, Reduce, Select, Threshold
from network_builder import Builder


def choosing(seed, *, bits=8, kernels=("adder", "mult", "shift"), lanes=4):
    """Branches side by side, among which a mask chooses for each pixel: of scores of few and of many bits, where ties
    are common, of scores that something else reads too, of thresholds whose numbers name more than there are branches;
    largest channels and sums of channels between, and what was chosen joins tensors wider than the lanes read."""
    rng = np.random.default_rng(seed)
    b = Builder(rng, (3, int(rng.integers(4, 10)), int(rng.integers(4, 9))))
    b.varied = lambda op: op
    fmt = unsigned(bits - 1) if rng.random() < 0.5 else signed(bits)

    def layer(source, outputs, result, size=3):
        b.last = source
        b.convolution(str(rng.choice(kernels)), outputs, size, padding=size // 2, weight_bits=min(bits, 8))
        b.rescale(result)
        return b.last

    def mask(source, kind):
        if kind == "thresholds":
            layer(source, 1, signed(bits), 1)
            return b.emit(one_level(b, unsigned(2)))
        layer(source, int(rng.integers(2, lanes + 1)), unsigned(2) if kind == "ties" else signed(min(bits + 4, 16)), 1)
        scores = b.last
        number = b.emit(ArgMax(name=f"number{len(b.ops)}", source=scores))
        if kind == "read twice":
            b.emit(Reduce(name=f"largest{len(b.ops)}", source=scores, how="max"))
        return number

    wide = layer("pixels", int(rng.integers(lanes, 3 * lanes)), signed(min(bits + 4, 16)))
    b.rescale(fmt)
    for kind in rng.permutation(["wide", "ties", "thresholds", "read twice"])[:2]:
        source, channels = b.last, b.shape()[0]
        branches = [layer(source, channels, fmt, int(rng.choice([1, 3]))) for _ in range(int(rng.integers(2, 4)))]
        number = mask(source, str(kind))
        count = min(len(branches) + int(rng.integers(0, 2)), b.inferred[number].format.hi + 1)
        chosen = tuple((branches + branches[::-1])[:count])
        b.emit(Select(name=f"chosen{len(b.ops)}", source=number, branches=chosen))
    if b.inferred[wide].shape == b.shape():
        joined, b.last = b.last, wide
        b.rescale(fmt, residual=joined)
    if "mult" in kernels or "shift" in kernels:
        b.emit(Reduce(name="sum", source=b.last, how="sum"))
        b.rescale(signed(bits))
    return b.raw()


def routed(seed, *, bits=8, blocks=2, features=6, size=(16, 6), kernels=("mult", "adder")):
    """As a frequency-aware network is lowered: of three branches, two convolutions each, every pixel takes one, by the
    largest of three scores; what it takes joins what the branches read."""
    rng = np.random.default_rng(seed)
    b = Builder(rng, (3, *size))
    b.varied = lambda op: op
    fmt = signed(bits)

    def layer(source, outputs, window, groups=1, result=fmt, join=None):
        b.last = source
        kernel = "mult" if outputs == 3 or groups > 1 else str(rng.choice(kernels))
        b.convolution(kernel, outputs, window, padding=window // 2, weight_bits=8, groups=groups)
        b.rescale(result, residual=join)
        return b.last

    x = layer("pixels", features, 3)
    for block in range(blocks):
        windows = ((3, 3, 1), (3, 1, 1), (3, 1, features))
        made = [layer(layer(x, features, first, groups, unsigned(bits - 1)), features, second)
                for first, second, groups in windows]  # fmt: skip
        layer(x, 3, 1, result=signed(min(bits + 4, 16)))
        number = b.emit(ArgMax(name=f"number{block}", source=b.last))
        chosen = b.emit(Select(name=f"chosen{block}", source=number, branches=tuple(made)))
        b.last = x
        b.rescale(fmt, residual=chosen)
        x = b.last
    layer(x, 3, 3)
    return b.raw()


def one_level(b, result):
    """A threshold of the last tensor, of few bits: evenly spaced, or falling."""
    x, count = b.format(), result.hi
    levels = np.linspace(x.lo + 1, x.hi, count + 2)[1:-1].round().astype(np.int64)[None]
    return Threshold(
        name=f"thr{len(b.ops)}", source=b.last, thresholds=levels, falling=b.rng.integers(0, 2, 1), format=result
    )  # fmt: skip


def halves(seed, shape):
    """Pictures of one colour, of one whose lower half is noise, and of noise."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 256, shape)
    plain = np.broadcast_to(rng.integers(0, 256, (shape[0], 1, 1)), shape)
    lower = np.arange(shape[1])[:, None] >= shape[1] // 2
    return plain.copy(), np.where(lower, noise, plain), noise
