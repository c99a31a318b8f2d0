"""What leaves its width or is no image is refused by name; the widest that is allowed is exact."""

import numpy as np
import pytest
from addax.quant import golden
from addax.quant.formats import signed, unsigned
from addax.quant.golden import execute
from addax.quant.golden.execute import WidthError
from addax.quant.golden.loops import NumpyLoops
from addax.quant.program import (
    ArgMax,
    Convolution,
    Program,
)
from chains import ONE_BIT, R_MAX, Chain, weight_format_for
from naive import check


@pytest.mark.parametrize(
    "pixels",
    [
        np.full((1, 2, 3, 4), 256, np.int64),
        np.full((1, 2, 3, 4), -1, np.int8),
        np.zeros((1, 2, 3, 4), np.float32),
        np.zeros((1, 2, 4, 3), np.uint8),
        np.zeros((1, 1, 3, 4), np.uint8),
        np.zeros((2, 3, 4), np.uint8),
        np.zeros((1, 1, 2, 3, 4), np.uint8),
    ],
    ids=lambda p: f"{p.dtype}-{p.shape}",
)
def test_wrong_pixels_are_refused(pixels):
    program = Chain((2, 3, 4), unsigned(8)).program()

    with pytest.raises(ValueError, match=r"pixels must be uint8 of shape \(N, 2, 3, 4\), not"):
        golden.run(program, pixels)


@pytest.mark.parametrize(
    ("kernel", "bits", "word"),
    [("adder", 0, 1000), ("adder", 0, -1), ("mult", 2, 3), ("mult", 1, 2), ("mult", 1, -1), ("shift", 0, 16),
     ("xnor", 0, 2), ("xnor", 0, -1)],
)  # fmt: skip
@pytest.mark.parametrize("native", [False, True])
def test_weight_that_leaves_its_format_is_named(native, kernel, bits, word):
    """A Program checks its weights when it is made; changed behind its back, they are found out here and not wrapped
    into other weights."""
    chain = Chain((1, 1, 1), ONE_BIT if kernel == "xnor" else unsigned(8))
    fmt = weight_format_for(kernel, chain.format, bits)
    conv = Convolution(name="conv", source="stored", kernel=kernel, weight=np.zeros((1, 1, 1, 1), np.int64),
                       weight_format=fmt, pad=np.zeros(1, np.int64))  # fmt: skip
    program = chain.add(conv).program()
    conv.weight.setflags(write=True)
    conv.weight[:] = word

    with pytest.raises(WidthError, match=rf"^conv: weights leave {fmt}: {word}\.\.{word}$"):
        golden.run(program, np.full((1, 1, 1, 1), 255, np.uint8), native=native)


@pytest.mark.parametrize("native", [False, True])
def test_pad_that_leaves_the_format_of_the_features_is_named(native):
    chain = Chain((1, 1, 1), unsigned(8))
    conv = Convolution(name="conv", source="stored", kernel="mult", weight=np.ones((1, 1, 1, 1), np.int64), padding=1,
                       weight_format=signed(2), pad=np.zeros(1, np.int64))  # fmt: skip
    program = chain.add(conv).program()
    conv.pad.setflags(write=True)
    conv.pad[:] = 256

    with pytest.raises(WidthError, match=r"^conv: pad leave uint8: 256\.\.256$"):
        golden.run(program, np.zeros((1, 1, 1, 1), np.uint8), native=native)


@pytest.mark.parametrize("sign", [-1, 1])
def test_accumulator_that_leaves_its_width_is_named(monkeypatch, sign):
    """Weights that fit cannot make one, so the loops are made to err: the width is asserted, not believed."""

    class Wrong(NumpyLoops):
        def mult(self, patches, filters, bound):
            return super().mult(patches, filters, bound) + sign * (bound + 1)

    chain = Chain((1, 1, 1), unsigned(8))
    conv = Convolution(name="conv", source="stored", kernel="mult", weight=np.zeros((1, 1, 1, 1), np.int64),
                       weight_format=signed(2), pad=np.zeros(1, np.int64))  # fmt: skip
    program = chain.add(conv).program()
    monkeypatch.setattr(execute, "fastest_loops", Wrong)

    with pytest.raises(WidthError, match=rf"^conv leaves int10: {sign * 513}\.\.{sign * 513}$"):
        golden.run(program, np.full((1, 1, 1, 1), 255, np.uint8))


