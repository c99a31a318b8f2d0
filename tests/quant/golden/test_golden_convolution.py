"""Convolutions of every kernel and width: the golden model's sums are those of plain loops."""

import itertools

import numpy as np
import pytest
from addax.quant.formats import Format, signed, unsigned
from addax.quant.program import (
    AveragePool,
    Convolution,
)
from chains import BITS, ONE_BIT, Chain, images_of, values, weight_format_for
from hypothesis import given, settings
from hypothesis import strategies as st
from naive import SHIFT_WORDS, check
from networks import random_images

WIDTHS = [(kernel, bits) for kernel in ("adder", "mult", "shift") for bits in BITS] + [("xnor", 1)]
"""Every width of features that a kernel has."""


@pytest.mark.parametrize(("kernel", "bits"), WIDTHS)
@settings(max_examples=20)
@given(data=st.data())
def test_convolution_equals_the_loops(kernel, bits, data):
    """Any size, stride, padding, pad values, weights and groups (each channel its own, too); every feature width;
    weights of 1 to 16 bits for mult."""
    draw = data.draw
    groups, inputs, outputs = draw(st.sampled_from([1, 1, 2, 3])), draw(st.integers(1, 3)), draw(st.integers(1, 2))
    shape = (groups * inputs, draw(st.integers(1, 5)), draw(st.integers(1, 5)))
    chain = Chain(shape, Format(bits=bits, signed=bits > 1 and draw(st.booleans())))
    padding = draw(st.integers(0, 2))
    size = [draw(st.integers(padding + 1, min(4, n + 2 * padding))) for n in shape[1:]]
    weight_format = weight_format_for(kernel, chain.format, draw(st.sampled_from([1, 2, 8, 15, 16])))
    weight_shape = (groups * outputs, inputs, *size)
    chain.add(
        Convolution(name="conv", source="stored", kernel=kernel, weight=draw(values(weight_format, weight_shape)),
                    weight_format=weight_format, stride=draw(st.integers(1, 3)), padding=padding,
                    pad=draw(values(chain.format, shape[0])), groups=groups)
    )  # fmt: skip

    check(chain.program(), draw(images_of(shape)))


@pytest.mark.parametrize("kernel", ["adder", "mult", "shift", "xnor"])
def test_taps_around_a_machine_word_equal_the_loops(kernel):
    """63, 64, 65 and 130: the bits that fill the last word of an xnor must not count, nor any other padding."""
    rng = np.random.default_rng(0)
    for taps in (63, 64, 65, 130):
        fmt = ONE_BIT if kernel == "xnor" else unsigned(8)
        chain = Chain((taps, 1, 2), fmt)
        weight_format = weight_format_for(kernel, fmt, 1)
        weight = rng.integers(weight_format.lo, weight_format.hi, (2, taps, 1, 1), endpoint=True)
        weight[1] = weight_format.hi
        chain.add(Convolution(name="conv", source="stored", kernel=kernel, weight=weight, weight_format=weight_format,
                              pad=np.zeros(taps, np.int64)))  # fmt: skip

        program = chain.program()
        result = check(program, np.concatenate([random_images(program, 1, 0), np.full((1, taps, 1, 2), 255, np.uint8)]))

        if kernel == "xnor":
            assert result.tensors["conv"][1, 1].tolist() == [[taps, taps]]


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("channels", [7, 8, 9, 16])
def test_bits_of_whole_bytes_per_pixel_equal_the_loops(channels, groups):
    """Channels that fill bytes are packed before windows repeat them; pads and groups must be packed alike."""
    rng = np.random.default_rng(channels)
    inputs = channels * groups
    chain = Chain((inputs, 4, 3), ONE_BIT)
    weight = rng.integers(0, 2, (2 * groups, channels, 3, 2))
    chain.add(Convolution(name="conv", source="stored", kernel="xnor", weight=weight, weight_format=ONE_BIT, stride=2,
                          padding=1, pad=rng.integers(0, 2, inputs), groups=groups))  # fmt: skip
    program = chain.program()

    check(program, random_images(program, 3, channels))


