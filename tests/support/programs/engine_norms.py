"""Random Programs of tokens, of what an engine with layer norms has."""

import numpy as np
from addax.quant.fold.grid import Grid
from addax.quant.fold.tokens import norm_of
from addax.quant.formats import signed, unsigned
from addax.quant.program import Softmax
from network_builder import Builder


def normed_tokens(seed, *, bits=8, kernels=("adder", "mult", "shift"), lanes=4, powers=True):
    """Dense layers of tokens with layer norms between, one of them of what another layer reads too and joins later, as
    the first half of a transformer's block has; rows of tokens beside one another, channels that fill no block, powers
    of two of channels, small spreads, which have roots of few digits, and results of more bits than an element."""
    rng = np.random.default_rng(seed)
    b = Builder(rng, (int(rng.integers(2, 3 * lanes)), int(rng.integers(1, 5)), int(rng.integers(2, 12))))
    b.varied = lambda op: op
    fmt = unsigned(bits) if rng.random() < 0.4 else signed(bits)

    def dense(outputs, result, join=None):
        b.convolution(str(rng.choice(kernels)), outputs, 1, weight_bits=min(bits, 8))
        b.rescale(result, residual=join)
        return b.last

    def norm(result):
        return layer_norm(b, result, most=3 if powers and bits == 8 else 1, apart=powers)

    if rng.random() < 0.4:
        norm(signed(bits))
    x = dense(int(rng.integers(lanes, 4 * lanes)), fmt)
    norm(signed(min(bits, 8)) if rng.random() < 0.7 else signed(bits))
    dense(b.shape()[0], fmt, join=x)
    norm(signed(12) if rng.random() < 0.5 and bits == 8 else signed(bits))
    if b.format().bits <= bits:
        dense(int(rng.integers(2, 2 * lanes)), signed(bits))
    return b.raw()


def scored_tokens(seed, *, bits=8, kernels=("adder", "mult", "shift"), lanes=4, tables=6, heads=True):
    """Scores of one head or of several, of any number of tokens; tables of one entry, of a few, of as
    many as there may be, with and without one of 0; a dense layer behind."""
    rng = np.random.default_rng(seed)
    b = Builder(rng, (int(rng.integers(2, 3 * lanes)), int(rng.integers(1, 4)), int(rng.integers(2, 12))))
    b.varied = lambda op: op
    parts = int(rng.integers(1, 4)) if heads else 1
    scores = parts * int(rng.integers(2, 2 * lanes)) if parts > 1 else int(rng.integers(2, 4 * lanes))
    b.convolution(str(rng.choice(kernels)), scores, 1, weight_bits=min(bits, 8))
    b.rescale(signed(bits) if rng.random() < 0.7 else unsigned(bits))
    count = 1 << int(rng.choice([0, 2, tables]))
    entries = np.rint(255 * np.exp(-np.arange(count) * rng.uniform(0.01, 0.2))).astype(np.int64)
    b.emit(Softmax(name="exp", source=b.last, entries=entries, format=unsigned(8), heads=parts))
    b.convolution(str(rng.choice(kernels)), lanes, 1, weight_bits=min(bits, 8))
    b.rescale(signed(bits))
    return b.raw()


def layer_norm(b, result, *, most=1, apart=False):
    """A layer norm of the last result of the builder ``b``, whose channels may be moved up by less than ``most``
    places: all alike, or, if they may stand ``apart``, each by itself."""
    rng, channels = b.rng, b.shape()[0]
    places = rng.integers(0, most, channels) if apart and rng.random() < 0.5 else int(rng.integers(0, most))
    op = norm_of(
        f"norm{len(b.ops)}", b.last, Grid(format=b.format(), step=0.05),
        Grid(format=result, step=2.0 ** (3 - min(result.bits, 10))), rng.normal(0, 1, channels),
        rng.normal(0, 1, channels), float(rng.choice([1e-5, 1e-2])), places,
    )  # fmt: skip
    return b.emit(op)
