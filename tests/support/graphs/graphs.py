"""Programs that show one thing each: a kernel, an operation, the widest integers."""

import numpy as np
from addax.quant.formats import signed, unsigned
from addax.quant.program import (
    ArgMax,
    AveragePool,
    Concat,
    Convolution,
    Flatten,
    Input,
    MatMul,
    MaxPool,
    PixelShuffle,
    Program,
    Reduce,
    Requantise,
    Select,
    Slice,
    SpatialShift,
    Upsample,
    score_format,
)
from choosing_networks import random_choosing
from gated_networks import random_gated
from networks import Builder, random_bending, random_graph, random_program, random_reshaping, random_windows
from token_networks import TokenBuilder, random_tokens

__all__ = ["EXTREMES", "NAMED", "extreme_program", "named"]

EXTREMES = {
    "conv_weight": [-32768, 32767],
    "conv_pad": [255],
    "first_multiplier": [-32767, 32767],
    "first_offset": [-(2**39), 2**39 - 1],
    "second_multiplier": [0, 1],
    "second_offset": [-(2**31), 0],
}
"""The tensors of `extreme_program`, by the names that exports give them."""


def layer(kernel, *, features, weight_bits=4, stride=1, padding=0, groups=1, dilation=1):
    """Pixels on the grid ``features``, one convolution of ``kernel``, scores."""
    b = Builder(np.random.default_rng(features.bits * weight_bits + np.max(stride)), (2, 6, 5))
    if features.bits < 3 and not features.signed:
        b.threshold(features)
    elif features != unsigned(8):
        b.rescale(features)
    b.convolution(kernel, 4, 3, stride, padding, weight_bits, groups, dilation)
    return finish(b)


def finish(b, kernel="mult"):
    """Scores of what ``b`` has so far, any of which may win; two classes are always equal."""
    b.rescale(unsigned(6))
    b.emit(Flatten(name="flatten", source=b.last))
    b.convolution(kernel, 5, weight_bits=5)
    dense = b.ops[b.last]
    dense.weight.setflags(write=True)
    dense.weight[4] = dense.weight[1]
    sums = b.format()
    b.emit(
        Requantise(
            name="scores", source=b.last, multiplier=np.full(5, 16000), offset=np.full(5, 77), shift=14,
            format=score_format(sums), lo=score_format(sums).lo, hi=score_format(sums).hi,
        )
    )  # fmt: skip
    return b.program()


def wide():
    """Products of 16 by 16 bits, pooled, joined and added before they are requantised."""
    b = Builder(np.random.default_rng(5), (2, 6, 6))
    b.rescale(unsigned(16))
    features = b.last
    b.convolution("mult", 4, 3, padding=1, weight_bits=16)
    b.emit(MaxPool(name="most", source=b.last, size=2, stride=2, padding=1))
    left = b.last
    b.last = features
    b.convolution("mult", 3, 3, padding=1, weight_bits=16)
    b.emit(MaxPool(name="more", source=b.last, size=2, stride=2, padding=1))
    b.emit(Concat(name="both", source=left, others=(b.last,)))
    b.emit(AveragePool(name="sums", source=b.last, size=2, stride=1))
    b.rescale(signed(29))
    b.emit(MaxPool(name="pooled", source=b.last, size=2, stride=1))
    joined = b.last
    b.rescale(signed(16), residual=joined)
    b.convolution("adder", 3, 2)
    b.threshold(unsigned(3))
    return finish(b, "adder")


def moved():
    """Sums beyond 2**24 that are moved, shuffled and repeated: whatever holds them as floats is found out."""
    b = Builder(np.random.default_rng(8), (3, 3, 2))
    b.rescale(unsigned(16))
    b.convolution("mult", 8, weight_bits=16)
    fmt = b.format()
    b.emit(
        SpatialShift(
            name="shifted", source=b.last, offsets=np.arange(16).reshape(8, 2) % 7 - 3, pad=b.integers(fmt, 8)
        )
    )  # fmt: skip
    b.emit(PixelShuffle(name="shuffled", source="shifted", factor=2))
    b.emit(Upsample(name="larger", source="shuffled", factor=3))
    return finish(b)


