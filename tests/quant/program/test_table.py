"""Tables that do not fit what they read are refused by name; those that do say what they can give."""

import numpy as np
import pytest
from addax.quant.files.archive import program_bytes
from addax.quant.formats import signed, unsigned
from addax.quant.program import Table
from operations import SHAPE, convolution, program, requantise, threshold


def table(**changes):
    values = {"name": "curve", "source": "pixels", "entries": np.arange(256), "format": unsigned(8)}
    return Table(**{**values, **changes})


def narrow(bits):
    """Pixels on ``bits`` signed bits."""
    ones = np.ones(2, np.int64)
    return requantise(name="few", source="pixels", multiplier=ones, offset=ones, shift=0, format=signed(bits))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"entries": np.arange(255)}, r"entries must be 256, one for each value of uint8, .* 2 channels, not \(255,\)"),
        ({"entries": np.arange(768).reshape(3, 256) // 3}, r"entries must be 256, .* not \(3, 256\)"),
        ({"entries": np.arange(512).reshape(2, 256, 1)}, r"entries must be 256, .* not \(2, 256, 1\)"),
        ({"entries": np.array(1)}, r"not \(\)"),
        ({"entries": np.zeros(0, np.int64)}, r"not \(0,\)"),
        ({"entries": np.arange(256) + 1}, r"entries must fit uint8, not 1\.\.256"),
        ({"entries": np.arange(256) - 1}, r"entries must fit uint8, not -1\.\.254"),
        ({"entries": np.arange(256.0)}, "entries must be 64-bit integers, not float64"),
        ({"entries": list(range(256))}, "entries must be a numpy array of 64-bit integers, not list"),
        ({"format": unsigned(64)}, "format must fit signed 64-bit integers"),
        ({"format": 8}, "format must be a Format, not 8"),
    ],
)
def test_table_that_does_not_fit_is_refused_by_name(change, message):
    with pytest.raises(ValueError, match=f"^curve: .*{message}"):
        program(table(**change))


@pytest.mark.parametrize(
    ("bits", "channels", "message"),
    [(13, 1, "a table reads at most 12 bits, not int13"), (9, 2, "a table for each channel reads at most 8 bits, not")],
)
def test_table_of_too_many_bits_is_refused(bits, channels, message):
    """A memory of so many entries is no longer a cheap one."""
    entries = np.arange(channels << bits).reshape(channels, -1)[: 2 if channels == 2 else 1]
    entries = entries[0] if channels == 1 else entries

    with pytest.raises(ValueError, match=f"^curve: {message}"):
        program(narrow(bits), table(source="few", entries=entries, format=unsigned(20)))


@pytest.mark.parametrize(("bits", "rows"), [(12, ()), (8, (2,)), (1, ()), (1, (2,))])
def test_table_may_have_as_many_entries_as_it_says(bits, rows):
    """A single bit, too; any format of the result."""
    p = program(narrow(bits), table(source="few", entries=np.full((*rows, 1 << bits), -7), format=signed(30)))

    assert (p.shape("curve"), p.format("curve")) == (SHAPE, signed(30))


def test_rows_that_are_equal_are_one():
    """Equal operations are equal files, however they were made."""
    same, one = table(entries=np.tile(np.arange(256), (2, 1))), table()

    assert same.entries.shape == (256,)
    assert program_bytes(program(same)) == program_bytes(program(one))


def test_bounds_are_those_of_the_entries_that_can_be_asked_for():
    """What follows then has factors for what comes, not for entries that stand for no value."""
    levels = threshold(format=unsigned(3))
    entries = np.array([[5, 1, 3, 2, 99, 99, 99, 99], [-4, -1, -3, -2, 99, 99, 99, 99]])
    p = program(
        levels, requantise(name="cut", source="thr", multiplier=np.ones(2, np.int64), offset=np.zeros(2, np.int64),
                           shift=0, format=unsigned(3), lo=1, hi=3),
        table(source="cut", entries=entries, format=signed(8)),
    )  # fmt: skip
    cut, curve = p.by_name["cut"], p.by_name["curve"]

    least, most = curve.bounds([(p.shape("cut"), p.format("cut"))], lambda name: cut.bounds([], None))

    assert (least.tolist(), most.tolist()) == ([1, -3], [3, -1])


def test_sums_are_too_wide_for_a_table():
    """The message names the format that is read."""
    with pytest.raises(ValueError, match=r"^curve: a table reads at most 12 bits, not int21"):
        program(convolution(weight_format=signed(8)), table(source="conv"))
