# amaranth: UnusedElaboratable=no
"""The packet: scores unchanged, then the lowest index of the largest, with last on it."""

import random
from functools import partial

import pytest
import streaming
from addax.hdl.streams.packet import Packet, RawPacket
from addax.quant.formats import Format, signed, unsigned
from hypothesis import given
from hypothesis import strategies as st

transfer = partial(streaming.transfer, settle=1, limit=10_000)


def naive_packets(scores, width):
    """Payload bits: the value on ``width`` bits, last above."""
    beats = []
    for row in scores:
        beats += [score & ((1 << width) - 1) for score in row]
        beats.append(1 << width | row.index(max(row)))
    return beats


def run_packet(fmt, scores, **how):
    dut = Packet(score=fmt, classes=len(scores[0]))
    words = [score & ((1 << fmt.bits) - 1) for row in scores for score in row]
    beats, cycles = transfer(dut, words, count=len(scores) * (len(scores[0]) + 1), **how)
    return dut, beats, cycles


@given(
    fmt=st.builds(Format, bits=st.integers(2, 33), signed=st.booleans()), classes=st.integers(1, 12),
    images=st.integers(1, 6), few=st.booleans(), pause_in=st.sampled_from([0.0, 0.4]),
    pause_out=st.sampled_from([0.0, 0.4, 0.8]), seed=st.integers(0, 999),
)  # fmt: skip
def test_packets_hold_the_scores_and_the_first_of_the_largest(
    fmt, classes, images, few, pause_in, pause_out, seed
):  # fmt: skip
    """Ties, negative scores, extremes, any pauses; no packet leaves a trace in the next."""
    rng = random.Random(seed)
    choices = [fmt.lo, fmt.lo + 1, fmt.hi - 1, fmt.hi] if few else None
    scores = [
        [rng.choice(choices) if few else rng.randint(fmt.lo, fmt.hi) for _ in range(classes)] for _ in range(images)
    ]

    dut, beats, _ = run_packet(fmt, scores, pause_in=pause_in, pause_out=pause_out, seed=seed)

    assert dut.width == (fmt.bits + 7) // 8 * 8
    assert beats == naive_packets(scores, dut.width)


@pytest.mark.parametrize(
    "scores, winner",
    [
        ([5, 5, 5], 0),
        ([-3, 7, 7], 1),
        ([-128, -128], 0),
        ([-5, -4, -4, -9], 1),
        ([127, -128, 127], 0),
        ([-1], 0),
        ([0, -1, 1], 2),
    ],
)
def test_the_lowest_index_wins_a_tie(scores, winner):
    _, beats, _ = run_packet(signed(8), [scores])

    assert beats[-1] == 1 << 8 | winner


def test_the_best_of_one_image_does_not_outlive_it():
    """An image whose scores are all worse than the last one's still gets its own class."""
    _, beats, _ = run_packet(signed(8), [[100, 120, 0], [-9, -8, -7]])

    assert [beat & 0xFF for beat in beats[3::4]] == [1, 2]


@pytest.mark.parametrize(
    "fmt, width, score, value",
    [
        (signed(5), 8, -1, 0xFF),
        (signed(9), 16, -256, 0xFF00),
        (unsigned(9), 16, 511, 0x01FF),
        (signed(16), 16, -2, 0xFFFE),
        (unsigned(8), 8, 200, 200),
    ],
)
def test_scores_are_extended_by_their_sign_to_whole_bytes(fmt, width, score, value):
    dut, beats, _ = run_packet(fmt, [[score]])

    assert dut.width == width
    assert beats == [value, 1 << width]


def test_only_the_class_carries_last():
    _, beats, _ = run_packet(signed(8), [[3, -1, 4]] * 5, pause_in=0.5, pause_out=0.5)

    assert [beat >> 8 for beat in beats] == [0, 0, 0, 1] * 5


@pytest.mark.parametrize("classes", [1, 2, 3, 10])
def test_a_packet_takes_one_cycle_more_than_its_scores(classes):
    """A score leaves in the cycle after the one in which it comes, the class in the cycle after the last."""
    scores = [list(range(classes))] * 6

    _, _, cycles = run_packet(signed(8), scores)

    assert cycles == list(range(1, 6 * (classes + 1) + 1))


def test_a_class_has_room_in_its_beat():
    """300 classes with scores of one byte: the class must not lose its upper bits."""
    scores = [0] * 299 + [1]

    dut, beats, _ = run_packet(signed(8), [scores])

    assert beats[-1] & ((1 << dut.width) - 1) == 299


@given(
    fmt=st.builds(Format, bits=st.integers(1, 33), signed=st.booleans()), count=st.integers(1, 5),
    beats=st.integers(2, 7), images=st.integers(1, 4), pause_in=st.sampled_from([0.0, 0.4]),
    pause_out=st.sampled_from([0.0, 0.4, 0.8]), seed=st.integers(0, 999),
)  # fmt: skip
def test_raw_packets_hold_every_element_in_whole_bytes(
    fmt, count, beats, images, pause_in, pause_out, seed
):  # fmt: skip
    """Signs, extremes, several elements per beat, last with the last beat of every image, any pauses."""
    rng = random.Random(seed)
    each = -(-fmt.bits // 8) * 8
    values = [rng.choice([fmt.lo, fmt.hi, rng.randint(fmt.lo, fmt.hi)]) for _ in range(images * beats * count)]

    def words(bits):
        masked = [value & ((1 << bits) - 1) for value in values]
        return [
            sum(v << (k * bits) for k, v in enumerate(masked[at : at + count])) for at in range(0, len(masked), count)
        ]

    dut = RawPacket(element=fmt, count=count, beats=beats)
    received, _ = transfer(
        dut, words(fmt.bits), count=images * beats, pause_in=pause_in, pause_out=pause_out, seed=seed
    )  # fmt: skip

    assert dut.width == count * each
    expected = [word | (number % beats == beats - 1) << dut.width for number, word in enumerate(words(each))]
    assert received == expected
