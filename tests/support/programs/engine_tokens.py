"""Random Programs whose tokens are multiplied with each other, of what an engine with products of tokens has."""

import numpy as np
from addax.quant.formats import signed, unsigned
from addax.quant.program import MatMul, MaxPool, Slice
from token_networks import TokenBuilder

__all__ = ["attentive", "one_product"]


def attentive(seed, *, bits=8, kernels=("mult", "adder"), lanes=4, heads=None):
    """Attention without a softmax: queries, keys and values of layers of their own or of one that is cut, heads of any
    number of channels and tokens, to the tokens of each row, of fewer ones, or of one row for all; what comes of it is
    projected and joins what went in."""
    rng = np.random.default_rng([seed, 11])
    heads, each = heads or int(rng.integers(1, 4)), int(rng.choice([1, 3, lanes, lanes + 2, 2 * lanes]))
    b = TokenBuilder(rng, (3, int(rng.integers(1, 4)), int(rng.choice([2, lanes - 1, lanes, lanes + 3, 2 * lanes]))))
    choose, channels = b.choose, heads * each
    grid = choose(signed(bits), signed(bits - 2), unsigned(bits - 1))
    x = projected(b, b.last, grid, channels, kernels)
    seen = x
    if choose(True, False):
        _, height, width = b.shape()
        fewer = 2 if width > 2 else 1
        seen = b.emit(MaxPool(name=b.name("seen"), source=x, size=(choose(1, height), fewer), stride=(1, fewer)))
    if seen == x and choose(True, False):
        wide = projected(b, x, grid, 3 * channels, kernels)
        query, key, value = (
            b.emit(Slice(name=b.name("part"), source=wide, axis="C", start=k * channels, stop=(k + 1) * channels))
            for k in range(3)
        )
    else:
        query, key, value = (projected(b, source, grid, channels, kernels) for source in (x, seen, seen))
    b.emit(MatMul(name=b.name("scores"), source=query, other=key, form="scores", heads=heads, kernel=choose(*kernels)))
    kernel = choose(*kernels)
    weights = b.measured(grid if kernel == "adder" else choose(grid, unsigned(bits)))
    b.emit(MatMul(name=b.name("context"), source=weights, other=value, form="context", heads=heads, kernel=kernel))
    b.measured(signed(bits))
    b.convolution(choose(*kernels), channels, weight_bits=5)
    b.varied = lambda op: op
    b.rescale(grid, residual=x)
    return b.raw()


def projected(b, source, result, channels, kernels):
    """A dense layer of every token."""
    b.last = source
    b.convolution(b.choose(*kernels), channels, weight_bits=5)
    return b.measured(result)


def one_product(form, kernel="mult", *, shape=(4, 1, 4), others=4, heads=1, bits=8, grid=None):
    """One `MatMul` of ``heads`` of ``shape``, (channels, rows, tokens) of what passes by, and the requantise behind."""
    b = TokenBuilder(np.random.default_rng(1), (2, *shape[1:]))
    grid, (channels, _, width) = grid or signed(bits), shape
    x = b.last
    passed = projected(b, x, grid, channels if form == "scores" else heads * others, ("mult",))
    b.last = x
    if others != width:
        b.emit(MaxPool(name="fewer", source=x, size=(1, width - others + 1), stride=1))
    other = projected(b, b.last, grid, channels, ("mult",))
    b.emit(MatMul(name="product", source=passed, other=other, form=form, heads=heads, kernel=kernel))
    b.measured(signed(bits))
    return b.raw()
