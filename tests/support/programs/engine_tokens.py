"""Random Programs whose tokens are multiplied with each other, of what an engine with products of tokens has."""

import numpy as np
from addax.quant.formats import signed, unsigned
from addax.quant.program import Concat, Constant, MatMul, MaxPool, Rearrange, Reduce, Requantise, Slice, Softmax
from token_networks import TokenBuilder

__all__ = ["attention_layer", "attentive", "one_product", "vision"]


def attentive(seed, *, bits=8, kernels=("mult", "adder"), lanes=4, heads=None):
    """Attention without a softmax: queries, keys and values of layers of their own or of one that is cut, heads of any
    number of channels and tokens, to the tokens of each row, of fewer ones, or of one row for all; what comes of it is
    projected and joins what went in."""
    rng = np.random.default_rng([seed, 11])
    heads, each = heads or int(rng.integers(1, 4)), int(rng.choice([1, 3, lanes, lanes + 2, 2 * lanes]))
    b = TokenBuilder(rng, (3, int(rng.integers(1, 4)), int(rng.choice([2, lanes - 1, lanes, lanes + 3, 2 * lanes]))))
    choose, channels = b.choose, heads * each
    grid = choose(signed(bits), signed(bits - 2), unsigned(bits - 1))
    attended(b, projected(b, b.last, grid, channels, kernels), heads, kernels, bits)
    return b.raw()


def vision(seed, *, bits=8, kernels=("mult", "adder"), lanes=4):
    """A vision transformer without softmax and norms: patches become tokens behind a class token, and meet constants of
    their places; attention; rows of pixels whose words become channels, as those of TNT; the class token at the end."""
    rng = np.random.default_rng([seed, 12])
    heads, each = int(rng.integers(1, 3)), int(rng.choice([3, lanes, lanes + 1]))
    b = TokenBuilder(rng, (3, 2 * int(rng.integers(1, 4)), 2 * int(rng.integers(1, 4))))
    channels, grid = heads * each, b.choose(signed(bits), unsigned(bits - 1))
    b.varied = lambda op: op
    b.convolution(b.choose(*kernels), channels, 2, 2, weight_bits=5)
    patches = b.measured(grid)
    _, height, width = b.shape()
    split = (channels, height, width)
    tokens = b.emit(Rearrange(name="tokens", source=patches, split=split, order=(0, 1, 2),
                              shape=(channels, 1, height * width)))  # fmt: skip
    first = b.emit(Constant(name="class", value=b.integers(grid, (channels, 1, 1)), format=grid))
    joined = b.emit(Concat(name="joined", source=first, others=(tokens,), axis="W"))
    places = b.emit(Constant(name="places", value=b.integers(signed(bits), b.inferred[joined].shape),
                             format=signed(bits)))  # fmt: skip
    b.last = joined
    b.rescale(grid, residual=places)
    attended(b, b.last, heads, kernels, bits)
    made = b.last
    b.last = patches
    words = b.emit(Rearrange(name="words", source=patches, split=split, order=(2, 0, 1),
                             shape=(width * channels, 1, height)))  # fmt: skip
    projected(b, words, grid, channels, kernels)
    rows = b.last
    b.emit(Slice(name="last", source=rows, axis="W", start=height - 1, stop=height))
    row = b.last
    b.emit(Slice(name="token", source=made, axis="W", start=0, stop=1))
    b.rescale(grid, residual=row)
    b.convolution(b.choose(*kernels), 5, weight_bits=5)
    b.measured(signed(bits))
    return b.raw()


def attended(b, x, heads, kernels, bits):
    """``x`` with what its tokens get of each other, or of fewer tokens that are made of it."""
    choose, (channels, height, width), grid = b.choose, *b.inferred[x]
    seen = x
    if choose(True, False):
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


def attention_layer(channels, heads, rows, tokens, softmax=False):
    """Attention of a published size, perhaps with its softmax: queries, keys, values, scores, context, projection."""
    b = TokenBuilder(np.random.default_rng(0), (channels, rows, tokens), signed(8))

    def layer(name, source=None, result=None):
        result = result or signed(8)
        if source is not None:
            b.last = source
            b.convolution("mult", channels, weight_bits=8)
        ones, none = np.ones(b.shape()[0], np.int64), np.zeros(b.shape()[0], np.int64)
        return b.emit(Requantise(name=name, source=b.last, multiplier=ones, offset=none, format=result, lo=result.lo,
                                 hi=result.hi, shift=b.format().bits - 8))  # fmt: skip

    query, key, value = (layer(name, "pixels") for name in ("query", "key", "value"))
    b.emit(MatMul(name="product", source=query, other=key, form="scores", heads=heads))
    scores = layer("scores", result=unsigned(8))
    if softmax:
        entries = np.rint(255 * np.exp(-np.arange(256) * 0.03)).astype(np.int64)
        scores = b.emit(Softmax(name="exp", source=scores, entries=entries, format=unsigned(8), heads=heads))
        below = b.emit(Reduce(name="below", source=scores, how="sum", parts=heads))
    num = b.emit(MatMul(name="sums", source=scores, other=value, form="context", heads=heads))
    layer("projection", b.divided(num, below, signed(8)) if softmax else layer("context"))
    return b.raw()