@pytest.mark.parametrize(
    ("kernel", "is_signed", "bits", "weight_bits"),
    [
        *itertools.product(["adder", "shift"], [False, True], BITS, [0]),
        *((kernel, s, b, b) for kernel, s, b in itertools.product(["mult"], [False, True], BITS)),
        *itertools.product(["mult"], [False, True], [2, 8, 16], [1]),
        ("xnor", False, 1, 1),
    ],
)
def test_convolution_at_the_ends_of_its_operands_is_exact(kernel, is_signed, bits, weight_bits):
    """The largest sums there are; from 16 bits on they leave 32 bits, where a narrow sum would wrap."""
    fmt = Format(bits=bits, signed=is_signed)
    chain = Chain((3, 4, 4), fmt)
    weight_format = weight_format_for(kernel, fmt, weight_bits)
    weight = np.empty((2, 3, 3, 3), np.int64)
    weight[0], weight[1] = (15, 7) if kernel == "shift" else (weight_format.lo, weight_format.hi)
    chain.add(
        Convolution(name="conv", source="stored", kernel=kernel, weight=weight, weight_format=weight_format, padding=1,
                    pad=np.full(3, fmt.hi))
    )  # fmt: skip
    program = chain.program()

    result = check(program, np.stack([np.full((3, 4, 4), p, np.uint8) for p in (0, 255)]))

    assert set(np.unique(result.tensors["stored"])) == {fmt.lo, fmt.hi}
    lo, hi = program.sum_range("conv")
    assert (result.tensors["conv"].min(), result.tensors["conv"].max()) == (lo, hi)


def test_a_filter_reads_the_channels_of_its_own_group_only():
    """Depthwise with two filters per channel, by hand: groups are runs of channels and of filters, in order."""
    chain = Chain((3, 1, 1), unsigned(8))
    weight = np.arange(1, 7)[:, None, None, None]
    chain.add(Convolution(name="conv", source="stored", kernel="mult", weight=weight, weight_format=signed(4),
                          pad=np.zeros(3, np.int64), groups=3))  # fmt: skip

    result = check(chain.program(), np.array([1, 10, 100], np.uint8).reshape(1, 3, 1, 1))

    assert result.tensors["conv"].ravel().tolist() == [1, 2, 30, 40, 500, 600]


@pytest.mark.parametrize("word", range(16))
def test_words_of_the_shift_kernel_by_hand(word):
    """A sign above a code of three bits; -0 is 0."""
    chain = Chain((1, 1, 1), signed(8))
    chain.add(Convolution(name="conv", source="stored", kernel="shift", weight=np.full((1, 1, 1, 1), word),
                          weight_format=unsigned(4), pad=np.zeros(1, np.int64)))  # fmt: skip

    result = check(chain.program(), np.array([0, 255, 125], np.uint8).reshape(3, 1, 1, 1))

    assert result.tensors["stored"].ravel().tolist() == [-128, 127, -3]
    assert result.tensors["conv"].ravel().tolist() == [SHIFT_WORDS[word] * x for x in (-128, 127, -3)]


@pytest.mark.parametrize("kernel", ["adder", "mult", "shift", "xnor"])
@settings(max_examples=25)
@given(data=st.data())
def test_convolution_of_sums_equals_the_loops(kernel, data):
    """A convolution may read what another or an average pool summed, where it is narrow enough for its kernel."""
    draw = data.draw
    n, height, width = draw(st.integers(1, 2)), draw(st.integers(1, 4)), draw(st.integers(1, 4))
    fmt = ONE_BIT if kernel == "xnor" else Format(bits=draw(st.integers(2, 8)), signed=draw(st.booleans()))
    chain = Chain((n, height, width), fmt)
    if kernel == "xnor":
        chain.add(AveragePool(name="sums", source="stored", size=1, stride=1))
    else:
        first = draw(st.sampled_from(["adder", "mult", "shift"]))
        weight_format = weight_format_for(first, fmt, draw(st.sampled_from([1, 2, 4])))
        chain.add(Convolution(name="sums", source="stored", kernel=first, weight_format=weight_format,
                              weight=draw(values(weight_format, (n, n, 1, 1))), pad=np.zeros(n, np.int64)))  # fmt: skip
    weight_format = weight_format_for(kernel, chain.format, 6)
    weight, pad = draw(values(weight_format, (2, n, 2, 2))), draw(values(chain.format, n))
    chain.add(Convolution(name="conv", source="sums", kernel=kernel, weight=weight, weight_format=weight_format,
                          padding=1, pad=pad))  # fmt: skip

    check(chain.program(), draw(images_of((n, height, width))))
