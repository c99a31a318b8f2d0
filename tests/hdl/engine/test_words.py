"""Tensors that are moved by reading: which words of which tensors they are, and what memory holds behind them."""

import re

import numpy as np
import pytest
from addax.common.errors import UserError
from addax.hdl.engine.compile.image import compiled
from addax.hdl.engine.compile.reading.reading import network_of
from addax.hdl.engine.cycles.model import predicted
from addax.quant.formats import signed, unsigned
from addax.quant.program import Concat, Constant, Rearrange, Slice
from engine_executor import assert_golden, executed
from engine_networks import small_plan
from engine_tokens import vision
from network_builder import Builder

PLANS = {
    "4x4, 16 bit": small_plan(matmul=True, feature_bytes=8192),
    "8x8, 8 bit": small_plan(bits=8, pin=8, pout=8, matmul=True, feature_bytes=4096),
}


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("plan", PLANS.values(), ids=list(PLANS))
def test_vision_transformers_are_those_of_the_golden_model(plan, seed):
    """Maps as rows of tokens, a class token in front, places that are added, words that become channels, a token cut
    out; constants stay as they are, whatever is written."""
    program = vision(seed, bits=plan.bits, lanes=plan.pin)
    image = compiled(program, plan)
    fmt = program.input.format
    pixels = np.random.default_rng(seed).integers(fmt.lo, fmt.hi, program.input.shape, endpoint=True)

    words = executed(image, pixels)

    assert_golden(image, pixels, words)
    assert np.array_equal(words[: len(image.constants)], image.constants)
    assert predicted(image).total > 0


def mapped(channels=8, size=(3, 4)):
    """A Program so far whose last result has ``channels`` and ``size``."""
    b = Builder(np.random.default_rng(0), (2, *size))
    b.varied = lambda op: op
    b.convolution("mult", channels)
    b.rescale(signed(8))
    return b


def read_by(b, channels=3):
    """Someone reads it."""
    b.convolution("mult", channels)
    b.rescale(signed(8))
    return b.raw()


MOVES = {
    "rows become one": ((8, 3, 4), (0, 1, 2), (8, 1, 12)),
    "rows and columns change places": ((8, 3, 4), (0, 2, 1), (8, 4, 3)),
    "columns become channels": ((8, 3, 4), (2, 0, 1), (32, 1, 3)),
    "halves of the channels become rows": ((2, 4, 3, 4), (1, 0, 2, 3), (4, 6, 4)),
    "heads of two become rows": ((4, 2, 3, 4), (1, 0, 2, 3), (2, 12, 4)),
}


@pytest.mark.parametrize("split, order, shape", MOVES.values(), ids=list(MOVES))
@pytest.mark.parametrize("seed", range(2))
def test_words_that_stay_whole_are_moved_by_reading(split, order, shape, seed):
    """Each as numpy moves it, by an engine of any kind: the only layers are those around it."""
    b = mapped()
    b.emit(Rearrange(name="moved", source=b.last, split=split, order=order, shape=shape))
    program = read_by(b)
    image = compiled(program, small_plan())
    pixels = np.random.default_rng(seed).integers(0, 256, program.input.shape)

    assert_golden(image, pixels, executed(image, pixels))
    assert [layer.name for layer in image.network.layers] == ["req2", "req5"]


def test_a_view_of_views_reads_what_is_stored():
    """A constant column in front of a map twice, of which every second column is read, and the lower rows of that."""
    b = mapped()
    source = b.last
    value = np.arange(24).reshape(8, 3, 1)
    first = b.emit(Constant(name="first", value=value, format=signed(8)))
    b.emit(Concat(name="twice", source=first, others=(source, source), axis="W"))
    b.emit(Slice(name="second", source="twice", axis="W", start=0, stop=9, step=2))
    b.emit(Slice(name="lower", source="second", axis="H", start=1, stop=3))
    program = read_by(b)
    image = compiled(program, small_plan())
    move = image.network.moves["lower"]

    tensors = np.array(move.tensors)[move.tensor]
    assert (tensors[:, :, 0] == "first").all() and (tensors[:, :, 1:] == source).all()
    assert (move.pixel[0, 0] == [1, 5, 7, 5, 7]).all() and (move.pixel[1, 1] == [5, 21, 23, 21, 23]).all()
    pixels = np.random.default_rng(0).integers(0, 256, program.input.shape)
    assert_golden(image, pixels, executed(image, pixels))


def test_words_that_are_taken_apart_are_refused_in_one_line():
    """Channels become pixels one by one; a row of 3 of a block of 4."""
    b = mapped()
    b.emit(Rearrange(name="moved", source=b.last, split=(8, 12), order=(1, 0), shape=(12, 1, 8)))
    message = "the engine moves whole words of up to 4 channels of a pixel, which 'moved' takes apart"
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        compiled(read_by(b), small_plan())


def test_a_folded_input_is_not_moved():
    """An input that is read word by word is stored as it is, though a first layer of few channels reads it."""
    b = Builder(np.random.default_rng(0), (2, 4, 4), unsigned(8))
    b.varied = lambda op: op
    b.emit(Concat(name="wide", source="pixels", others=("pixels",), axis="H"))
    b.convolution("mult", 4, 3, padding=1)
    b.rescale(signed(8))
    program = b.raw()

    assert network_of(program, small_plan()).columns == 1
    image = compiled(program, small_plan())
    pixels = np.random.default_rng(0).integers(0, 256, program.input.shape)
    assert_golden(image, pixels, executed(image, pixels))
