"""Operations on tokens as loops over Python integers, for `naive`."""

import itertools
import math
from fractions import Fraction


def naive_matmul(op, shapes, a, b):
    """Every sum by its definition; ``shapes`` are those of ``a`` and of ``b``."""
    (_, height, width), (channels, rows, tokens) = shapes
    each, result = channels // op.heads, {}

    def f(x, y):
        return x * y if op.kernel == "mult" else -abs(x - y)

    for g in range(op.heads):
        for h in range(height):
            row = h if rows > 1 else 0
            for i in range(width):
                if op.form == "scores":
                    for j in range(tokens):
                        pairs = [(a[g * each + d, h, i], b[g * each + d, row, j]) for d in range(each)]
                        result[g * tokens + j, h, i] = sum(f(x, y) for x, y in pairs)
                else:
                    for d in range(each):
                        pairs = [(a[g * tokens + j, h, i], b[g * each + d, row, j]) for j in range(tokens)]
                        result[g * each + d, h, i] = sum(f(x, y) for x, y in pairs)
    return result


def naive_softmax(op, shape, x):
    channels, height, width = shape
    others, entries, result = channels // op.heads, op.entries.tolist(), {}
    for g in range(op.heads):
        for h in range(height):
            for i in range(width):
                seen = [j for j in range(others) if op.mask is None or op.mask[i, j]]
                largest = max(x[g * others + j, h, i] for j in seen)
                for j in range(others):
                    place = min(max(largest - x[g * others + j, h, i], 0), len(entries) - 1)
                    result[g * others + j, h, i] = entries[place] if j in seen else 0
    return result


def naive_divide(op, each, num, den):
    multiplier, offset, result = op.multiplier.tolist(), op.offset.tolist(), {}
    for (c, h, i), value in num.items():
        below = max(den[c // each, h, i], 1)
        quotient = Fraction(value * multiplier[c] + below * offset[c], below * 2**op.shift)
        result[c, h, i] = min(max(math.floor(quotient), op.lo), op.hi)
    return result


def naive_norm(op, shape, x):
    channels, height, width = shape
    factor, offset, result = op.multiplier.tolist(), op.offset.tolist(), {}
    powers = [op.powers] * channels if isinstance(op.powers, int) else op.powers.tolist()
    for h in range(height):
        for i in range(width):
            token = [x[c, h, i] * 2 ** powers[c] for c in range(channels)]
            total = sum(token)
            variance = channels * sum(value * value for value in token) - total * total
            root = max(math.isqrt(variance * 4**op.fraction + op.eps), 1)
            inverse = 2**op.reciprocal // root
            for c, value in enumerate(token):
                normalised = (channels * value - total) * inverse // 2**op.cut
                scaled = (normalised * factor[c] + offset[c]) // 2**op.shift
                result[c, h, i] = min(max(scaled, op.lo), op.hi)
    return result


def naive_rearrange(op, x):
    """The elements in their order, each to the place that its index in the order of the axes says."""
    flat, result = [x[key] for key in sorted(x)], {}
    _, height, width = op.shape
    places = itertools.product(*(range(op.split[axis]) for axis in op.order))
    for k, place in enumerate(places):
        index = dict(zip(op.order, place, strict=True))
        at = 0
        for axis, size in enumerate(op.split):
            at = at * size + index[axis]
        result[k // (height * width), k // width % height, k % width] = flat[at]
    return result


def naive_unfold(op, shape, x):
    channels, height, width = shape
    (down, right), (kh, kw), (sy, sx) = (v if isinstance(v, tuple) else (v, v) for v in (op.block, op.size, op.stride))
    top, left, bottom, last = op.padding if isinstance(op.padding, tuple) else (op.padding,) * 4
    result = {}
    corners = itertools.product(range(0, height, down), range(0, width, right))
    for block, (row, column) in enumerate(corners):
        starts = itertools.product(range(-top, down + bottom - kh + 1, sy), range(-left, right + last - kw + 1, sx))
        for word, (y, z) in enumerate(starts):
            for c, ky, kx in itertools.product(range(channels), range(kh), range(kw)):
                inside = 0 <= y + ky < down and 0 <= z + kx < right
                value = x[c, row + y + ky, column + z + kx] if inside else int(op.pad[c])
                result[(c * kh + ky) * kw + kx, block, word] = value
    return result


NAIVE_TOKENS = {
    "MatMul": lambda op, program, tensors: naive_matmul(
        op, [program.shape(name) for name in op.sources], *(tensors[name] for name in op.sources)
    ),
    "Softmax": lambda op, program, tensors: naive_softmax(op, program.shape(op.source), tensors[op.source]),
    "Divide": lambda op, program, tensors: naive_divide(
        op, program.shape(op.source)[0] // program.shape(op.denominator)[0], *(tensors[name] for name in op.sources)
    ),
    "Norm": lambda op, program, tensors: naive_norm(op, program.shape(op.source), tensors[op.source]),
    "Rearrange": lambda op, program, tensors: naive_rearrange(op, tensors[op.source]),
    "Unfold": lambda op, program, tensors: naive_unfold(op, program.shape(op.source), tensors[op.source]),
}
"""The result of each kind of operation, of Program and the tensors before it."""
