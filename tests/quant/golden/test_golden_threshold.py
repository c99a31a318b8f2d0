"""Thresholds: the golden model counts those that a sum reaches, as plain loops do."""

import numpy as np
import pytest
from addax.quant import golden
from addax.quant.formats import signed, unsigned
from addax.quant.program import (
    Convolution,
    Threshold,
)
from chains import ONE_BIT, Chain, formats, images_of, shapes, values, weight_format_for
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from naive import check
from networks import random_images


@pytest.mark.parametrize("kernel", [None, "adder", "mult", "shift", "xnor"])
@settings(max_examples=40)
@given(data=st.data())
def test_threshold_equals_the_loops(kernel, data):
    """Of sums of every kernel and of tensors; any number of levels, equal ones, too; rising, falling, and constant
    at both ends of what a threshold may be."""
    draw = data.draw
    shape = draw(shapes())
    n = shape[0]
    chain = Chain(shape, ONE_BIT if kernel == "xnor" else draw(formats()))
    if kernel is not None:
        weight_format = weight_format_for(kernel, chain.format, draw(st.sampled_from([1, 3])))
        chain.add(Convolution(name="conv", source="stored", kernel=kernel, weight_format=weight_format,
                              weight=draw(values(weight_format, (n, n, 1, 1))), pad=np.zeros(n, np.int64)))  # fmt: skip
    else:
        chain.last = draw(st.sampled_from(["pixels", "stored"]))
    fmt = chain.format
    count = draw(st.integers(1, 7))
    ends = st.sampled_from([fmt.lo, fmt.hi, fmt.hi + 1])
    near = st.integers(max(fmt.lo, -9), min(fmt.hi + 1, 9))  # where the sums of small operands are
    levels = draw(arrays(np.int64, (n, count), elements=ends | near | st.integers(fmt.lo, fmt.hi + 1)))
    result = unsigned(draw(st.integers(count.bit_length(), 9)))
    chain.add(Threshold(name="thr", source=chain.last, thresholds=np.sort(levels, axis=1), format=result,
                        falling=draw(arrays(np.int64, n, elements=st.integers(0, 1)))))  # fmt: skip

    check(chain.program(), draw(images_of(shape)))


@pytest.mark.parametrize("where", ["pixels", "stored", "conv"])
@pytest.mark.parametrize("falling", [0, 1])
def test_thresholds_at_their_ends_make_constants(falling, where):
    """At ``lo`` always reached, at ``hi + 1`` never; one step inside, only by the very ends of the format."""
    chain = Chain((4, 1, 1), signed(8))
    weight = np.ones((4, 1, 1, 1), np.int64)
    chain.add(Convolution(name="conv", source="stored", kernel="mult", weight=weight, weight_format=ONE_BIT, groups=4,
                          pad=np.zeros(4, np.int64)))  # fmt: skip
    chain.last = where
    lo, hi = chain.format.lo, chain.format.hi
    levels = np.array([[lo, lo], [lo, hi + 1], [lo + 1, hi], [hi + 1, hi + 1]])
    chain.add(Threshold(name="thr", source=where, thresholds=levels, falling=np.full(4, falling), format=unsigned(2)))
    program = chain.program()

    result = check(program, np.stack([np.full((4, 1, 1), p, np.uint8) for p in (0, 128, 255)]))

    reached = result.tensors["thr"][:, :, 0, 0]
    if falling:
        reached = 2 - reached
    assert reached[:, [0, 1, 3]].tolist() == [[2, 1, 0]] * 3
    if where != "conv":  # whose sums do not fill their format
        assert reached[:, 2].tolist() == [0, 1, 2]


def test_a_threshold_for_every_pixel_value_counts_up_to_it():
    """255 levels on pixels give the pixel, or what is missing to 255."""
    chain = Chain((2, 1, 256), unsigned(8))
    chain.last = "pixels"
    chain.add(Threshold(name="thr", source="pixels", thresholds=np.tile(np.arange(1, 256), (2, 1)),
                        falling=np.array([0, 1]), format=unsigned(8)))  # fmt: skip

    result = golden.run(chain.program(), np.tile(np.arange(256, dtype=np.uint8), (1, 2, 1, 1)), trace=True)

    assert result.tensors["thr"][0, :, 0].tolist() == [list(range(256)), list(range(255, -1, -1))]


def test_two_binary_layers_equal_the_loops():
    """Thresholds of sums are what the next xnor reads: with no number wider than a bit between layers."""
    rng = np.random.default_rng(0)
    chain = Chain((3, 6, 6), ONE_BIT)
    for layer in ("one", "two"):
        source = chain.last
        chain.add(Convolution(name=f"conv_{layer}", source=source, kernel="xnor", padding=1, weight_format=ONE_BIT,
                              weight=rng.integers(0, 2, (3, 3, 3, 3)), pad=rng.integers(0, 2, 3)))  # fmt: skip
        chain.add(Threshold(name=layer, source=chain.last, thresholds=rng.integers(-3, 4, (3, 1)), format=ONE_BIT,
                            falling=rng.integers(0, 2, 3)))  # fmt: skip
    program = chain.program()

    result = check(program, random_images(program, 3, 0))

    for name in ("one", "two"):
        assert 0.2 < result.tensors[name].mean() < 0.8, f"{name} must not be constant"
