"""Random Programs of what an engine has so far, and small engines for them."""

import numpy as np
from addax.hdl.engine.plan import EnginePlan
from addax.quant.formats import signed, unsigned
from addax.quant.program import AveragePool, Flatten, MaxPool, PixelShuffle, Upsample
from network_builder import Builder


def small_plan(**changes):
    """An engine of 4 x 4 lanes whose buffers make most networks go in several bands."""
    return EnginePlan(**{
        "device": "ecp5-85k", "pin": 4, "pout": 4, "bits": 16, "memory_bits": 64, "feature_bytes": 2048,
        "weight_bytes": 1024, "pixels": 32, "kernels": ("adder", "mult", "shift"), **changes,
    })  # fmt: skip


def super_resolution(seed, *, factor=2, features=6, bits=8):
    """As EDSR: a skip over the body, a pixel shuffle, a map as result; several bands and blocks on a small engine."""
    rng = np.random.default_rng(seed)
    b = Builder(rng, (3, int(rng.integers(4, 9)), int(rng.integers(4, 9))))
    b.varied = lambda op: op

    def layer(outputs, result, join=None):
        b.convolution("adder" if rng.random() < 0.5 and b.last != "pixels" else "mult", outputs, 3, 1, 1, 8)
        b.rescale(result, residual=join)
        return b.last

    head = layer(features, unsigned(bits))
    layer(features, unsigned(bits))
    layer(features, unsigned(bits), join=head)
    layer(features * factor**2, unsigned(bits))
    b.enlarge(PixelShuffle, factor)
    layer(3, unsigned(8))
    return b.raw()


def resnet_18(size=224):
    """ResNet-18 with adder layers and random weights; its shortcuts that are convolutions have 12 bits."""

    def block(layer, x, outputs, stride):
        return layer(x, outputs, 3, stride, 1), outputs, 3

    return _resnet(size, (2, 2, 2, 2), block)


def resnet_50(size=224):
    """ResNet-50 with adder layers and random weights, the stride in the window of a block; shortcuts as ResNet-18's."""

    def block(layer, x, outputs, stride):
        return layer(layer(x, outputs), outputs, 3, stride, 1), 4 * outputs, 1

    return _resnet(size, (3, 4, 6, 3), block)


