"""Images and answers as bytes, and a host that never sends what the board has no room for."""

import random

import numpy as np
import pytest
from addax.common.errors import UserError
from addax.hdl.board.serial import BLOCK_RAM, Host, SerialFormat, classify
from addax.quant.formats import signed, unsigned
from hypothesis import given
from hypothesis import strategies as st

SMALL = SerialFormat(shape=(3, 2, 2), beat_bytes=6, words=3, word_bytes=2, score=signed(9))


def form_of(image_side):
    return SerialFormat(shape=(1, image_side, image_side), beat_bytes=1, words=2, word_bytes=1, score=signed(8))


def images_of(form, count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *form.shape), dtype=np.uint8)


def answers_of(form, images):
    """An answer that depends on every pixel."""
    sums = [int(image.sum()) for image in images]
    return b"".join(word.to_bytes(form.word_bytes, "little") for s in sums for word in (s % 100, 100 + s % 7))


class FakeBoard:
    """A port with a board behind it that answers late, gives its bytes in lumps, and says when it had no room."""

    def __init__(self, form, *, seed=0, lump=1000, silent_after=None):
        self.form, self.lump, self.silent_after = form, lump, silent_after
        self.rng = random.Random(seed)
        self.held, self.ready = b"", b"left over"
        self.most = self.answered = 0

    def send_break(self):
        self.held = b""

    def reset_input_buffer(self):
        self.ready = b""

    def write(self, data):
        self.held += data
        self.most = max(self.most, len(self.held))
        assert self.most <= self.form.room, "more than there is room for"

    def read(self, size):
        while not self.ready and len(self.held) >= self.form.image_bytes and self.answered != self.silent_after:
            image = np.frombuffer(self.held[: self.form.image_bytes], np.uint8)
            self.held = self.held[self.form.image_bytes :]
            self.ready += answers_of(self.form, [image])
            self.answered += 1
        data = self.ready[: min(size, self.rng.randint(1, self.lump))]
        self.ready = self.ready[len(data) :]
        return data


def test_pixels_go_row_by_row_with_their_channels_together():
    image = np.arange(12, dtype=np.uint8).reshape(1, 3, 2, 2)

    assert list(SMALL.pack(image)) == [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]


def test_answers_are_words_of_whole_bytes_with_the_class_last():
    data = bytes([0xFF, 0xFF, 0x00, 0x01, 0x02, 0x00]) + bytes([0xFF, 0x00, 0x00, 0xFF, 0x2C, 0x01])

    scores, classes = SMALL.unpack(data)

    assert scores.tolist() == [[-1, -256], [255, -256]]
    assert classes.tolist() == [2, 300]


def test_scores_that_are_all_positive_stay_so():
    form = SerialFormat(shape=(1, 1, 1), beat_bytes=1, words=2, word_bytes=1, score=unsigned(8))

    assert form.unpack(b"\xff\x01")[0].tolist() == [[255]]


@pytest.mark.parametrize("side, room, in_flight", [(4, 2048, 128), (16, 2048, 8), (32, 2048, 2), (33, 2178, 2)])
def test_there_is_room_for_whole_images_at_least_two(side, room, in_flight):
    form = form_of(side)

    assert (form.room, form.in_flight) == (room, in_flight)
    assert form.room >= max(BLOCK_RAM, form.in_flight * form.image_bytes)


@given(side=st.sampled_from([1, 16, 40]), count=st.integers(0, 30), lump=st.integers(1, 5), seed=st.integers(0, 99))
def test_a_host_gets_every_answer_and_never_sends_too_much(side, count, lump, seed):
    form = form_of(side)
    images, port = images_of(form, count, seed), FakeBoard(form, seed=seed, lump=lump)

    scores, classes = classify(port, form, images)

    expected = form.unpack(answers_of(form, images))
    assert scores.tolist() == expected[0].tolist() and classes.tolist() == expected[1].tolist()
    assert scores.shape == (count, 1)
    assert port.most == min(count, form.in_flight) * form.image_bytes, "the room is used"


def test_a_host_gives_the_next_image_only_for_a_whole_answer():
    form = form_of(40)
    host = Host(form, images_of(form, 4))

    assert len(host.give()) == 2 * form.image_bytes
    assert host.give() == b""
    host.take(b"\x01")
    assert host.give() == b"" and len(host.result()[1]) == 0
    host.take(b"\x02\x03")
    assert len(host.give()) == form.image_bytes and len(host.result()[1]) == 1
    assert host.missing == 5


def test_a_board_that_falls_silent_ends_in_one_line():
    form = form_of(40)

    with pytest.raises(UserError, match=r"^the board is silent after 3 of 9 images; its LEDs say why$"):
        classify(FakeBoard(form, silent_after=3), form, images_of(form, 9))


def test_more_answers_than_images_end_in_one_line():
    host = Host(SMALL, images_of(SMALL, 1))

    with pytest.raises(UserError, match="the board sent 1 bytes more than the answers to 1 images"):
        host.take(bytes(7))


def test_images_of_another_shape_are_refused():
    with pytest.raises(UserError, match=r"images must be \(N, 3, 2, 2\) of uint8, not \(1, 2, 2, 3\) of uint8"):
        Host(SMALL, np.zeros((1, 2, 2, 3), np.uint8))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"beat_bytes": 5}, "an image of 12 bytes is not made of beats of 5"),
        ({"beat_bytes": 0}, "beat_bytes must be a positive integer, not 0"),
        ({"word_bytes": 1}, "scores of 9 bits do not fit words of 1 bytes"),
    ],
)
def test_formats_that_cannot_be_are_refused(change, message):
    values = {"shape": (3, 2, 2), "beat_bytes": 6, "words": 3, "word_bytes": 2, "score": signed(9)}

    with pytest.raises(ValueError, match=message):
        SerialFormat(**{**values, **change})
