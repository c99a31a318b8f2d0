# amaranth: UnusedElaboratable=no
"""The contract of a window, proved by reachability for any pixels, pauses and ``go``, however many come."""

from dataclasses import replace

import pytest
from addax.hdl.maps.banks import Turn
from addax.hdl.maps.window import WindowBuffer
from addax.hdl.maps.window_shape import WindowShape
from amaranth.hdl import Array, Assert, Assume, Cat, Module, Mux, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from collisions import submodule_without_collisions
from marks import guarded_but
from prove import reached_violation


class WindowContract(wiring.Component):
    """A window, any pixels, pauses and ``go``, and all pixels that came in, by image and place.

    Every step that leaves is the next one of the plain definition, and all its pixels have come in; so no row is
    written over before its last use. No word is read while it is written. A group begins only when ``go`` is up and
    then does not pause. While pixels and ``go`` are there, nothing stands still for longer than the padding takes.
    """

    def __init__(self, dut):
        self.dut = dut
        s = dut.shape
        word = s.simd * s.bits
        super().__init__({"data": In(word), "pads": In(s.chunks * word), "valid": In(1), "go": In(1)})

    def steps(self, image):
        """What an image's steps are: x, the beats that must have come, whether a group begins or ends with it."""
        s = self.dut.shape
        (kh, kw), (dh, dw), (top, left, bottom, right) = s.kernel, s.dilations, s.pads
        beats = s.channels // s.simd
        part = beats // s.segments
        own = [range(k * part, (k + 1) * part) for k in range(s.segments)]
        result = []
        for y in range(-top, s.height + bottom - (kh - 1) * dh, s.strides[0]):
            for x in range(-left, s.width + right - (kw - 1) * dw, s.strides[1]):
                for group in range(s.groups):
                    places = [
                        [
                            (y + (ky + line) * dh, x + (kx + tap) * dw, beat)
                            for line in range(s.lines) for tap in range(s.taps)
                        ]
                        for ky in range(0, kh, s.lines) for kx in range(0, kw, s.taps)
                        for beat in own[group * s.segments // s.groups]
                    ]  # fmt: skip
                    for k, step in enumerate(places):
                        words, came = [], 0
                        for row, column, beat in step:
                            if 0 <= row < s.height and 0 <= column < s.width:
                                place = (row * s.width + column) * beats + beat
                                words.append(image[place])
                                came = max(came, place + 1)
                            else:
                                words.append(self.pads.word_select(beat, s.simd * s.bits))
                        result.append((Cat(words), came, k == 0, k == len(places) - 1))
        return result

    def elaborate(self, platform):
        m = Module()
        dut = self.dut
        submodule_without_collisions(m, dut, platform)
        s = dut.shape
        m.d.comb += [
            dut.i.payload.as_value().eq(self.data), dut.i.valid.eq(self.valid), dut.go.eq(self.go),
            dut.pad.eq(self.pads.word_select(dut.pad_address, len(self.data))),
        ]  # fmt: skip
        m.d.comb += Assume(~ResetSignal())
        running, pads = Signal(), Signal.like(self.pads)
        m.d.sync += [running.eq(1), pads.eq(self.pads)]
        m.d.comb += Assume(~running | (self.pads == pads))

        # Pixels that came in. `ahead` counts the images that are complete here and have not left; -1 when an image has
        # left before the rows came that its stride leaves over.
        beats = s.height * s.width * s.channels // s.simd
        on_the_way = (s.latency - 1) // (s.padded_width * beats // s.height // s.width)
        count = -(-(s.rows + on_the_way) // s.used_height) + 1
        images = [[Signal(len(self.data), name=f"image{n}_{k}") for k in range(beats)] for n in range(count)]
        writing, reading = Signal(range(count)), Signal(range(count))
        came, ahead = Signal(range(beats)), Signal(range(-1, count))
        taken = dut.i.valid & dut.i.ready
        image_taken = taken & (came == beats - 1)
        with m.If(taken):
            m.d.sync += came.eq(Mux(image_taken, 0, came + 1))
            for n, image in enumerate(images):
                for k, beat in enumerate(image):
                    with m.If((writing == n) & (came == k)):
                        m.d.sync += beat.eq(self.data)
        with m.If(image_taken):
            m.d.sync += writing.eq(Mux(writing == count - 1, 0, writing + 1))

        # Steps that leave.
        definition = [self.steps(image) for image in images]
        step = Signal(range(len(definition[0])))
        _, needs, firsts, lasts = zip(*definition[0], strict=True)
        image_left = dut.valid & (step == len(needs) - 1)
        with m.If(dut.valid):
            m.d.sync += step.eq(Mux(image_left, 0, step + 1))
            m.d.comb += Assert((ahead > 0) | ((ahead == 0) & (came >= Array(needs)[step])))
            m.d.comb += [Assert(dut.first == Array(firsts)[step]), Assert(dut.last == Array(lasts)[step])]
            for n, steps in enumerate(definition):
                with m.If(reading == n):
                    m.d.comb += Assert(dut.x == Array(x for x, *_ in steps)[step])
        with m.If(image_left):
            m.d.sync += reading.eq(Mux(reading == count - 1, 0, reading + 1))
        m.d.sync += ahead.eq(ahead + image_taken - image_left)
        m.d.comb += Assert((ahead < count - 1) | ~image_taken | image_left)

        # A group's steps follow its begin, one per cycle.
        length = s.kernel[0] * s.kernel[1] // s.taps // s.lines * s.channels // s.simd // s.segments
        left = Signal(range(length))
        line = Signal(s.latency)
        with m.If(dut.begin):
            m.d.comb += [Assert(self.go), Assert(left == 0)]
            m.d.sync += left.eq(length - 1)
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)
        m.d.sync += line.eq(Cat(dut.begin | (left != 0), line))
        m.d.comb += Assert(dut.valid == line[-1])

        # Something happens.
        idle = Signal(range(s.longest_pause + 2))
        with m.If(taken | ~self.valid | dut.begin | ~self.go | (left != 0)):
            m.d.sync += idle.eq(0)
        with m.Else():
            m.d.sync += idle.eq(idle + 1)
        m.d.comb += Assert(idle <= s.longest_pause)
        return m


TINY = WindowShape(
    channels=1, height=3, width=2, kernel=(2, 2), stride=1, padding=0, bits=1, simd=1, taps=1, lines=1,
    groups=1, segments=1, rows=3,
)  # fmt: skip

WINDOWS = {
    "plain": {},
    "padding": {"height": 1, "width": 1, "padding": 1},
    "padding of two channels": {"channels": 2, "height": 1, "width": 1, "padding": 1},
    "more padding than image": {"height": 1, "width": 1, "kernel": (1, 1), "padding": 1, "rows": 2},
    "a stride less than the window": {"height": 5, "width": 1, "kernel": (3, 1), "stride": 2, "rows": 4},
    "a stride as large as the window": {"height": 4, "width": 1, "kernel": (2, 1), "stride": 2},
    "a stride beyond the window": {"height": 4, "width": 1, "kernel": (1, 1), "stride": 3},
    "rows and columns left over": {"width": 3, "stride": 2},
    "rows left over while the ring is full": {"height": 2, "width": 1, "kernel": (1, 1), "stride": 2, "rows": 2},
    "rows of one step": {"height": 3, "width": 1, "kernel": (1, 1), "rows": 2},
    "rows to spare": {"height": 2, "rows": 4},
    "two beats per pixel": {"channels": 2, "height": 2},
    "two channels per beat": {"channels": 2, "simd": 2},
    "two groups": {"groups": 2},
    "own channels only": {"channels": 2, "groups": 2, "segments": 2},
    "two filters of own channels": {
        "channels": 2,
        "height": 2,
        "width": 1,
        "kernel": (1, 1),
        "groups": 4,
        "segments": 2,
    },
    "all rows": {"width": 1, "kernel": (2, 1), "lines": 2, "rows": 4},
    "all rows, at every second one": {"height": 4, "width": 1, "kernel": (2, 1), "stride": 2, "lines": 2, "rows": 4},
    "all rows and all taps": {"height": 2, "width": 3, "lines": 2, "taps": 2, "rows": 4},
    "all taps": {"width": 3, "taps": 2},
    "all taps, at every second column": {"height": 2, "width": 4, "stride": 2, "taps": 2},
    "all taps, with padding": {"height": 1, "width": 2, "kernel": (1, 2), "padding": 1, "taps": 2, "rows": 2},
    "all taps of two beats": {"channels": 2, "height": 2, "kernel": (1, 2), "taps": 2, "rows": 2},
    "strides that differ": {"width": 3, "stride": (1, 2)},
    "pads that differ": {"height": 1, "width": 1, "padding": (1, 0, 0, 1)},
    "spaced rows": {"height": 4, "width": 1, "kernel": (2, 1), "dilation": 2, "rows": 4},
    "spaced columns": {"height": 2, "width": 4, "kernel": (1, 2), "dilation": 2, "rows": 2},
    "spaced rows, all at once": {"height": 5, "width": 1, "kernel": (2, 1), "dilation": 2, "lines": 2, "rows": 4},
    "spaced columns, all at once": {
        "height": 1,
        "width": 5,
        "kernel": (1, 2),
        "dilation": 2,
        "taps": 2,
        "rows": 2,
    },
    "three taps": {"height": 2, "width": 4, "kernel": (1, 3), "taps": 3, "rows": 2},
}
SLOW_WINDOWS = {
    "three taps, at every second column": {
        "height": 2, "width": 5, "kernel": (1, 3), "stride": 2, "taps": 3, "rows": 2,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", [
    *guarded_but(
        WINDOWS, "plain", "padding", "a stride beyond the window", "all rows, at every second one",
        "all taps of two beats", "spaced rows",
    ),
    *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW_WINDOWS),
])  # fmt: skip
def test_window(tmp_path, name):
    """Any images, pauses and ``go``, as many as come: each step is that of the plain definition, none is lost.

    Proved for ever, not up to a bound, at one bit per channel; the padding may be any constant.
    """
    shape = replace(TINY, **(WINDOWS | SLOW_WINDOWS)[name])
    found = reached_violation(WindowContract(WindowBuffer(shape)), tmp_path)
    assert found is None, found