def exact():
    """Scores are sums beyond 2**24 as they are: whatever rounds one of them is found out."""
    b = Builder(np.random.default_rng(7), (3, 2, 2))
    b.rescale(unsigned(16))
    b.emit(Flatten(name="flatten", source=b.last))
    b.convolution("mult", 6, weight_bits=16)
    fmt = score_format(b.format())
    b.emit(
        Requantise(
            name="scores", source=b.last, multiplier=np.ones(6, np.int64), offset=np.zeros(6, np.int64), shift=0,
            format=fmt, lo=fmt.lo, hi=fmt.hi,
        )
    )  # fmt: skip
    return b.program()


def small():
    """What QCDQ can say: multiplications of at most 8 bits, pools, a residual addition, padding that is not 0."""
    b = Builder(np.random.default_rng(6), (2, 8, 8))
    b.convolution("mult", 4, 3, padding=1, weight_bits=8)
    b.rescale(unsigned(7))
    shortcut = b.last
    b.convolution("mult", 4, 3, padding=1, weight_bits=5, groups=2)
    b.rescale(unsigned(8), residual=shortcut)
    left = b.last
    b.emit(MaxPool(name="most", source=left, size=3, stride=2, padding=1))
    right = b.last
    b.emit(Concat(name="both", source=right, others=(right,)))
    b.emit(AveragePool(name="sums", source=b.last, size=2, stride=2))
    b.rescale(signed(4))
    return finish(b)


def gated():
    """What QCDQ can say of tables and products: an activation of 8 bits, a gate of channels, a map times itself."""
    b = Builder(np.random.default_rng(9), (2, 4, 4))
    b.convolution("mult", 3, 3, padding=1, weight_bits=5)
    b.rescale(signed(8))
    b.table(unsigned(8))
    features = b.last
    b.emit(AveragePool(name="mean", source=features, size=4, stride=4))
    b.rescale(signed(6))
    b.table(unsigned(8))
    gate, b.last = b.last, features
    b.product(gate)
    b.rescale(unsigned(8))
    b.product(b.last)
    return finish(b)


def wide_product():
    """Products beyond 2**24, of maps and of channels, and the largest table: whatever holds them as floats is found
    out."""
    b = Builder(np.random.default_rng(10), (3, 3, 2))
    b.rescale(signed(12))
    b.table(signed(16))
    features = b.last
    b.product(features)
    b.rescale(unsigned(16))
    squares = b.last
    b.emit(AveragePool(name="mean", source=features, size=(3, 2), stride=1))
    b.rescale(signed(16))
    gate, b.last = b.last, squares
    b.product(gate)
    return finish(b)


def chosen():
    """What QCDQ can say of choices: a mask of features that are often equal, a branch that stands twice, reductions."""
    b = Builder(np.random.default_rng(12), (2, 4, 4))
    b.convolution("mult", 6, 3, padding=1, weight_bits=5)
    b.rescale(unsigned(3))
    features = b.last
    b.emit(Reduce(name="most", source=features, how="max", parts=3))
    b.emit(ArgMax(name="number", source="most"))
    b.last = features
    b.shift()
    b.emit(Select(name="chosen", source="number", branches=(features, b.last, features)))
    b.emit(Reduce(name="sums", source="chosen", how="sum", parts=2))
    b.rescale(signed(8))
    return finish(b)


def wide_choices():
    """Sums beyond 2**24 that are compared, chosen among and added: whatever holds them as floats is found out."""
    b = Builder(np.random.default_rng(11), (4, 3, 2))
    b.rescale(unsigned(16))
    b.convolution("mult", 4, weight_bits=16)
    sums = b.last
    b.emit(ArgMax(name="number", source=sums))
    b.emit(Reduce(name="most", source=sums, how="max", parts=2))
    b.emit(Slice(name="part", source=sums, axis="C", start=1, stop=3))
    b.emit(Select(name="chosen", source="number", branches=("most", "part", "most", "part")))
    b.emit(Reduce(name="all", source="chosen", how="sum"))
    return finish(b)


