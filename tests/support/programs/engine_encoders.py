"""Random Programs of what a transformer's block has: layer norms, attention by a softmax with or without its division,
dense layers; and of divisions alone."""

import numpy as np
from addax.quant.formats import signed, unsigned
from addax.quant.program import Divide, MatMul, Reduce, Softmax
from engine_norms import layer_norm
from engine_tokens import projected
from token_networks import TokenBuilder


def encoder(seed, *, bits=8, kernels=("mult", "adder"), lanes=4, tables=6, divided=False):
    """Tokens, normed, attend to each other by exponentials of their scores, of one head or of several, and what
    comes of it joins them; two dense layers of what is normed again join that. With ``divided`` there is the division
    of a softmax, of its products with values or of its exponentials."""
    rng = np.random.default_rng([seed, 13])
    heads = int(rng.integers(1, 3))
    tokens = int(rng.choice([2, 3, lanes + 1])) if heads == 1 else int(rng.choice([3, lanes, lanes + 2]))
    b = TokenBuilder(rng, (3, int(rng.integers(1, 3)), tokens))
    grid, channels = signed(bits), heads * int(rng.choice([lanes // 2, lanes, lanes + 1]))
    x = projected(b, b.last, grid, channels, kernels)
    normed = layer_norm(b, grid)
    query, key, value = (projected(b, normed, grid, channels, kernels) for _ in range(3))
    b.emit(MatMul(name="scores", source=query, other=key, form="scores", heads=heads, kernel=b.choose(*kernels)))
    scores = b.measured(grid)
    entries = np.rint(127 * np.exp(-np.arange(1 << tables) * rng.uniform(0.05, 0.2))).astype(np.int64)
    weights = b.emit(Softmax(name="exp", source=scores, entries=entries, format=unsigned(7), heads=heads))
    early = divided and seed % 3 == 0
    if divided:
        below = b.emit(Reduce(name="below", source=weights, how="sum", parts=heads))
    if early:
        weights = quotient(b, weights, below, unsigned(7), 120)
    num = b.emit(MatMul(name="context", source=weights, other=value, form="context", heads=heads))
    if divided and not early:
        quotient(b, num, below, grid, 1.5)
    else:
        b.measured(grid)
    y = joined(b, x, kernels)
    layer_norm(b, grid)
    projected(b, b.last, unsigned(bits - 1), 2 * channels, kernels)
    joined(b, y, kernels)
    layer_norm(b, grid)
    b.convolution(b.choose(*kernels), 5, weight_bits=5)
    b.measured(grid)
    return b.raw()


def quotient(b, num, den, result, gain):
    """``num`` by ``den`` times up to ``gain``, and up to a quarter of the ``result`` added, if that has few bits."""
    (channels, _, _), fmt = b.inferred[num]
    shift = int(np.log2(32767 / gain))
    least = -gain if fmt.signed else gain / 2
    multiplier = np.rint(b.rng.uniform(least, gain, channels) * 2.0**shift).astype(np.int64)
    # An engine's factors of residuals have 27 bits, two of which a shift may take.
    most = min(result.hi << shift >> 2, 1 << 24)
    offset = b.rng.integers(-most if result.signed else 0, most, channels, endpoint=True)
    return b.emit(Divide(name=b.name("div"), source=num, denominator=den, multiplier=multiplier, offset=offset,
                         shift=shift, format=result, lo=result.lo, hi=result.hi))  # fmt: skip


def quotients(seed, *, bits=8, kernels=("mult", "adder"), lanes=4):
    """Stored tensors divided by others, some of which are 0, for all channels or for each of several heads of any
    number; by more denominators than a word has; the quotients are read by a dense layer."""
    rng = np.random.default_rng([seed, 14])
    b = TokenBuilder(rng, (3, int(rng.integers(1, 5)), int(rng.integers(2, 7))))
    x, heads = b.last, int(rng.choice([1, 2, 3, lanes + 2]))
    below = projected(b, x, b.choose(unsigned(3), unsigned(bits), unsigned(min(bits + 5, 16))), heads, kernels)
    num = projected(b, x, b.choose(signed(bits), unsigned(bits)), heads * int(rng.integers(1, lanes + 3)), kernels)
    result = b.choose(unsigned(bits), signed(bits), signed(5))
    b.last = quotient(b, num, below, result, b.choose(1, 9, 100))
    projected(b, b.last, signed(bits), 5, kernels)
    return b.raw()


def joined(b, x, kernels):
    """A dense layer of the last result, which ``x`` joins."""
    b.convolution(b.choose(*kernels), b.inferred[x].shape[0], weight_bits=5)
    b.varied = lambda op: op
    b.rescale(b.inferred[x].format, residual=x)
    return b.last
