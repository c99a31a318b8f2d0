# amaranth: UnusedElaboratable=no
"""Stimulus and expected words: pixels packed row by row, scores extended by their sign, then the class."""

import numpy as np
import pytest
from addax.hdl.folder.vectors import hex_lines, sample_vectors
from addax.hdl.interface import expected_beats, pack_pixels
from addax.quant.formats import signed
from addax.quant.program import Requantise
from hypothesis import given
from hypothesis import strategies as st
from networks import Builder, random_program


def test_pixels_are_packed_row_by_row_with_channel_0_lowest():
    images = np.arange(2 * 3 * 2 * 2, dtype=np.uint8).reshape(2, 3, 2, 2)

    words = [int(word) for word in pack_pixels(images)]

    assert words[:4] == [0x080400, 0x090501, 0x0A0602, 0x0B0703]
    assert words[4] == 0x14100C


@given(
    count=st.integers(0, 3), channels=st.integers(1, 12), height=st.integers(1, 4), width=st.integers(1, 4),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_any_images_can_be_read_back_from_their_words(count, channels, height, width, seed):
    """Also more than eight channels, whose words no machine integer holds."""
    images = np.random.default_rng(seed).integers(0, 256, (count, channels, height, width), dtype=np.uint8)

    words = pack_pixels(images)

    assert len(words) == count * height * width
    for k, word in enumerate(int(word) for word in words):
        image, y, x = k // (height * width), k // width % height, k % width
        assert list(word.to_bytes(channels, "little")) == images[image, :, y, x].tolist()


def test_expected_beats_are_scores_extended_by_their_sign_then_the_class(built):
    program = built(1).program
    bits = program.score_format.bits
    scores = np.array([[-1, 5, 5, -7, 0], [program.score_format.lo, -2, -3, -4, -2]])[:, : program.classes]
    top = (1 << bits) - 1

    beats = expected_beats(program, scores)

    assert beats == [
        *[top, 5, 5, top - 6, 0], 1 << bits | 1,
        *[1 << (bits - 1), top - 1, top - 2, top - 3, top - 1], 1 << bits | 1,
    ]  # fmt: skip


def test_narrow_scores_are_extended_to_whole_bytes():
    """12-bit scores stand in 16-bit beats."""
    b = Builder(np.random.default_rng(0), (1, 1, 1))
    b.convolution("adder", 2)
    b.emit(
        Requantise(
            name="scores", source=b.last, multiplier=np.array([1, 1]), offset=np.array([0, 0]), shift=0,
            format=signed(12), lo=-2048, hi=2047,
        )
    )  # fmt: skip

    assert expected_beats(b.program(), np.array([[-1, -2048]])) == [0xFFFF, 0xF800, 0x10000]


@pytest.mark.parametrize("bits, words, text", [(9, [0x1FF, 0], "1ff\n000\n"), (8, [7], "07\n"), (1, [1], "1\n")])
def test_words_are_written_in_as_many_digits_as_their_bits_need(bits, words, text):
    assert hex_lines(words, bits) == text


def test_sample_vectors_are_images_of_the_program_and_repeatable():
    program = random_program(1)

    vectors = sample_vectors(program, 5, 3)

    assert vectors.dtype == np.uint8 and vectors.shape == (5, *program.input.shape)
    assert np.array_equal(vectors, sample_vectors(program, 5, 3))
    assert not np.array_equal(vectors, sample_vectors(program, 5, 4))
    many = sample_vectors(program, 200)
    assert many.min() < 10 and many.max() > 245
