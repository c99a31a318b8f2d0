"""Ranges: what a product, a sum of products and an accumulator can become, and how many bits that needs."""

import itertools
import math

import numpy as np
import pytest
from addax.quant.formats import Format, signed, unsigned
from addax.quant.program import (
    KERNELS,
    AveragePool,
    Convolution,
    check_operands,
    term_range,
    weight_values,
)
from networks import random_graph, random_program, random_windows
from operations import SHIFT_WORDS, bits, convolution, program, requantise


@pytest.mark.parametrize("x_signed", [False, True])
@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize(
    ("kernel", "w", "meaning"),
    [
        ("adder", None, None),
        ("mult", signed(3), range(-4, 4)),
        ("mult", unsigned(2), range(4)),
        ("mult", unsigned(1), [-1, 1]),
        ("shift", unsigned(4), SHIFT_WORDS),
    ],
    ids=str,
)
def test_term_range_is_that_of_all_operands(kernel, w, meaning, bits, x_signed):
    x = Format(bits=bits, signed=x_signed)
    every = range(x.lo, x.hi + 1)
    if kernel == "adder":
        terms = [-abs(a - b) for a in every for b in every]
    else:
        terms = [a * b for a in every for b in meaning]

    assert term_range(kernel, x, x if w is None else w) == (min(terms), max(terms))


def test_term_range_of_xnor_is_plus_and_minus_one():
    assert term_range("xnor", unsigned(1), unsigned(1)) == (-1, 1)


WIDTHS = {"adder": (2, 16, 2, 16), "mult": (2, 16, 1, 16), "xnor": (1, 1, 1, 1), "shift": (2, 16, 4, 4)}
"""By the contract: fewest and most bits of features, then of weights."""


@pytest.mark.parametrize("kernel", WIDTHS)
def test_operand_widths_are_those_of_the_contract(kernel):
    """Every pair of widths 1..18 is allowed or refused, and the text names the operand at fault and what it may be."""
    least, most, least_w, most_w = WIDTHS[kernel]
    said = {"adder": ("2 to 16 bits", "2 to 16 bits"), "mult": ("2 to 16 bits", "1 to 16 bits"),
            "xnor": ("1 bit", "1 bit"), "shift": ("2 to 16 bits", "4 bits")}[kernel]  # fmt: skip
    for x, w in itertools.product(range(1, 19), repeat=2):
        if least <= x <= most and least_w <= w <= most_w:
            check_operands(kernel, unsigned(x), unsigned(w))
            continue
        what, may, has = ("weights", said[1], w) if least <= x <= most else ("features", said[0], x)
        with pytest.raises(ValueError, match=f"^{what} of the {kernel} kernel have {may}, not {has}$"):
            check_operands(kernel, unsigned(x), unsigned(w))


def test_every_kernel_has_operand_widths():
    assert tuple(WIDTHS) == KERNELS


@pytest.mark.parametrize(
    ("kernel", "fmt", "expected"),
    [
        ("shift", unsigned(4), SHIFT_WORDS),
        ("xnor", unsigned(1), [-1, 1]),
        ("mult", unsigned(1), [-1, 1]),
        ("mult", unsigned(2), [0, 1, 2, 3]),
        ("mult", signed(2), [-2, -1, 0, 1]),
        ("adder", signed(2), [-2, -1, 0, 1]),
    ],
    ids=str,
)
def test_words_of_weights_stand_for(kernel, fmt, expected):
    """All words of each format; -0 of the shift kernel is 0."""
    every = np.arange(fmt.lo, fmt.hi + 1)[:, None, None, None]
    op = convolution(kernel=kernel, weight=every, weight_format=fmt)

    values = weight_values(op)

    assert values.shape == op.weight.shape and values.ravel().tolist() == expected
    assert op.weight.ravel().tolist() == list(range(fmt.lo, fmt.hi + 1)), "and the words stay as they are"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"kernel": "shift", "weight_format": unsigned(4)}, (-255 * 64 * 18, 255 * 64 * 18)),
        ({"kernel": "mult", "weight_format": unsigned(1)}, (-255 * 18, 255 * 18)),
        ({"kernel": "mult", "weight_format": signed(4)}, (-255 * 8 * 18, 255 * 7 * 18)),
        ({"kernel": "adder", "weight_format": unsigned(8)}, (-255 * 18, 0)),
        ({"kernel": "xnor", "weight_format": unsigned(1), "source": "bits"}, (-18, 18)),
        ({"groups": 2, "weight": np.ones((4, 1, 3, 3), np.int64)}, (-255 * 8 * 9, 255 * 7 * 9)),
    ],
)
def test_sum_range_and_accumulator_of_every_kernel(changes, expected):
    """Eighteen taps, in two groups nine; the format is the narrowest that holds the range."""
    p = program(bits(), convolution(**changes))

    lo, hi = p.sum_range("conv")
    fmt = p.format("conv")

    assert (lo, hi) == expected
    assert fmt.signed and fmt.lo <= lo and hi <= fmt.hi
    narrower = signed(fmt.bits - 1)
    assert lo < narrower.lo or hi > narrower.hi


def test_groups_count_in_sizes():
    """A depthwise layer has as many weights as taps of one channel, per filter."""
    p = program(convolution(groups=2, weight=np.ones((6, 1, 3, 2), np.int64)))

    assert p.shape("conv") == (6, 4, 4)
    assert p.by_name["conv"].taps == 6
    fc = 2 * 6 * 4 * 4
    assert p.parameters() == 6 * 6 + fc
    assert p.macs() == 6 * 6 * 4 * 4 + fc


@pytest.mark.parametrize(("taps", "bits"), [(1, 9), (2, 10), (9, 13), (16, 13), (17, 14), (144, 17)])
def test_accumulator_of_an_eight_bit_adder_layer_has_the_derived_width(taps, bits):
    """9 bits for one term, 13 for sixteen, b + 1 + ceil(log2 K) in general."""
    weight = np.zeros((1, taps, 1, 1), np.int64)
    p = program(
        convolution(kernel="adder", weight=weight, weight_format=unsigned(8)), shape=(taps, 1, 1)
    )  # fmt: skip

    assert p.format("conv") == signed(bits)
    assert bits == 8 + 1 + math.ceil(math.log2(taps))
    assert p.sum_range("conv") == (-255 * taps, 0)


def test_average_pool_keeps_the_whole_sum():
    p = program(
        convolution(), requantise(format=signed(3)), AveragePool(name="mean", source="req", size=3, stride=1)
    )  # fmt: skip

    assert p.sum_range("mean") == (-36, 27)
    assert p.format("mean") == signed(7)


@pytest.mark.parametrize("make", [random_program, random_graph, random_windows])
@pytest.mark.parametrize("seed", range(12))
def test_random_programs_infer_formats_that_hold_their_sum_range(seed, make):
    p = make(seed)

    checked = [op.name for op in p.ops if isinstance(op, Convolution | AveragePool)]
    for name in checked:
        lo, hi = p.sum_range(name)
        assert p.format(name).lo <= lo <= hi <= p.format(name).hi
    assert checked