def test_product_that_leaves_its_width_is_named():
    chain = Chain((1, 1, 1), unsigned(8))
    chain.add(
        Convolution(name="conv", source="stored", kernel="mult", weight=np.ones((1, 1, 1, 1), np.int64),
                    weight_format=signed(2), pad=np.zeros(1, np.int64))
    )  # fmt: skip
    chain.requantise("req", signed(8), np.ones(1), np.zeros(1), 0)
    program = chain.program()
    program.by_name["req"].offset.setflags(write=True)
    program.by_name["req"].offset[:] = 1 << 40

    with pytest.raises(WidthError, match=r"^req: acc \* M .*leaves \d+ bits"):
        golden.run(program, np.zeros((1, 1, 1, 1), np.uint8))


def test_product_residual_and_offset_at_their_ends_have_room_together():
    """Each of the three terms fits the Program's rules; their sum must not be called a defect."""
    chain = Chain((1, 1, 1), unsigned(4))
    chain.add(Convolution(name="conv", source="pixels", kernel="mult", weight=np.full((1, 1, 1, 1), 2047),
                          weight_format=signed(12), pad=np.zeros(1, np.int64)))  # fmt: skip
    assert chain.format == signed(20)
    chain.requantise(
        "req", signed(16), np.full(1, 32767), np.full(1, 2**35 - 1), 24, residual="stored", residual_multiplier=R_MAX
    )

    result = check(chain.program(), np.full((1, 1, 1, 1), 255, np.uint8))

    assert result.tensors["req"].item() == (255 * 2047 * 32767 + 2**35 - 1 + 15 * R_MAX) >> 24


def wide_residual():
    """A residual of 16 bits times R joins an accumulator of 9 bits."""
    chain = Chain((1, 1, 1), unsigned(16))
    weight = np.zeros((1, 1, 1, 1), np.int64)
    chain.add(Convolution(name="conv", source="pixels", kernel="adder", weight=weight, weight_format=unsigned(8),
                          pad=np.zeros(1, np.int64)))  # fmt: skip
    chain.requantise("last", signed(16), np.ones(1), np.zeros(1), 16, residual="stored", residual_multiplier=32767)
    return chain.program(), (65535 * 32767 - 255) >> 16


def wide_features():
    """Tensors of the largest sums' and residuals' width, multiplied by the largest factors without a division."""
    chain = Chain((1, 1, 1), unsigned(8))
    chain.requantise("a", signed(24), np.full(1, 32767), np.zeros(1), 0)
    chain.requantise("b", signed(45), np.full(1, 32767), np.zeros(1), 0)
    chain.last = "a"
    chain.requantise("r", unsigned(29), np.full(1, 64), np.zeros(1), 0)
    chain.last = "b"
    chain.requantise("last", signed(64), np.full(1, -32767), np.full(1, -(2**60)), 0, residual="r",
                     residual_multiplier=-R_MAX)  # fmt: skip
    chain.add(ArgMax(name="argmax", source="last"))
    return Program(ops=tuple(chain.ops.values())), -255 * 32767 * (32767**2 + 64 * R_MAX) - 2**60


def wider_features():
    """One bit more, by which products leave what is declared."""
    chain = Chain((1, 1, 1), unsigned(8))
    exact = 255
    for name, fmt in (("a", signed(24)), ("b", signed(39)), ("c", signed(54)), ("last", signed(64))):
        chain.requantise(name, fmt, np.full(1, 32767), np.zeros(1), 0)
        exact = min(exact * 32767, fmt.hi)
    return chain.program(), exact


def wider_residual():
    """A residual of 38 bits times an R of 32 bits leaves 64 bits."""
    chain = Chain((1, 1, 1), unsigned(8))
    weight = np.full((1, 1, 1, 1), 32767)
    chain.add(Convolution(name="conv", source="stored", kernel="mult", weight=weight, weight_format=signed(16),
                          pad=np.zeros(1, np.int64)))  # fmt: skip
    chain.requantise("wide", unsigned(38), np.full(1, 32767), np.zeros(1), 0)
    chain.last = "conv"
    chain.requantise("last", signed(16), np.ones(1), np.zeros(1), 31, residual="wide", residual_multiplier=R_MAX)
    return chain.program(), 32767


def test_the_widest_that_is_allowed_runs():
    """Refusing everything would pass the next test."""
    for make in (wide_residual, wide_features):
        program, exact = make()
        for native in (False, True):
            result = golden.run(program, np.full((1, 1, 1, 1), 255, np.uint8), trace=True, native=native)
            assert result.tensors["last"].item() == exact


@pytest.mark.parametrize("make", [wide_residual, wider_residual, wide_features, wider_features])
def test_widths_beyond_the_declared_are_exact_or_refused_but_never_wrap(make):
    """Whether such a Program is refused when it is made or when it runs is open; a wrong integer is not."""
    try:
        program, exact = make()
        result = golden.run(program, np.full((1, 1, 1, 1), 255, np.uint8), trace=True)
    except (ValueError, WidthError):
        return
    assert result.tensors["last"].item() == exact
