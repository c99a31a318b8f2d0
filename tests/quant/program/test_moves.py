"""Concatenations, pools and moves: the shapes that they make, and refusals of those that do not fit."""

import numpy as np
import pytest
from addax.quant.files.archive import describe
from addax.quant.formats import signed, unsigned
from addax.quant.ops.base import Tensor
from addax.quant.program import (
    AveragePool,
    Concat,
    MaxPool,
    PixelShuffle,
    SpatialShift,
    Upsample,
)
from operations import SHAPE, convolution, integers, program, requantise

# Concat


def test_concat_adds_channels():
    p = program(
        convolution(),
        requantise(),
        requantise(name="more"),
        Concat(name="cat", source="req", others=("more", "req")),
    )

    assert (p.shape("cat"), p.format("cat")) == ((9, 4, 3), unsigned(8))


def test_concat_joins_rows_and_columns():
    """The sizes along the other axes are equal, and the bounds of a channel are the widest."""
    read = [Tensor((2, 1, 3), signed(8)), Tensor((2, 1, 4), signed(8)), Tensor((2, 5, 3), signed(8))]
    ends = {"a": (integers(-3, 1), integers(2, 9)), "b": (integers(0, -7), integers(8, 8))}
    tokens, rows = (Concat(name="cat", source="a", others=("b",), axis=axis) for axis in ("W", "H"))

    assert tokens.infer(read[:2]) == Tensor((2, 1, 7), signed(8))
    assert rows.infer([read[0], read[2]]) == Tensor((2, 6, 3), signed(8))
    for op, other in ((tokens, read[2]), (rows, read[1])):
        with pytest.raises(ValueError, match=r"^b \(int8, .*\) cannot stand beside a \(int8, \(2, 1, 3\)\)$"):
            op.infer([read[0], other])
        assert [end.tolist() for end in op.bounds(read, ends.__getitem__)] == [[-3, -7], [8, 9]]
    with pytest.raises(ValueError, match=r"^axis must be one of C, H, W, not 'N'$"):
        Concat(name="cat", source="a", others=("b",), axis="N").infer(read[:2])


def test_concat_of_channels_is_written_as_before():
    """Files of it are the same bytes, whichever version wrote them."""
    p = program(Concat(name="cat", source="pixels", others=("pixels",)))

    assert "axis" not in next(entry for entry in describe(p)[1]["graph"] if entry["name"] == "cat")


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (requantise(name="odd", format=signed(8)), r"odd \(int8, \(3, 4, 3\)\) .* beside req \(uint8, \(3, 4, 3\)\)"),
        (requantise(name="odd", format=unsigned(7)), "odd .uint7, .* cannot stand beside req"),
        (MaxPool(name="odd", source="req", size=2, stride=1), r"odd \(uint8, \(3, 3, 2\)\) cannot stand beside req"),
        (MaxPool(name="odd", source="req", size=4, stride=1, padding=1), r"odd .* cannot stand beside req"),
    ],
)
@pytest.mark.parametrize("place", [0, 1])
def test_concat_that_does_not_fit_is_refused_by_name(place, other, message):
    """Wherever among the others it stands."""
    others = ("req", "odd") if place else ("odd", "req")
    with pytest.raises(ValueError, match=f"^cat: .*{message}"):
        program(convolution(), requantise(), other, Concat(name="cat", source="req", others=others))


# Pools


@pytest.mark.parametrize("kind", [MaxPool, AveragePool])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 0}, "0x0"),
        ({"size": -1}, "-1x-1"),
        ({"stride": 0}, "stride 0"),
        ({"size": 6}, "window 6x6 is larger than the padded image 6x5"),
    ],
)
def test_pool_that_does_not_fit_is_refused_by_name(kind, change, message):
    with pytest.raises(ValueError, match=f"^pool: .*{message}"):
        program(kind(**{"name": "pool", "source": "pixels", "size": 2, "stride": 1, **change}))


@pytest.mark.parametrize(("size", "padding"), [(2, -1), (2, 2), (3, 3), (1, 1)])
def test_max_pool_window_of_padding_only_is_refused(size, padding):
    """A padded tap never wins, so every window must see a pixel."""
    with pytest.raises(ValueError, match=r"^pool: .*padding"):
        program(MaxPool(name="pool", source="pixels", size=size, stride=1, padding=padding))


def shift(**changes):
    return SpatialShift(**{"name": "move", "source": "pixels", "offsets": np.array([[3, -3], [0, 1]]), **changes})


# Moves


def test_moves_have_the_shape_that_they_make_and_keep_the_format():
    p = program(
        shift(pad=integers(255, 0)), Upsample(name="up", source="move", factor=3),
        Concat(name="cat", source="up", others=("up", "up", "up")),
        PixelShuffle(name="shuffle", source="cat", factor=2),
    )  # fmt: skip

    assert [p.shape(name) for name in ("move", "up", "shuffle")] == [SHAPE, (2, 18, 15), (2, 36, 30)]
    assert {p.format(name) for name in ("move", "up", "shuffle")} == {unsigned(8)}
    assert shift().pad.tolist() == [0, 0], "zeros unless given"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"offsets": np.zeros((3, 2), np.int64)}, r"offsets must be rows .* each of 2 channels, not \(3, 2\)"),
        ({"offsets": np.zeros((2, 3), np.int64)}, r"offsets must be rows .* each of 2 channels, not \(2, 3\)"),
        ({"offsets": np.zeros(2, np.int64)}, r"offsets must be rows .* each of 2 channels, not \(2,\)"),
        ({"offsets": np.array([[0, 0], [4, 0]])}, r"offsets must be in -3\.\.3, not 0\.\.4"),
        ({"offsets": np.array([[0, -4], [1, 0]])}, r"offsets must be in -3\.\.3, not -4\.\.1"),
        ({"offsets": np.zeros((2, 2))}, "offsets must be 64-bit integers, not float64"),
        ({"pad": integers(1)}, "pad must be 2 values of uint8"),
        ({"pad": integers(1, 2, 3)}, "pad must be 2 values of uint8"),
        ({"pad": integers(0, 256)}, "pad must be 2 values of uint8"),
        ({"pad": integers(-1, 0)}, "pad must be 2 values of uint8"),
        ({"pad": np.array([0.5, 0])}, "pad must be 64-bit integers, not float64"),
    ],
)
def test_shift_that_does_not_fit_is_refused_by_name(change, message):
    with pytest.raises(ValueError, match=f"^move: {message}"):
        program(shift(**change))


@pytest.mark.parametrize("kind", [PixelShuffle, Upsample])
@pytest.mark.parametrize("factor", [0, -1, 65, 10**9])
def test_factor_of_enlargement_is_bounded(kind, factor):
    """A file may ask for any; a tensor of it would fill the memory."""
    with pytest.raises(ValueError, match=rf"^move: factor must be in 1\.\.64, not {factor}$"):
        program(kind(name="move", source="pixels", factor=factor))


@pytest.mark.parametrize("kind", [PixelShuffle, Upsample])
@pytest.mark.parametrize("factor", [2.0, True])
def test_factor_of_enlargement_is_an_integer(kind, factor):
    with pytest.raises(ValueError, match=f"^move: factor must be an integer, not {factor}$"):
        program(kind(name="move", source="pixels", factor=factor))


def test_pixel_shuffle_needs_channels_for_every_pixel():
    with pytest.raises(ValueError, match=r"^move: a pixel shuffle by 2 needs a multiple of 4 channels, not 2$"):
        program(PixelShuffle(name="move", source="pixels", factor=2))