class Miscounted:
    """An account of rows as one side sees it that takes them for ``more`` than they are."""

    def __init__(self, rows, more):
        self.level, self.row_done, self.rows_freed = rows.level + more, rows.row_done, rows.rows_freed


class Miscounting(WindowBuffer):
    """A window whose sides take the ring to hold more or fewer complete rows than it does."""

    def __init__(self, shape, *, written, read):
        super().__init__(shape)
        self.written, self.read = written, read

    def _write_side(self, m, ports, rows):
        super()._write_side(m, ports, Miscounted(rows, self.written))

    def _read_side(self, m, ports, rows):
        super()._read_side(m, ports, Miscounted(rows, self.read))


@pytest.mark.parametrize("written, read", [(-1, 0), (0, 1), (1, -1)], ids=["written over", "read early", "stuck"])
def test_a_window_that_miscounts_its_rows_is_found(tmp_path, written, read):
    """Protects the proof: a row written over before its last use, one read too early, and a standstill."""
    contract = WindowContract(Miscounting(TINY, written=written, read=read))
    assert reached_violation(contract, tmp_path) is not None


@pytest.mark.parametrize("name", ["spaced rows, all at once", "spaced columns, all at once"])
def test_a_window_that_takes_the_wrong_bank_is_found(tmp_path, monkeypatch, name):
    """Protects the proof: taps that do not touch, read from the banks and places of their neighbours."""
    shape, right = replace(TINY, **WINDOWS[name]), Turn.after

    def wrong(turn, distance):
        _, place, shift, wraps = right(turn, distance)
        return turn.value, place, shift, wraps

    monkeypatch.setattr(Turn, "after", wrong)
    assert reached_violation(WindowContract(WindowBuffer(shape)), tmp_path) is not None


