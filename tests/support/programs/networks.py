"""Random small Programs, for tests that ask whether two executors agree whatever the network."""

import numpy as np
from addax.quant.formats import signed, unsigned
from addax.quant.program import (
    AveragePool,
    Concat,
    Flatten,
    MaxPool,
    PixelShuffle,
    Upsample,
)
from network_builder import Builder as Builder
from random_plans import random_plan as random_plan
from random_windows import random_windows as random_windows


def random_program(seed):
    """A chain of one to three layers with pools, any kernels, strides, paddings and formats."""
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(1, 4)), int(rng.integers(3, 7)), int(rng.integers(3, 7)))
    b = Builder(rng, shape)
    for _ in range(int(rng.integers(0, 3))):
        _, height, width = b.shape()
        size = int(rng.integers(1, min(4, height + 1, width + 1)))
        b.convolution(
            str(rng.choice(["adder", "mult"])), int(rng.integers(1, 7)), size, int(rng.integers(1, 3)),
            int(rng.integers(0, size)), int(rng.integers(2, 9)),
        )  # fmt: skip
        bits = int(rng.integers(2, 9))
        b.requantise(unsigned(bits) if rng.random() < 0.7 else signed(bits))
        _, height, width = b.shape()
        if min(height, width) >= 2 and rng.random() < 0.6:
            stride = int(rng.integers(1, 3))
            if rng.random() < 0.7:
                b.emit(
                    MaxPool(
                        name=f"pool{len(b.ops)}", source=b.last, size=2, stride=stride, padding=int(rng.integers(0, 2))
                    )
                )
            else:
                b.emit(AveragePool(name=f"pool{len(b.ops)}", source=b.last, size=2, stride=stride))
                b.requantise(unsigned(bits))
    b.emit(Flatten(name="flatten", source=b.last))
    b.convolution(str(rng.choice(["adder", "mult"])), int(rng.integers(1, 6)), weight_bits=int(rng.integers(2, 9)))
    b.requantise(None, scores=True)
    return b.program()


def random_chain(seed):
    """As `random_program`, of all four kernels, with thresholds as well as requantises in between and on the pixels."""
    rng = np.random.default_rng(seed)
    b = Builder(rng, (int(rng.integers(1, 4)), int(rng.integers(3, 7)), int(rng.integers(3, 7))))

    def kernel():
        return "xnor" if b.format() == unsigned(1) else str(rng.choice(["adder", "mult", "shift"]))

    def activate():
        bits = int(rng.integers(1, 4))
        if rng.random() < 0.6:
            b.threshold(unsigned(bits))
        else:
            b.rescale(unsigned(bits + 1) if rng.random() < 0.7 else signed(bits + 1))

    if rng.random() < 0.5:
        activate()
    for _ in range(int(rng.integers(1, 4))):
        _, height, width = b.shape()
        size = int(rng.integers(1, min(4, height + 1, width + 1)))
        b.convolution(
            kernel(), int(rng.integers(1, 7)), size, int(rng.integers(1, 3)), int(rng.integers(0, size)),
            int(rng.integers(1, 9)),
        )  # fmt: skip
        activate()
        if min(b.shape()[1:]) >= 2 and rng.random() < 0.4:
            b.emit(MaxPool(name=f"pool{len(b.ops)}", source=b.last, size=2, stride=int(rng.integers(1, 3))))
    b.emit(Flatten(name="flatten", source=b.last))
    b.convolution(kernel(), int(rng.integers(1, 6)), weight_bits=int(rng.integers(2, 9)))
    b.requantise(None, scores=True)
    return b.program()


