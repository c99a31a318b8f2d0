"""Convolutions that do not fit their formats, windows or kernels are refused by name."""

import numpy as np
import pytest
from addax.quant.formats import signed, unsigned
from operations import bits, convolution, integers, program, requantise, xnor


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kernel": "fft"}, "kernel must be one of adder, mult, xnor, shift, not 'fft'"),
        ({"kernel": "xnor"}, "features of the xnor kernel have 1 bit, not 8"),
        ({"kernel": "shift", "weight_format": unsigned(5)}, "weights of the shift kernel have 4 bits, not 5"),
        ({"kernel": "shift", "weight_format": unsigned(3)}, "weights of the shift kernel have 4 bits, not 3"),
        ({"weight_format": signed(17)}, "weights of the mult kernel have 1 to 16 bits, not 17"),
        ({"kernel": "shift", "weight_format": signed(4)}, "weights of shift are words whose sign .*, not int4"),
        ({"weight_format": signed(1)}, "weights of mult are words whose sign has a meaning of its own, not int1"),
        ({"weight_format": unsigned(1), "weight": np.full((3, 2, 3, 3), -1)}, r"weights leave uint1: -1\.\.-1"),
        ({"weight_format": unsigned(1), "weight": np.full((3, 2, 3, 3), 2)}, r"weights leave uint1: 2\.\.2"),
        ({"kernel": "shift", "weight_format": unsigned(4), "weight": np.full((3, 2, 3, 3), 16)}, "leave uint4: 16"),
        ({"kernel": "shift", "weight_format": unsigned(4), "weight": np.full((3, 2, 3, 3), -1)}, "leave uint4: -1"),
        ({"groups": 0}, "groups must divide 2 channels, not be 0"),
        ({"groups": -1}, "groups must divide 2 channels, not be -1"),
        ({"groups": 3}, "groups must divide 2 channels, not be 3"),
        ({"groups": 2, "weight": np.ones((3, 1, 3, 3), np.int64)}, "groups must divide 3 filters, not be 2"),
        ({"groups": 2, "weight": np.ones((4, 2, 3, 3), np.int64)}, r"weight of shape \(4, 2, 3, 3\) does not fit"),
        ({"groups": 2, "weight": np.ones((4, 1, 3, 3), np.int64), "pad": integers(0)}, "pad must be 2 values of uint8"),
        ({"weight": np.ones((3, 4, 3, 3), np.int64)}, r"weight of shape \(3, 4, 3, 3\) does not fit .*\(2, 6, 5\)"),
        ({"weight": np.ones((3, 2, 3), np.int64)}, r"weight of shape \(3, 2, 3\)"),
        ({"weight": np.ones((0, 2, 3, 3), np.int64)}, r"weight of shape \(0, 2, 3, 3\)"),
        ({"weight": np.ones((3, 2, 0, 3), np.int64)}, r"weight of shape \(3, 2, 0, 3\)"),
        ({"weight": np.full((3, 2, 3, 3), 8)}, r"weights leave int4: 8\.\.8"),
        ({"weight": np.full((3, 2, 3, 3), -9)}, r"weights leave int4: -9\.\.-9"),
        ({"kernel": "adder"}, "one grid for both operands, not uint8 and int4"),
        ({"kernel": "adder", "weight_format": unsigned(7)}, "one grid for both operands, not uint8 and uint7"),
        ({"pad": integers(0)}, "pad must be 2 values of uint8"),
        ({"pad": integers(0, 256)}, "pad must be 2 values of uint8"),
        ({"pad": integers(-1, 0)}, "pad must be 2 values of uint8"),
        ({"stride": 0}, "window 3x3, stride 0, padding 0 is not a window"),
        ({"padding": -1}, "window 3x3, stride 1, padding -1 is not a window"),
        ({"padding": 3}, "window 3x3, stride 1, padding 3 is not a window"),
        ({"weight": np.ones((3, 2, 3, 6), np.int64)}, "window 3x6 is larger than the padded image 6x5"),
        ({"weight": np.ones((3, 2, 7, 1), np.int64)}, "window 7x1 is larger than the padded image 6x5"),
    ],
)
def test_convolution_that_does_not_fit_is_refused_by_name(change, message):
    with pytest.raises(ValueError, match=f"^conv: .*{message}"):
        program(convolution(**change))


@pytest.mark.parametrize("kernel", ["adder", "mult", "shift"])
@pytest.mark.parametrize(("fmt", "has"), [(unsigned(1), 1), (signed(17), 17)])
def test_features_of_a_width_that_a_kernel_has_not_are_refused_by_name(kernel, fmt, has):
    """Also where they are no sums: what a Program may say is what every kernel of the hardware can do."""
    first = requantise(name="first", source="pixels", format=fmt, multiplier=integers(1, 1), offset=integers(0, 0))
    weight_format = {"adder": fmt, "mult": signed(4), "shift": unsigned(4)}[kernel]
    weight = np.zeros((3, 2, 1, 1), np.int64)

    with pytest.raises(ValueError, match=f"^conv: features of the {kernel} kernel have 2 to 16 bits, not {has}$"):
        program(first, convolution(source="first", kernel=kernel, weight=weight, weight_format=weight_format))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weight_format": signed(1), "weight": np.zeros((3, 2, 3, 3), np.int64)}, "weights of xnor are words .* int1"),
        ({"weight_format": unsigned(2)}, "weights of the xnor kernel have 1 bit, not 2"),
        ({"weight": np.full((3, 2, 3, 3), -1)}, r"weights leave uint1: -1\.\.-1"),
        ({"weight": np.full((3, 2, 3, 3), 2)}, r"weights leave uint1: 2\.\.2"),
        ({"pad": integers(0, -1)}, "pad must be 2 values of uint1"),
        ({"pad": integers(0, 2)}, "pad must be 2 values of uint1"),
    ],
)
def test_xnor_that_does_not_fit_is_refused_by_name(changes, message):
    """A bit is 0 for -1; -1 itself is no word."""
    with pytest.raises(ValueError, match=f"^conv: .*{message}"):
        program(bits(), xnor(**changes))
    assert program(bits(), xnor()).format("conv") == signed(6)


def test_signed_bits_are_no_features_of_xnor():
    """Their 1 would be -1, and their 0 not."""
    first = requantise(name="bits", source="pixels", format=signed(1), multiplier=integers(1, 1), offset=integers(0, 0))

    with pytest.raises(ValueError, match=r"^conv: features of the xnor kernel are single unsigned bits, 0 for -1$"):
        program(first, xnor())


def test_convolution_may_use_its_formats_and_its_window_to_the_last_value():
    weight = np.full((3, 2, 6, 5), -8)
    weight[0, 0, 0, 0] = 7

    p = program(convolution(weight=weight, pad=integers(0, 255)))

    assert p.shape("conv") == (3, 1, 1)


@pytest.mark.parametrize(
    "change",
    [{"weight": np.full((3, 2, 3, 3), 1.5)}, {"stride": 1.0}, {"padding": 0.5}, {"groups": 1.0}, {"groups": True}],
    ids=lambda c: next(iter(c)),
)
def test_convolution_holds_no_float(change):
    """Nothing after lowering sees a float; a file could bring one."""
    with pytest.raises((ValueError, TypeError), match="conv"):
        program(convolution(**change))