def _resnet(size, depths, block):
    """``block`` makes all layers of a block but the last, and says the outputs and the window of that one."""
    b = Builder(np.random.default_rng(0), (3, size, size))
    b.varied = lambda op: op

    def layer(source, outputs, window=1, stride=1, padding=0, kernel="adder", join=None, result=None):
        b.last = source
        b.convolution(kernel, outputs, window, stride, padding, 8)
        b.rescale(result or unsigned(8), residual=join)
        return b.last

    x = b.emit(MaxPool(name="pool", source=layer("pixels", 64, 7, 2, 3, "mult"), size=3, stride=2, padding=1))
    for stage, depth in enumerate(depths):
        for stride in (2 if stage else 1, *[1] * (depth - 1)):
            inner, outputs, window = block(layer, x, 64 << stage, stride)
            same = stride == 1 and b.inferred[x][0][0] == outputs
            shortcut = x if same else layer(x, outputs, 1, stride, result=signed(12))
            x = layer(inner, outputs, window, padding=window // 2, join=shortcut)
    b.emit(AveragePool(name="mean", source=x, size=b.shape()[1], stride=1))
    b.rescale(unsigned(8))
    b.convolution("mult", 1000, weight_bits=8)
    b.requantise(None, scores=True)
    return b.program()


def edsr(size=64, features=64, blocks=16):
    """The baseline of EDSR with adder layers and random weights: twice the size in both directions."""
    b = Builder(np.random.default_rng(0), (3, size, size))
    b.varied = lambda op: op

    def layer(outputs, kernel="adder", join=None):
        b.convolution(kernel, outputs, 3, 1, 1, 8)
        b.rescale(unsigned(8), residual=join)
        return b.last

    head = x = layer(features, "mult")
    for _ in range(blocks):
        layer(features)
        x = layer(features, join=x)
    layer(features, join=head)
    layer(features * 4)
    b.enlarge(PixelShuffle, 2)
    layer(3, "mult")
    return b.raw()


def grouped_program(seed, *, bits=8, kernels=("adder", "mult", "shift"), lanes=4):
    """Depthwise layers of any window, stride, padding and dilation, groups of whole blocks and, where weights may be 0,
    of any size; channels that fill no block, a residual, a pool between."""
    rng = np.random.default_rng(seed)
    b = Builder(rng, (int(rng.integers(1, 4)), int(rng.integers(6, 11)), int(rng.integers(6, 11))))
    b.varied = lambda op: op

    def layer(kernel, outputs, groups=1, size=1, result=None, join=None, **how):
        b.convolution(kernel, outputs, size, weight_bits=min(bits, 8), groups=groups, **how)
        b.rescale(result or (unsigned(bits - 1) if rng.random() < 0.7 else signed(bits)), residual=join)
        return b.last

    channels = int(rng.integers(2, 3 * lanes))
    layer(str(rng.choice(kernels)), channels, size=3, padding=1)
    for _ in range(2):
        room = min(b.shape()[1:])
        size = int(rng.integers(1, min(5, room) + 1))
        dilation = int(rng.integers(1, 3)) if size > 1 and 2 * size - 1 <= room else 1
        extent = (size - 1) * dilation + 1
        layer(str(rng.choice(kernels)), channels, channels, size, stride=int(rng.integers(1, 4)) if room > 4 else 1,
              padding=int(rng.integers(0, extent)), dilation=dilation)  # fmt: skip
    before = b.last
    layer(str(rng.choice(kernels)), channels, channels, 3, padding=1, join=before, result=signed(min(16, bits + 3)))
    b.last = before
    wide = lanes * int(rng.integers(1, 3))
    layer(str(rng.choice(kernels)), 2 * wide)
    layer(str(rng.choice(kernels)), 2 * lanes * int(rng.integers(1, 3)), 2, min(3, *b.shape()[1:]), padding=1)
    if plain := [kernel for kernel in kernels if kernel in ("mult", "shift")]:
        layer(str(rng.choice(plain)), 6, 2, 1)
        layer(str(rng.choice(plain)), 6 * int(rng.integers(1, 3)), 3, 1)
    return b.raw()


def bottlenecks(seed):
    """As MobileNetV2 is lowered: sums that two requantises read, one of them later; a sum of 12 bits that joins again
    and is brought back to 8."""
    b = Builder(np.random.default_rng(seed), (3, 6, 5))
    b.varied = lambda op: op

    def rescaled(source, result, join=None):
        b.last = source
        b.rescale(result, residual=join)
        return b.last

    def sums(source, outputs, size=1, groups=1):
        b.last = source
        b.convolution("mult", outputs, size, 1, size // 2, 8, groups=groups)
        return b.last

    first = sums("pixels", 6)
    narrow = rescaled(first, signed(8))
    inner = rescaled(sums(rescaled(sums(narrow, 10), unsigned(8)), 10, 3, 10), unsigned(8))
    branch = rescaled(sums(inner, 6), signed(12))
    wide = rescaled(first, signed(12), join=branch)
    second = sums(rescaled(wide, signed(8)), 6)
    rescaled(second, signed(8), join=wide)
    return b.raw()


def moving(seed):
    """Channels that move, maps that are enlarged twice, between convolutions."""
    rng = np.random.default_rng(seed)
    b = Builder(rng, (int(rng.integers(1, 6)), int(rng.integers(3, 6)), int(rng.integers(3, 6))))
    b.varied = lambda op: op
    for enlarged in (True, False):
        b.convolution("adder", int(rng.integers(1, 11)), 3, padding=1)
        b.rescale(unsigned(8) if rng.random() < 0.5 else signed(8))
        b.shift()
        if enlarged:
            b.enlarge(Upsample, int(rng.integers(2, 4)))
    return b.raw()


def gated(seed, *, bits=8, kernels=("adder", "mult"), gates=2, table_bits=8, bent=False, products=True, tables=True):
    """Activations and gates that are tables, of all channels or each its own, before and behind what others read too;
    products with maps, with numbers of channels, and of a map with itself; blocks that are not full, several bands.
    ``bent``: among them second slopes, ties to even numbers and thresholds of several levels. Without ``products`` or
    ``tables`` it has none of them."""
    rng = np.random.default_rng(seed)
    b = Builder(rng, (int(rng.integers(1, 6)), int(rng.integers(4, 10)), int(rng.integers(4, 10))))
    if not bent:
        b.varied = lambda op: op
    narrow = min(bits, table_bits)

    def stored():
        return unsigned(narrow - int(rng.integers(0, 3))) if rng.random() < 0.5 else signed(narrow)

    def layer(outputs, size=1, result=None, look=0.6):
        b.convolution(str(rng.choice(kernels)), outputs, size, padding=size // 2, weight_bits=min(bits, 8))
        if bent and result is None and rng.random() < 0.3:
            b.threshold(unsigned(int(rng.integers(2, 4))))
        else:
            rescaled(result or stored())
        if rng.random() < look and tables:
            b.table(stored())
        return b.last

    def rescaled(result):
        b.rescale(result)
        if bent and rng.random() < 0.6:
            b.bend()

    def times(other):
        b.product(other)
        rescaled(stored())
        if rng.random() < 0.4 and tables:
            b.table(stored())

    if bits >= 8 and rng.random() < 0.5 and tables:
        b.table(stored())
    for _ in range(gates):
        features = layer(int(rng.integers(2, 20)), int(rng.choice([1, 3])))
        kind = rng.choice(["channels", "map", "square"])
        if kind == "channels":
            channels, *size = b.shape()
            b.emit(AveragePool(name=f"mean{len(b.ops)}", source=b.last, size=tuple(size), stride=1))
            b.rescale(stored())
            layer(int(rng.integers(1, 6)), look=1)
            layer(channels, look=1, result=signed(narrow))
        elif kind == "map":
            layer(b.shape()[0], 3)
        if products:
            gate, b.last = b.last, features
            times(gate)
    return b.raw()


def mobilenet_v2(size=224, kernel="adder"):
    """MobileNetV2 with random weights; its first and last layers are ordinary, and what a shortcut joins has a sign."""
    b = Builder(np.random.default_rng(0), (3, size, size))
    b.varied = lambda op: op

    def layer(outputs, window=1, stride=1, groups=1, own=kernel, join=None, result=None):
        b.convolution(own, outputs, window, stride, window // 2, 8, groups=groups)
        b.rescale(result or unsigned(8), residual=join)
        return b.last

    layer(32, 3, 2, own="mult")
    channels = 32
    stages = (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)
    for expansion, outputs, count, first in stages:
        for stride in (first, *[1] * (count - 1)):
            x, wide = b.last, channels * expansion
            if expansion > 1:
                layer(wide)
            layer(wide, 3, stride, wide)
            layer(outputs, join=x if stride == 1 and channels == outputs else None, result=signed(8))
            channels = outputs
    layer(1280)
    b.emit(AveragePool(name="mean", source=b.last, size=b.shape()[1], stride=1))
    b.rescale(unsigned(8))
    b.convolution("mult", 1000, weight_bits=8)
    b.requantise(None, scores=True)
    return b.program()


def engine_program(seed, *, bits=8, kernels=("adder", "mult", "shift")):
    """Layers of any kernel, stride, padding and dilation, pools, residuals and a dense end."""
    rng = np.random.default_rng(seed)
    b = Builder(rng, (int(rng.integers(1, 7)), int(rng.integers(5, 10)), int(rng.integers(5, 10))))

    def kernel():
        # An adder's sums keep one grid for both operands, mult's weights are signed.
        return str(rng.choice(kernels))

    def layer(outputs, stride, result, join=None):
        size = int(rng.integers(1, min(3, *b.shape()[1:]) + 1))
        dilation = int(rng.integers(1, 3)) if size > 1 and min(b.shape()[1:]) >= 2 * size else 1
        extent = (size - 1) * dilation + 1
        if join is not None:
            size, dilation, extent = 3, 1, 3
        padding = extent // 2 if join is not None else int(rng.integers(0, extent))
        b.convolution(kernel(), outputs, size, stride, padding, min(bits, 8), dilation=dilation)
        b.rescale(result, residual=join)
        return b.last

    b.varied = lambda op: op  # ties to even and wide factors come later
    for _ in range(int(rng.integers(1, 3))):
        result = unsigned(bits - int(rng.integers(0, 3))) if rng.random() < 0.7 else signed(bits)
        outputs = int(rng.integers(1, 11))
        left = layer(outputs, int(rng.integers(1, 3)), result)
        if rng.random() < 0.6 and min(b.shape()[1:]) >= 1:
            layer(outputs, 1, result, join=left)
        if min(b.shape()[1:]) >= 3 and rng.random() < 0.5:
            if rng.random() < 0.6:
                b.emit(MaxPool(name=f"pool{len(b.ops)}", source=b.last, size=3, stride=2, padding=int(rng.integers(2))))
            else:
                b.emit(AveragePool(name=f"pool{len(b.ops)}", source=b.last, size=2, stride=int(rng.integers(1, 3))))
                b.rescale(unsigned(bits))
    if rng.random() < 0.3 and max(b.shape()[1:]) <= 6:
        factor = int(rng.integers(2, 4))
        layer(factor**2 * int(rng.integers(1, 8)), 1, unsigned(bits))
        b.enlarge(PixelShuffle, factor)
        layer(int(rng.integers(1, 6)), 1, unsigned(bits))
    b.emit(Flatten(name="flatten", source=b.last))
    b.convolution(kernel(), int(rng.integers(1, 11)), weight_bits=4)
    b.requantise(None, scores=True)
    return b.program()
