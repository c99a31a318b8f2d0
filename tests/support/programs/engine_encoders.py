"""Random Programs of what a transformer's block has, of which engines with norms, softmax and products of tokens have
all but the division."""

import numpy as np
from addax.quant.formats import signed, unsigned
from addax.quant.program import MatMul, Softmax
from engine_norms import layer_norm
from engine_tokens import projected
from token_networks import TokenBuilder


def encoder(seed, *, bits=8, kernels=("mult", "adder"), lanes=4, tables=6):
    """Tokens, normed, attend to each other by exponentials of their scores, of one head or of several that fill
    blocks, and what comes of it joins them; two dense layers of what is normed again join that."""
    rng = np.random.default_rng([seed, 13])
    heads = int(rng.integers(1, 3))
    tokens = int(rng.choice([2, 3, lanes + 1])) if heads == 1 else lanes * int(rng.integers(1, 3))
    b = TokenBuilder(rng, (3, int(rng.integers(1, 3)), tokens))
    grid, channels = signed(bits), heads * int(rng.choice([lanes // 2, lanes, lanes + 1]))
    x = projected(b, b.last, grid, channels, kernels)
    normed = layer_norm(b, grid)
    query, key, value = (projected(b, normed, grid, channels, kernels) for _ in range(3))
    b.emit(MatMul(name="scores", source=query, other=key, form="scores", heads=heads, kernel=b.choose(*kernels)))
    scores = b.measured(grid)
    entries = np.rint(127 * np.exp(-np.arange(1 << tables) * rng.uniform(0.05, 0.2))).astype(np.int64)
    weights = b.emit(Softmax(name="exp", source=scores, entries=entries, format=unsigned(7), heads=heads))
    b.emit(MatMul(name="context", source=weights, other=value, form="context", heads=heads))
    b.measured(grid)
    y = joined(b, x, kernels)
    layer_norm(b, grid)
    projected(b, b.last, unsigned(bits - 1), 2 * channels, kernels)
    joined(b, y, kernels)
    layer_norm(b, grid)
    b.convolution(b.choose(*kernels), 5, weight_bits=5)
    b.measured(grid)
    return b.raw()


def joined(b, x, kernels):
    """A dense layer of the last result, which ``x`` joins."""
    b.convolution(b.choose(*kernels), b.inferred[x].shape[0], weight_bits=5)
    b.varied = lambda op: op
    b.rescale(b.inferred[x].format, residual=x)
    return b.last