def random_graph(seed):
    """Branches that meet again as residual or side by side, of every kernel and operation; pools of sums, too."""
    rng = np.random.default_rng(seed)
    b = Builder(rng, (int(rng.integers(1, 4)), int(rng.integers(4, 7)), int(rng.integers(4, 7))))

    def choose(*what):
        return what[int(rng.integers(len(what)))]

    def layer(source, outputs, stride, result, join=None):
        b.last = source
        channels, height, width = b.shape()
        kernel = "xnor" if b.format() == unsigned(1) else choose("adder", "mult", "shift")
        size = int(rng.integers(1, 4))
        groups = choose(*(g for g in range(1, channels + 1) if channels % g == outputs % g == 0))
        b.convolution(kernel, outputs, size, padding=size // 2, weight_bits=int(rng.integers(1, 5)), groups=groups)
        if stride > 1:
            height, width = b.shape()[1:]
            if rng.random() < 0.5 or min(height, width) < 2:
                b.emit(MaxPool(name=f"pool{len(b.ops)}", source=b.last, size=2, stride=2, padding=1))
            else:
                b.emit(AveragePool(name=f"pool{len(b.ops)}", source=b.last, size=2, stride=2))
        fits = join is not None and b.inferred[join][0] == b.shape()
        if fits or result.signed or result.bits > 3 or rng.random() < 0.3:
            b.rescale(result, int(rng.integers(0, 4)), join if fits else None)
        else:
            b.threshold(result)
        return b.last

    first = choose(None, unsigned(1), unsigned(2), unsigned(5), signed(6), signed(9))
    if first is not None and (first.signed or first.bits > 2):
        b.rescale(first, int(rng.integers(0, 3)))
    elif first is not None:
        b.threshold(first)
    for _ in range(int(rng.integers(1, 3))):
        source = b.last
        result = choose(unsigned(1), unsigned(1), unsigned(2), unsigned(3), unsigned(8), signed(5), signed(11))
        outputs, stride = int(rng.integers(1, 5)), int(rng.integers(1, 3))
        left = layer(source, outputs, stride, result)
        right = layer(source, outputs, stride, result, left)
        if rng.random() < 0.7 and b.inferred[left][0][1:] == b.inferred[right][0][1:]:
            b.emit(Concat(name=f"cat{len(b.ops)}", source=left, others=choose((right,), (right, left))))
    b.emit(Flatten(name="flatten", source=b.last))
    b.convolution("xnor" if b.format() == unsigned(1) else choose("adder", "mult", "shift"), int(rng.integers(1, 6)))
    b.requantise(None, scores=True)
    return b.program()


def random_reshaping(seed, raw=False):
    """Moves of pixels: shifted channels, pixel shuffles, upsampling, of features, bits and sums, some side by side.

    With ``raw`` the Program ends in a map, else in class scores.
    """
    rng = np.random.default_rng(seed)
    b = Builder(rng, (int(rng.integers(1, 4)), int(rng.integers(1, 6)), int(rng.integers(1, 6))))

    def choose(*what):
        return what[int(rng.integers(len(what)))]

    def move(share):
        channels, height, width = b.shape()
        if rng.random() > share:
            return
        factor = choose(2, 3)
        if channels % factor**2 == 0 and rng.random() < 0.7:
            b.enlarge(PixelShuffle, factor)
        elif height * width <= 30 and rng.random() < 0.4:
            b.enlarge(Upsample, factor)
        else:
            b.shift()

    move(0.3)
    for _ in range(int(rng.integers(1, 3))):
        kernel = "xnor" if b.format() == unsigned(1) else choose("adder", "mult", "shift")
        size, outputs = choose(1, 3), choose(1, 3, 4, 8, 9)
        b.convolution(kernel, outputs, size, padding=size // 2, weight_bits=int(rng.integers(1, 5)))
        move(0.3)
        result = choose(unsigned(1), unsigned(2), unsigned(7), signed(5), signed(10))
        if result.signed or result.bits > 3:
            b.rescale(result)
        else:
            b.threshold(result)
        still = b.last
        move(0.9)
        if b.inferred[still][0][1:] == b.shape()[1:] and still != b.last and rng.random() < 0.7:
            b.emit(Concat(name=f"cat{len(b.ops)}", source=still, others=(b.last,)))
    if raw:
        move(0.5)
        return b.raw()
    b.emit(Flatten(name="flatten", source=b.last))
    b.convolution("xnor" if b.format() == unsigned(1) else choose("adder", "mult", "shift"), int(rng.integers(1, 6)))
    b.requantise(None, scores=True)
    return b.program()


def random_residual(seed):
    """Residual blocks, with and without a layer on the shortcut, grouped layers, joins of joins; of every kernel."""
    rng = np.random.default_rng(seed)
    b = Builder(rng, (int(rng.integers(1, 4)), int(rng.integers(3, 7)), int(rng.integers(3, 7))))

    def choose(*what):
        return what[int(rng.integers(len(what)))]

    def layer(source, outputs, size, stride, result, join=None):
        b.last = source
        kernel = "xnor" if b.format() == unsigned(1) else choose("adder", "mult", "shift")
        channels = b.shape()[0]
        groups = choose(*(g for g in range(1, channels + 1) if channels % g == outputs % g == 0))
        b.convolution(kernel, outputs, size, stride, size // 2, int(rng.integers(1, 5)), groups)
        b.rescale(result, residual=join, terms=(0, 0, 1, 2)[seed % 4])
        return b.last

    if rng.random() < 0.5:
        b.rescale(choose(unsigned(4), signed(6), unsigned(1)))
    for _ in range(int(rng.integers(1, 3))):
        source, outputs, stride = b.last, int(rng.integers(1, 5)), int(rng.integers(1, 3))
        result = choose(unsigned(1), unsigned(3), unsigned(8), signed(5))
        shortcut = source
        if stride > 1 or b.shape()[0] != outputs or rng.random() < 0.3:
            shortcut = layer(source, outputs, choose(1, 3), stride, choose(signed(9), unsigned(4)))
        middle = choose(unsigned(1), unsigned(4), signed(3))
        inner = layer(source, int(rng.integers(1, 5)), choose(1, 3), stride, middle)
        layer(inner, outputs, choose(1, 3), 1, result, shortcut)
        if rng.random() < 0.3:
            b.rescale(unsigned(5), residual=choose(None, inner if b.inferred[inner][0] == b.shape() else None))
    b.emit(Flatten(name="flatten", source=b.last))
    b.convolution("xnor" if b.format() == unsigned(1) else choose("adder", "mult", "shift"), int(rng.integers(1, 6)))
    b.requantise(None, scores=True)
    return b.program()


def random_moving(seed, raw=None):
    """Moves of features, of pixels too, and concatenations of what branches made, some within residual blocks.

    With ``raw`` the Program ends in a map, else in class scores if the map is small; without a choice, in either.
    """
    rng = np.random.default_rng(seed)
    b = Builder(rng, (int(rng.integers(1, 4)), int(rng.integers(2, 6)), int(rng.integers(2, 6))))
    raw = bool(rng.random() < 0.5) if raw is None else raw

    def choose(*what):
        return what[int(rng.integers(len(what)))]

    def layer(source, outputs, result, join=None):
        b.last = source
        kernel = "xnor" if b.format() == unsigned(1) else choose("adder", "mult", "shift")
        size = choose(1, 3)
        b.convolution(kernel, outputs, size, padding=size // 2, weight_bits=int(rng.integers(1, 5)))
        b.rescale(result, residual=join)
        return b.last

    def move(source):
        b.last = source
        channels, height, width = b.shape()
        factor = choose(2, 2, 3)
        if channels % factor**2 == 0 and rng.random() < 0.6:
            b.enlarge(PixelShuffle, factor)
        elif height * width <= 20 and rng.random() < 0.3:
            b.enlarge(Upsample, factor)
        else:
            b.shift()
        return b.last

    if rng.random() < 0.3:
        b.rescale(choose(unsigned(4), signed(6)))
    if rng.random() < 0.3:
        move(b.last)
    for _ in range(int(rng.integers(1, 3))):
        source, result = b.last, choose(unsigned(2), unsigned(7), signed(5))
        outputs = choose(2, 3, 4, 4, 8)
        made = [layer(source, outputs, result)]
        if rng.random() < 0.5:
            made.append(layer(choose(source, made[0]), choose(2, outputs), result))
        if rng.random() < 0.5:
            b.last = made[0]
            b.shift()
            made.append(b.last)
        if rng.random() < 0.3:
            made.append(choose(*made))
        rng.shuffle(made)
        if len(made) > 1:
            b.emit(Concat(name=f"cat{len(b.ops)}", source=str(made[0]), others=tuple(map(str, made[1:]))))
        else:
            b.last = made[0]
        if rng.random() < 0.3:
            whole, channels = b.last, b.shape()[0]
            layer(layer(whole, 3, result), channels, result, whole)
        if rng.random() < 0.6:
            move(b.last)
    if raw or np.prod(b.shape()) > 200:  # a dense layer of so many inputs takes long to simulate
        return b.raw()
    b.emit(Flatten(name="flatten", source=b.last))
    b.convolution("xnor" if b.format() == unsigned(1) else choose("adder", "mult", "shift"), int(rng.integers(1, 6)))
    b.requantise(None, scores=True)
    return b.program()


def random_bending(seed, raw=None, built=False):
    """Second slopes, slices, constants beside features, and sums of two stored tensors, which may be one and the same.

    With ``raw`` the Program ends in a map, else in class scores; without a choice, in either. Where it is to be
    ``built``, constants are the same for every pixel.
    """
    rng = np.random.default_rng(seed)
    b = Builder(rng, (int(rng.integers(1, 4)), int(rng.integers(2, 6)), int(rng.integers(2, 6))))
    raw = bool(rng.random() < 0.5) if raw is None else raw

    def choose(*what):
        return what[int(rng.integers(len(what)))]

    def layer(outputs, result, join=None):
        kernel = "xnor" if b.format() == unsigned(1) else choose("adder", "mult", "shift")
        size = choose(1, 3)
        b.convolution(kernel, outputs, size, padding=size // 2, weight_bits=int(rng.integers(1, 5)))
        b.rescale(result, residual=join, terms=choose(0, 0, 0, 2))
        if rng.random() < 0.8:
            b.bend()

    def join(result):
        """The sum of the last result and of another of its shape, or of itself."""
        like = [name for name, found in b.inferred.items() if found[0] == b.shape() and name in stored]
        b.rescale(result, residual=choose(*like))
        if rng.random() < 0.5:
            b.bend()

    if rng.random() < 0.3:
        b.rescale(choose(unsigned(4), signed(6)))
        b.bend()
    stored = []
    for _ in range(int(rng.integers(1, 4))):
        result = choose(unsigned(1), unsigned(2), unsigned(7), signed(5), signed(8))
        layer(choose(2, 3, 4, 6), result)
        stored.append(b.last)
        if rng.random() < 0.5:
            b.cut()
            stored.append(b.last)
        if rng.random() < 0.5:
            source, beside = b.last, b.constant(choose(1, 2), built)
            parts = [source, beside] if rng.random() < 0.7 else [beside, source]
            b.emit(Concat(name=f"cat{len(b.ops)}", source=parts[0], others=tuple(parts[1:])))
            stored.append(b.last)
        if rng.random() < 0.5:
            join(result)
            stored.append(b.last)
    if raw:
        return b.raw()
    b.emit(Flatten(name="flatten", source=b.last))
    b.convolution("xnor" if b.format() == unsigned(1) else choose("adder", "mult", "shift"), int(rng.integers(1, 6)))
    b.requantise(None, scores=True)
    return b.program()


def random_built(seed):
    """As `random_bending`, of what every family can build."""
    return random_bending(seed, built=True)


def random_images(program, count, seed):
    return np.random.default_rng(seed).integers(0, 256, (count, *program.input.shape), dtype=np.uint8)
