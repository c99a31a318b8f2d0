# amaranth: UnusedElaboratable=no
"""Inputs of any format: how they are packed, and pipelines that read them equal the golden model."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from addax.common.errors import UserError
from addax.hdl.board.serial import SerialFormat
from addax.hdl.dataflow.build import bind
from addax.hdl.dataflow.control_map import build_identity
from addax.hdl.dataflow.planning import fold as planning
from addax.hdl.dataflow.reload import check_fits
from addax.hdl.folder.vectors import sample_vectors
from addax.hdl.interface import Interface, expected_beats, pack_pixels, stream_bytes
from addax.quant import golden
from addax.quant.formats import signed, unsigned
from addax.quant.program import Flatten, MaxPool
from inputs import FIRST, FORMATS, values_for, with_input
from networks import Builder, random_plan
from pipelines import run_pipeline

FEW = [(signed(8), "adder"), (unsigned(4), "threshold"), (signed(12), "requantise"), (unsigned(16), "mult")]
"""Of all formats and first operations, one for each format: below a second each."""


def equal(program, *, pixels=1, **how):
    plan = replace(random_plan(program, 1, **how), pixels=pixels)
    values = values_for(program, 4)

    beats, _ = run_pipeline(program, plan, values)

    assert [int(beat) for beat in beats] == expected_beats(program, golden.run(program, values).output, plan.outputs)


def ids(value):
    return str(value)


@pytest.mark.parametrize(("fmt", "first"), FEW, ids=ids)
def test_pipeline_reads_the_format(fmt, first):
    """Elements without a byte of their own, with a sign, with more than a byte; the extremes are common in them."""
    equal(with_input(fmt, first))


@pytest.mark.slow
@pytest.mark.parametrize(("fmt", "first"), list(product(FORMATS, FIRST)), ids=ids)
def test_pipeline_reads_every_format_by_every_operation(fmt, first):
    """Every kind of stage meets the input of every format."""
    equal(with_input(fmt, first))


@pytest.mark.slow
@pytest.mark.parametrize("fmt", FORMATS, ids=ids)
@pytest.mark.parametrize(("shape", "pixels"), [((2, 4, 4), 4), ((6, 1, 1), 1), ((6, 1, 5), 5)], ids=ids)
def test_pipeline_reads_several_pixels_features_and_tokens(fmt, shape, pixels):
    equal(with_input(fmt, "adder", shape=shape), pixels=pixels)
    equal(with_input(fmt, "mult", shape=shape), pixels=pixels, fixed_weights=True)


@pytest.mark.slow
@pytest.mark.parametrize("fmt", [signed(32), unsigned(32), unsigned(20)], ids=ids)
@pytest.mark.parametrize("pooled", [True, False])
def test_pipeline_reads_more_bits_than_kernels_do(fmt, pooled):
    """Pools and requantises hold any width."""
    b = Builder(np.random.default_rng(0), (2, 4, 4), fmt)
    if pooled:
        b.emit(MaxPool(name="pool", source=b.last, size=2, stride=1, padding=1))
    b.requantise(signed(7))
    b.convolution("adder", 3)
    b.requantise(unsigned(4))
    b.emit(Flatten(name="flatten", source=b.last))
    b.convolution("mult", 3)
    b.requantise(None, scores=True)
    equal(b.program())


def test_first_bits_of_images_may_be_compared_by_a_binary_layer():
    b = Builder(np.random.default_rng(0), (2, 3, 3), unsigned(1))
    b.convolution("xnor", 3, 3)
    b.requantise(None, scores=True)
    equal(b.program())


# Packing


@pytest.mark.parametrize(
    ("fmt", "values", "said"),
    [
        (unsigned(4), [0, 15], [0, 15]), (signed(8), [-128, 127], [0x80, 0x7F]), (signed(3), [-4, 3], [0xFC, 3]),
        (signed(12), [-2048, 5], [0x00, 0xF8, 5, 0]), (unsigned(16), [65534, 1], [0xFE, 0xFF, 1, 0]),
        (signed(20), [-2, 1], [0xFE, 0xFF, 0xFF, 1, 0, 0]),
        (unsigned(32), [2**32 - 2, 1], [254, 255, 255, 255, 1, 0, 0, 0]),
    ],
    ids=ids,
)  # fmt: skip
def test_elements_take_whole_bytes_extended_by_their_sign(fmt, values, said):
    """As those of a raw result do."""
    images = np.array(values).reshape(1, 2, 1, 1)

    assert stream_bytes(images, fmt).tolist() == [said]
    assert [int(word) for word in pack_pixels(images, fmt=fmt)] == [int.from_bytes(bytes(said), "little")]


def test_serial_line_carries_the_same_bytes():
    form = SerialFormat(shape=(2, 1, 2), beat_bytes=4, words=3, word_bytes=2, score=signed(9), pixel=signed(12))
    images = np.array([[[[-2048, 7]], [[1, -1]]]])

    assert form.pack(images) == bytes([0, 0xF8, 1, 0, 7, 0, 0xFF, 0xFF]) and form.image_bytes == 8
    assert form.to_json()["pixel"] == {"bits": 12, "signed": True}
    for wrong in (images * 2, images.astype(float), images[0]):
        with pytest.raises(UserError, match=r"images must be \(N, 2, 1, 2\) of int12, not"):
            form.pack(wrong)


def test_bench_without_a_data_set_reaches_the_whole_format():
    """Else a sign that is lost would not be seen in it."""
    program = with_input(signed(12), "mult", shape=(3, 32, 32))
    values = sample_vectors(program, 8)

    assert golden.run(program, values).output.shape[0] == 8
    assert values.min() < -2000 and values.max() > 2000


def test_beats_are_as_wide_as_their_elements_need():
    program = with_input(signed(12), "mult")
    interface = Interface(program=program, pixels=4)

    assert interface.data_in == 16 * 2 * 4
    assert interface.input_layout["bits"] == 16
    assert interface.input_layout["element"] == {"bits": 12, "signed": True}


@pytest.mark.parametrize(("fmt", "pixels"), [(unsigned(8), 64), (unsigned(9), 32), (unsigned(20), 16)], ids=ids)
def test_a_port_holds_fewer_pixels_of_more_bytes(fmt, pixels):
    """It has 64 bytes at most."""
    assert planning._pixels(with_input(fmt, "threshold", shape=(1, 8, 8)), 1) == pixels


# Other weights


def test_another_format_of_the_input_is_another_build():
    """Hardware that reads 12 bits with a sign must not be handed weights for 16 without."""
    programs = [with_input(fmt, "threshold") for fmt in (signed(12), unsigned(12), unsigned(16))]
    plans = [random_plan(program, 0) for program in programs]

    for one, other in product(range(3), repeat=2):
        if one != other:
            with pytest.raises(UserError, match="another input"):
                check_fits(programs[other], programs[one], plans[one])
    identities = {build_identity(p, bind(p, plan), plan, ()) for p, plan in zip(programs, plans, strict=True)}
    assert len(identities) == 3