def test_a_window_that_has_no_time_to_look_ahead_is_found(tmp_path, monkeypatch):
    """Protects the proof: where a row of output pixels is one step, the next window's place comes too late out of a
    register."""
    monkeypatch.setattr(WindowShape, "row_reads", 2)
    shape = replace(TINY, **WINDOWS["rows of one step"])
    assert reached_violation(WindowContract(WindowBuffer(shape)), tmp_path) is not None


def test_a_window_that_reads_what_it_writes_is_found(tmp_path, monkeypatch):
    """Protects the proof: a row of one word is written over while it is read, so its memory needs the old word."""
    monkeypatch.setattr(WindowShape, "overlaps", False)
    shape = replace(TINY, **WINDOWS["a stride beyond the window"])
    assert reached_violation(WindowContract(WindowBuffer(shape)), tmp_path) is not None


def test_a_window_with_swapped_padding_is_found(tmp_path):
    """Protects the proof: padding is any constant, so that no channel may get another's."""

    class Swapped(WindowBuffer):
        def elaborate(self, platform):
            m = Module()
            m.submodules.inner = inner = WindowBuffer(self.shape)
            for name in ("pad", "go"):
                m.d.comb += getattr(inner, name).eq(getattr(self, name))
            for name in ("begin", "x", "valid", "first", "last"):
                m.d.comb += getattr(self, name).eq(getattr(inner, name))
            wiring.connect(m, wiring.flipped(self.i), inner.i)
            m.d.comb += self.pad_address.eq(~inner.pad_address)
            return m

    shape = replace(TINY, **WINDOWS["padding of two channels"])
    assert reached_violation(WindowContract(Swapped(shape)), tmp_path) is not None
