"""A second executor of Programs, written as loops over Python integers, which have no width."""

import itertools
from fractions import Fraction

from addax.quant import golden
from addax.quant.program import (
    ArgMax,
    AveragePool,
    Concat,
    Constant,
    Convolution,
    Flatten,
    Input,
    MaxPool,
    PixelShuffle,
    Product,
    Reduce,
    Requantise,
    Select,
    Slice,
    SpatialShift,
    Table,
    Threshold,
    Upsample,
)
from naive_tokens import NAIVE_TOKENS

SHIFT_WORDS = [0, 1, 2, 4, 8, 16, 32, 64, 0, -1, -2, -4, -8, -16, -32, -64]
"""What the words of the shift kernel stand for."""


def window(shape, size, strides, pads, dilations=(1, 1)):
    strides, dilations = (value if isinstance(value, tuple) else (value, value) for value in (strides, dilations))
    top, left, bottom, right = pads if isinstance(pads, tuple) else (pads,) * 4
    (_, height, width), (kh, kw), (dh, dw) = shape, size, dilations
    rows = range(-top, height + bottom - (kh - 1) * dh, strides[0])
    columns = range(-left, width + right - (kw - 1) * dw, strides[1])
    for (r, y), (c, x) in itertools.product(enumerate(rows), enumerate(columns)):
        yield r, c, [(ky, kx, y + ky * dh, x + kx * dw) for ky in range(kh) for kx in range(kw)]


def product(op, a, w):
    match op.kernel:
        case "adder":
            return -abs(a - w)
        case "xnor":
            return 1 if a == w else -1
        case "shift":
            return a * SHIFT_WORDS[w]
        case "mult" if op.weight_format.bits == 1:
            return a if w else -a
        case "mult":
            return a * w


def naive_convolution(op, shape, x):
    weight, pad, (outputs, inputs, *size) = op.weight.tolist(), op.pad.tolist(), op.weight.shape
    result = {}
    for r, c, taps in window(shape, size, op.stride, op.padding, op.dilation):
        for o in range(outputs):
            first = o // (outputs // op.groups) * inputs  # channel of the filter's group
            total = 0
            for i in range(inputs):
                for ky, kx, row, column in taps:
                    a = x.get((first + i, row, column), pad[first + i])
                    total += product(op, a, weight[o][i][ky][kx])
            result[o, r, c] = total
    return result


def naive_requantise(op, x, residual):
    multiplier, offset, shifts, factors = (
        values.tolist() for values in (op.multiplier, op.offset, op.shifts, op.residual_multipliers)
    )
    slopes, lower, knees = (values.tolist() for values in (op.seconds, op.second_offsets, op.knees))
    result = {}
    for (o, r, c), acc in x.items():
        wide = acc * multiplier[o] + offset[o] if acc >= knees[o] else acc * slopes[o] + lower[o]
        if residual:
            wide += residual[o, r, c] * factors[o]
        whole = wide // 2 ** shifts[o]
        if op.ties == "even":  # B holds the half that Python's own rounding of fractions does without
            whole = round(Fraction(wide - 2 ** (shifts[o] - 1), 2 ** shifts[o]))
        result[o, r, c] = min(max(whole, op.lo), op.hi)
    return result


def naive_threshold(op, x):
    thresholds, falling = op.thresholds.tolist(), op.falling.tolist()
    result = {}
    for (o, r, c), acc in x.items():
        result[o, r, c] = 0
        for t in thresholds[o]:
            if (acc < t) if falling[o] else (acc >= t):
                result[o, r, c] += 1
    return result


def naive_table(op, lowest, x):
    rows = op.entries.tolist()
    return {key: (rows[key[0]] if op.entries.ndim == 2 else rows)[value - lowest] for key, value in x.items()}


def naive_product(a, b):
    return {(c, i, j): value * (b[c, i, j] if (c, i, j) in b else b[c, 0, 0]) for (c, i, j), value in a.items()}


def naive_argmax(x):
    best = {}
    for (c, i, j), value in sorted(x.items()):
        if c == 0 or value > x[best[0, i, j], i, j]:
            best[0, i, j] = c
    return best


def naive_select(mask, branches):
    result = {}
    for c, i, j in branches[0]:
        number = mask[0, i, j]
        chosen = branches[number] if number < len(branches) else branches[-1]
        result[c, i, j] = chosen[c, i, j]
    return result


def naive_reduce(op, each, x):
    result = {}
    for (c, i, j), value in x.items():
        key = c // each, i, j
        if key not in result:
            result[key] = value
        elif op.how == "sum":
            result[key] += value
        elif value > result[key]:
            result[key] = value
    return result


