"""Moves of tokens: shapes and bounds; what does not fit is refused by name."""

import numpy as np
import pytest
from addax.quant.formats import signed, unsigned
from addax.quant.ops.base import Tensor
from addax.quant.program import Rearrange, Unfold
from operations import integers, program


def rearrange(**changes):
    given = {"split": (2, 6, 5), "order": (1, 0, 2), "shape": (6, 2, 5)}
    return Rearrange(**{"name": "moved", "source": "pixels", **given, **changes})


def unfold(**changes):
    given = {"block": (3, 5), "size": (2, 3), "stride": 1, "pad": integers(1, 2)}
    return Unfold(**{"name": "words", "source": "pixels", **given, **changes})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"split": (2, 6, 4)}, r"split must be 1 to 8 sizes whose product is that of \(2, 6, 5\), not \(2, 6, 4\)$"),
        ({"split": (-2, -6, 5)}, "split must be 1 to 8 sizes"),
        ({"split": ()}, r"split must be 1 to 8 sizes .*, not \(\)$"),
        ({"split": (1,) * 8 + (60,)}, "split must be 1 to 8 sizes"),
        ({"split": [2, 6, 5]}, r"split must be a tuple of integers, not \[2, 6, 5\]$"),
        ({"split": (2.0, 6, 5)}, r"split must be a tuple of integers, not \(2\.0, 6, 5\)$"),
        ({"order": (0, 1)}, r"order must name each of 3 axes once, not \(0, 1\)$"),
        ({"order": (0, 1, 1)}, r"order must name each of 3 axes once, not \(0, 1, 1\)$"),
        ({"order": (0, 1, -1)}, r"order must name each of 3 axes once, not \(0, 1, -1\)$"),
        ({"shape": (6, 10)}, r"shape must be three sizes whose product is that of \(2, 6, 5\), not \(6, 10\)$"),
        ({"shape": (6, 2, 6)}, r"shape must be three sizes .*, not \(6, 2, 6\)$"),
        ({"shape": (-6, -2, 5)}, "shape must be three sizes"),
    ],
)
def test_rearrangement_that_does_not_fit_is_refused_by_name(change, message):
    with pytest.raises(ValueError, match=f"^moved: {message}"):
        program(rearrange(**change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"block": (4, 5)}, "blocks of 4x5 do not divide a map of 6x5$"),
        ({"block": 0}, "blocks of 0x0 do not divide a map of 6x5$"),
        ({"block": (1, 2, 3)}, r"block must be an integer or two, vertical and horizontal, not \(1, 2, 3\)$"),
        ({"size": (4, 3)}, "window 4x3 is larger than the padded image 3x5$"),
        ({"stride": 0}, "window 2x3, stride 0, padding 0 is not a window$"),
        ({"padding": -1}, "window 2x3, stride 1, padding -1 is not a window$"),
        ({"pad": integers(1)}, "pad must be 2 values of uint8$"),
        ({"pad": integers(1, 256)}, "pad must be 2 values of uint8$"),
    ],
)
def test_unfolding_that_does_not_fit_is_refused_by_name(change, message):
    with pytest.raises(ValueError, match=f"^words: {message}"):
        program(unfold(**change))


def test_shapes_are_those_of_the_definition():
    """TNT's first words: of 16 x 16 pixels of 3 channels, 14 x 14 of them, windows of 7 x 7 every 4 pixels: 147
    channels of 16 words in each of 196 blocks."""
    pixels = Tensor((3, 224, 224), unsigned(8))
    words = Unfold(name="w", source="x", block=16, size=7, stride=4, padding=3, pad=integers(0, 0, 0)).infer([pixels])
    joined = Rearrange(name="r", source="w", split=(147, 196, 16), order=(2, 0, 1), shape=(16 * 147, 1, 196))

    assert words == Tensor((147, 196, 16), unsigned(8))
    assert joined.infer([words]) == Tensor((16 * 147, 1, 196), unsigned(8))


def test_bounds_are_those_of_the_channels_that_come_together():
    read, ends = [Tensor((2, 6, 5), signed(8))], (integers(-3, 1), integers(2, 9))

    def bounds(op):
        return [end.tolist() for end in op.bounds(read, lambda name: ends)]

    assert bounds(rearrange(order=(0, 2, 1), shape=(2, 5, 6))) == [[-3, 1], [2, 9]]
    assert bounds(rearrange(order=(1, 2, 0), shape=(6, 5, 2))) == [[-3] * 6, [9] * 6]
    assert bounds(unfold(size=(1, 2), pad=integers(7, 0))) == [[-3, -3, 1, 1], [2, 2, 9, 9]]
    assert bounds(unfold(size=(1, 2), padding=(0, 1, 0, 0), pad=integers(7, 0))) == [[-3, -3, 0, 0], [7, 7, 9, 9]]


def test_a_field_that_says_one_number_twice_says_it_once():
    """Equal operations are equal files."""
    op = unfold(block=(3, 3), size=(2, 2), stride=(1, 1), padding=(1, 1, 1, 1))

    assert (op.block, op.size, op.stride, op.padding) == (3, 2, 1, 1)
    assert np.array_equal(op.pad, [1, 2])