def attended():
    """What QCDQ can say of tokens: windows of blocks, a class token, scores, and weights without a softmax."""
    b = TokenBuilder(np.random.default_rng(13), (2, 4, 4))
    b.rescale(unsigned(5))
    b.unfolded()
    b.convolution("mult", 4, weight_bits=5)
    b.rescale(unsigned(4))
    b.joined()
    x = b.last
    b.emit(MatMul(name="asked", source=x, other=x, form="scores", heads=2))
    b.emit(MatMul(name="context", source=b.measured(unsigned(4)), other=x, form="context", heads=2))
    b.measured(signed(7))
    b.rearranged()
    return finish(b)


def extreme_program():
    """The ends of every type that an array can have, a residual, a layer without a known step."""
    weight = np.array(EXTREMES["conv_weight"]).reshape(2, 1, 1, 1)
    conv = Convolution(name="conv", source="pixels", kernel="mult", weight=weight, weight_format=signed(16),
                       pad=np.array([255]))  # fmt: skip
    first = Requantise(name="first", source="conv", multiplier=np.array(EXTREMES["first_multiplier"]), shift=31,
                       format=unsigned(16), offset=np.array(EXTREMES["first_offset"]), lo=3, hi=65534)  # fmt: skip
    second = Requantise(name="second", source="conv", multiplier=np.array(EXTREMES["second_multiplier"]), shift=0,
                        format=signed(56), offset=np.array(EXTREMES["second_offset"]), lo=-(2**55), hi=2**55 - 1,
                        residual="first", residual_multiplier=-32767)  # fmt: skip
    return Program(
        ops=(Input(name="pixels", shape=(1, 1, 1)), conv, first, second, ArgMax(name="argmax", source="second")),
        steps={"pixels": 1 / 255, "first": 0.125}, metadata={"network": "tiny", "bits": "16"},
    )  # fmt: skip


NAMED = {
    "extreme": extreme_program,
    "adder": lambda: layer("adder", features=unsigned(8), padding=1),
    "adder-2": lambda: layer("adder", features=unsigned(2), stride=2, groups=2),
    "adder-16": lambda: layer("adder", features=signed(16), stride=2, padding=2),
    "mult": lambda: layer("mult", features=unsigned(8), weight_bits=8, padding=1),
    "mult-signed": lambda: layer("mult", features=signed(5), weight_bits=3, stride=2, groups=2),
    "mult-16": lambda: layer("mult", features=unsigned(16), weight_bits=16, padding=1, groups=2),
    "mult-16-spaced": lambda: layer(
        "mult", features=unsigned(16), weight_bits=16, padding=(2, 0, 1, 3), stride=(1, 2), dilation=(2, 1)
    ),
    "mult-1": lambda: layer("mult", features=signed(7), weight_bits=1, padding=2, stride=2),
    "xnor": lambda: layer("xnor", features=unsigned(1), padding=1),
    "xnor-groups": lambda: layer("xnor", features=unsigned(1), groups=2, stride=2),
    "shift": lambda: layer("shift", features=unsigned(8), padding=1),
    "shift-16": lambda: layer("shift", features=signed(16), groups=2, stride=2),
    "wide": wide,
    "exact": exact,
    "moved": moved,
    "small": small,
    **{f"chain{seed}": lambda seed=seed: random_program(seed) for seed in range(6)},
    **{f"graph{seed}": lambda seed=seed: random_graph(seed) for seed in range(16)},
    **{f"windows{seed}": lambda seed=seed: random_windows(seed) for seed in range(16)},
    **{f"moves{seed}": lambda seed=seed: random_reshaping(seed) for seed in range(10)},
    **{f"bends{seed}": lambda seed=seed: random_bending(seed, raw=False) for seed in range(10)},
    **{f"gates{seed}": lambda seed=seed: random_gated(seed, raw=False) for seed in range(4)},
    **{f"choices{seed}": lambda seed=seed: random_choosing(seed, raw=False) for seed in range(2)},
    **{f"tokens{seed}": lambda seed=seed: random_tokens(seed, raw=False) for seed in range(6)},
    "attended": attended,
    "gated": gated,
    "chosen": chosen,
    "wide-choices": wide_choices,
    "wide-product": wide_product,
}
"""Every Program that exports are tried on, by name."""


def named(name):
    """The Program called ``name``."""
    return NAMED[name]()