def naive_concat(op, parts):
    at, result, first = "CHW".index(op.axis), {}, 0
    for part in parts:
        for key, value in part.items():
            result[*key[:at], first + key[at], *key[at + 1 :]] = value
        first = 1 + max(key[at] for key in result)
    return result


def naive_pool(op, shape, x, join):
    result = {}
    padding = op.padding if isinstance(op, MaxPool) else 0
    size = op.size if isinstance(op.size, tuple) else (op.size, op.size)
    for r, c, taps in window(shape, size, op.stride, padding):
        for i in range(shape[0]):
            result[i, r, c] = join([x[i, row, column] for _, _, row, column in taps if (i, row, column) in x])
    return result


def naive_shift(op, x):
    offsets, pad = op.offsets.tolist(), op.pad.tolist()
    return {(c, i, j): x.get((c, i - offsets[c][0], j - offsets[c][1]), pad[c]) for c, i, j in x}


def naive_shuffle(op, x):
    r, result = op.factor, {}
    for (k, i, j), value in x.items():
        c, place = divmod(k, r * r)
        down, right = divmod(place, r)
        result[c, i * r + down, j * r + right] = value
    return result


def naive_slice(op, x):
    at, result = "CHW".index(op.axis), {}
    for key, value in x.items():
        places = [place for place in range(op.start, op.stop) if (place - op.start) % op.step == 0]
        if key[at] in places:
            result[*key[:at], places.index(key[at]), *key[at + 1 :]] = value
    return result


def naive_upsample(op, x):
    steps = range(op.factor)
    return {(c, i * op.factor + a, j * op.factor + b): v for (c, i, j), v in x.items() for a in steps for b in steps}


def naive(program, image):
    """Every operation's result for one (C, H, W) image, as nested lists."""
    tensors = {}

    def shape_of(x):
        return tuple(1 + max(key[axis] for key in x) for axis in range(3))

    for op in program.ops:
        x = tensors.get(op.source)
        match op:
            case Input():
                result = {key: int(image[key]) for key in itertools.product(*map(range, op.shape))}
            case Constant():
                result = {key: int(op.value[key]) for key in itertools.product(*map(range, op.value.shape))}
            case Slice():
                result = naive_slice(op, x)
            case Convolution():
                result = naive_convolution(op, shape_of(x), x)
            case Requantise():
                result = naive_requantise(op, x, tensors.get(op.residual))
            case Table():
                result = naive_table(op, program.format(op.source).lo, x)
            case Product():
                result = naive_product(x, tensors[op.other])
            case Threshold():
                result = naive_threshold(op, x)
            case Concat():
                result = naive_concat(op, [x, *(tensors[name] for name in op.others)])
            case MaxPool():
                result = naive_pool(op, shape_of(x), x, max)
            case AveragePool():
                result = naive_pool(op, shape_of(x), x, sum)
            case SpatialShift():
                result = naive_shift(op, x)
            case PixelShuffle():
                result = naive_shuffle(op, x)
            case Upsample():
                result = naive_upsample(op, x)
            case Flatten():
                result = {(k, 0, 0): x[key] for k, key in enumerate(sorted(x))}
            case Select():
                result = naive_select(x, [tensors[name] for name in op.branches])
            case Reduce():
                result = naive_reduce(op, shape_of(x)[0] // op.parts, x)
            case ArgMax():
                result = naive_argmax(x)
            case _:
                result = NAIVE_TOKENS[type(op).__name__](op, program, tensors)
        tensors[op.name] = result
    return {
        name: [[[x[c, r, k] for k in range(w)] for r in range(h)] for c in range(n)]
        for name, x in tensors.items()
        for n, h, w in [shape_of(x)]
    }


def check(program, images):
    """Every tensor, the output, the scores and the classes of every image, by either kind of loops."""
    oracle = [naive(program, image) for image in images]
    for native in (False, True):
        result = golden.run(program, images, trace=True, native=native)
        assert result.tensors.keys() == {op.name for op in program.ops}
        for index, expected in enumerate(oracle):
            for name, values in expected.items():
                assert result.tensors[name][index].tolist() == values, f"{name} of image {index}, native: {native}"
            assert result.output[index].tolist() == expected[program.output]
            if not program.classifies:
                continue
            assert result.scores[index].tolist() == [row[0][0] for row in expected[program.ops[-1].source]]
            assert result.classes[index] == expected["argmax"][0][0][0]
    return result
