"""Programs read from foreign files beside qonnx's executor: every value alike, ties included."""

import numpy as np
from foreign import compared

RNG = np.random.default_rng


def equal(path, **said):
    """The Program, whose integers must be qonnx's."""
    program, found, expected = compared(path, **said)
    step = abs(program.steps[program.output])
    assert np.ptp(expected) > 3 * step, "all results are alike"
    alike(found, expected, step)
    return program


def alike(found, expected, step):
    """Every value, ties included."""
    off = np.abs(found - expected) / step
    assert off.max() < 0.01, (off.max(), np.mean(off > 0.01))


def features(g, channels=3, scale=0.043):
    """Pixels, a convolution, and its integers behind a ReLU."""
    x = g.quant("x", 1 / 255)
    sums = g.node(
        "Conv", x, g.weights(RNG(1), (channels, g.shape[0], *[3] * (len(g.shape) - 1))), auto_pad="SAME_UPPER"
    )
    return g.quant(g.node("Relu", sums), scale, 5)
