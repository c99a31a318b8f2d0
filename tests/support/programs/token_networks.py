"""Random Programs of tokens: what every token asks of the others of its row, and what it gets of them."""

import numpy as np
from addax.quant.formats import signed, unsigned
from addax.quant.golden import run
from addax.quant.program import Flatten, MatMul, Program, Requantise, Slice
from network_builder import Builder


class TokenBuilder(Builder):
    """A `Builder` whose requantises are measured on random values, so that they neither saturate nor are all zero."""

    def measured(self, result):
        """The last result, about three deviations of it, onto ``result``."""
        program = Program(ops=tuple(self.ops.values()))
        fmt = program.input.format
        values = self.rng.integers(fmt.lo, fmt.hi + 1, (4, *program.input.shape))
        found = run(program, values, trace=[self.last], native=False).tensors[self.last].astype(np.float64)
        mean, deviation = found.mean((0, 2, 3)), found.std((0, 2, 3)) + 1e-3
        gain = (result.hi - result.lo) / (3 * np.maximum(deviation, deviation.mean() / 4))
        shift = int(np.log2(16384 / gain.max()).clip(0, 30))
        multiplier = np.rint(gain * 2.0**shift).clip(1, 32767).astype(np.int64)
        offset = np.rint((result.lo + result.hi) / 2 * 2.0**shift - multiplier * mean).astype(np.int64)
        return self.emit(
            Requantise(
                name=f"req{len(self.ops)}", source=self.last, multiplier=multiplier, offset=offset, shift=shift,
                format=result, lo=result.lo, hi=result.hi,
            )
        )  # fmt: skip

    def seen(self, key, value, first_row, fewer):
        """``key`` and ``value`` as they are, their first row for all, or without their first token."""
        cuts = [("H", 0, 1)] * first_row + [("W", 1, self.inferred[key].shape[2])] * fewer
        for axis, start, stop in cuts:
            key, value = (
                self.emit(Slice(name=f"part{len(self.ops)}", source=name, axis=axis, start=start, stop=stop))
                for name in (key, value)
            )
        return key, value


def random_tokens(seed, raw=None):
    """Attention of one or several heads, one set of tokens or several, by either kernel, perhaps to other tokens.

    With ``raw`` the Program ends in a map, else in class scores.
    """
    rng = np.random.default_rng([seed, 7])

    def choose(*what):
        return what[int(rng.integers(len(what)))]

    heads, each, height, width = choose(1, 2, 3), choose(1, 2, 3, 5), choose(1, 1, 2, 3), choose(1, 2, 3, 5)
    b = TokenBuilder(rng, (choose(2, 3, 4), height, width))
    raw = bool(rng.random() < 0.5) if raw is None else raw

    def projected(source, result, channels):
        b.last = source
        b.convolution(choose("mult", "adder", "shift"), channels, weight_bits=choose(3, 5))
        return b.measured(result)

    for _ in range(choose(1, 1, 2)):
        x = b.last
        grid = choose(unsigned(3), signed(4), signed(8), unsigned(8), signed(12))
        query, key, value = (
            projected(x, grid if k < 2 else choose(signed(8), grid, signed(6)), heads * each) for k in range(3)
        )
        key, value = b.seen(key, value, height > 1 and rng.random() < 0.4, width > 1 and rng.random() < 0.4)
        b.emit(MatMul(name=f"scores{len(b.ops)}", source=query, other=key, form="scores", heads=heads,
                      kernel=choose("mult", "adder")))  # fmt: skip
        values = b.inferred[value].format
        weights = b.measured(choose(unsigned(4), unsigned(8), values))
        kernel = choose("mult", "adder") if b.format() == values else "mult"
        b.emit(MatMul(name=f"context{len(b.ops)}", source=weights, other=value, form="context", heads=heads,
                      kernel=kernel))  # fmt: skip
        b.measured(choose(signed(8), unsigned(5)))
    if raw:
        return b.raw()
    b.emit(Flatten(name="flatten", source=b.last))
    b.convolution("mult", int(rng.integers(1, 5)))
    b.requantise(None, scores=True)
    return b.program()
