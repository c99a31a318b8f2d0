# amaranth: UnusedElaboratable=no
"""The stream contract of every stream block, proved for any input at any time.

No beat is lost, doubled, reordered or changed; a stalled output holds its beat; what has gone in comes out within a
bound once the way is free. The contract is a queue of parts written here: what enters is appended, what leaves must be
its head. Payloads of a bit or two suffice, since no block looks at them; the sizes of the blocks are swept. A packet
and a window have contracts of their own. The window is proved by reachability, all else by temporal induction.
"""

from dataclasses import replace

import pytest
from addax.hdl.lanes.array import KernelArray
from addax.hdl.lanes.shape import ArrayShape
from addax.hdl.maps.turn import Turn
from addax.hdl.maps.window import Window
from addax.hdl.maps.window_shape import WindowShape
from addax.hdl.streams.convert import Narrow, Widen
from addax.hdl.streams.packet import Packet
from addax.hdl.streams.queue import Queue
from addax.quant.formats import signed, unsigned
from amaranth.hdl import Array, Assert, Assume, Cat, Const, Module, Mux, ResetSignal, Shape, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from marks import guarded
from prove import reached_violation, violation


def keeps_its_beat(m, port, value, check):
    """The source keeps a beat until it is taken, which is assumed; so must the block, which is asserted."""
    stalled, before = Signal(), Signal.like(value)
    # Nothing is remembered that is not needed: the fewer states there are, the shorter the induction.
    m.d.sync += [stalled.eq(port.valid & ~port.ready), before.eq(Mux(port.valid & ~port.ready, value, 0))]
    with m.If(stalled):
        m.d.comb += check(port.valid & (value == before))


class Contract(wiring.Component):
    """A block between an environment that keeps the rules of streams and a queue of at most ``capacity`` parts.

    ``enters(payload)`` gives the parts that a beat brings, ``leaves(payload)`` those that a beat takes, lowest first.
    A beat is there ``latency`` steps after its last part came, in a block that steps whenever its output is free; with
    1, the output is valid whenever enough parts are there. A queue also takes beats whenever it has room.
    """

    def __init__(self, dut, *, enters, leaves, capacity, latency):
        self.dut, self.enters, self.leaves = dut, enters, leaves
        self.capacity, self.latency = capacity, latency
        payload = dut.i.payload.as_value() if hasattr(dut.i.payload, "as_value") else dut.i.payload
        super().__init__({"data": In(len(payload)), "valid": In(1), "ready": In(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        raw = [
            port.payload.as_value() if hasattr(port.payload, "as_value") else port.payload for port in (dut.i, dut.o)
        ]
        m.d.comb += [raw[0].eq(self.data), dut.i.valid.eq(self.valid), dut.o.ready.eq(self.ready)]
        m.d.comb += Assume(~ResetSignal())

        keeps_its_beat(m, dut.i, raw[0], Assume)
        keeps_its_beat(m, dut.o, raw[1], Assert)

        incoming, outgoing = self.enters(raw[0]), self.leaves(raw[1])
        width = max(len(part) for part in incoming)
        slots = Array(Signal(width, name=f"slot{k}") for k in range(self.capacity + len(incoming)))
        count = Signal(range(self.capacity + len(incoming) + 1))
        taken, given = dut.i.valid & dut.i.ready, dut.o.valid & dut.o.ready

        if isinstance(dut, Queue):
            m.d.comb += Assert(dut.i.ready == (count < self.capacity))
        if self.latency == 1:
            m.d.comb += Assert(dut.o.valid == (count >= len(outgoing)))
        else:
            inside = Signal(self.latency)
            m.d.comb += [Assert(dut.o.valid == inside[-1]), Assert(count == sum(inside[k] for k in range(len(inside))))]
            with m.If(~dut.o.valid | dut.o.ready):
                m.d.sync += inside.eq(Cat(taken, inside))
        with m.If(dut.o.valid):
            m.d.comb += Assert(count >= len(outgoing))
            for k, part in enumerate(outgoing):
                m.d.comb += Assert(part == slots[k])
        m.d.comb += Assert(count <= self.capacity)

        left = count - Mux(given, len(outgoing), 0)
        m.d.sync += count.eq(left + Mux(taken, len(incoming), 0))
        moved = [Mux(given, slots[k + len(outgoing)] if k + len(outgoing) < len(slots) else 0, slots[k])
                 for k in range(len(slots))]  # fmt: skip
        for k, slot in enumerate(slots):
            m.d.sync += slot.eq(moved[k])
            for j, part in enumerate(incoming):
                with m.If(taken & (left + j == k)):
                    m.d.sync += slot.eq(part)
        return m


def parts(count, bits):
    return lambda payload: [payload.word_select(k, bits) for k in range(count)]


def prove(folder, dut, *, enters, leaves, capacity, latency=1, most=40):
    contract = Contract(dut, enters=enters, leaves=leaves, capacity=capacity, latency=latency)
    found = violation(contract, folder, most=most)
    assert found is None, found


@pytest.mark.parametrize("depth", [1, 2])
def test_queue(tmp_path, depth):
    prove(tmp_path, Queue(1, depth=depth), enters=parts(1, 1), leaves=parts(1, 1), capacity=depth)


@pytest.mark.parametrize("count, factor", [(1, 2), (2, 2), (1, 3)])
def test_widen(tmp_path, count, factor):
    dut = Widen(bits=1, count=count, factor=factor)
    prove(
        tmp_path, dut, enters=parts(1, count), leaves=parts(factor, count), capacity=factor,
    )  # fmt: skip


@pytest.mark.parametrize("count, factor", [(1, 2), (2, 2), (1, 3)])
def test_narrow(tmp_path, count, factor):
    dut = Narrow(bits=1, count=count, factor=factor)
    prove(tmp_path, dut, enters=parts(factor, count), leaves=parts(1, count), capacity=factor)


class OneStep(wiring.Component):
    """An array of one binary lane whose groups have one step: a beat brings two bits and leaves as whether they are
    equal."""

    def __init__(self, ranks):
        one = unsigned(1)
        self.shape = ArrayShape(kernel="xnor", structure="count", pin=1, pout=1, x=one, w=one, ranks=ranks)
        super().__init__({"i": In(stream.Signature(2)), "o": Out(stream.Signature(1))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.array = array = KernelArray(self.shape, total=self.shape.total(1))
        m.d.comb += [
            array.i.payload.eq(Cat(self.i.payload, Const(0b11, 2))),
            array.i.valid.eq(self.i.valid),
            self.i.ready.eq(array.i.ready),
            self.o.payload.eq(array.o.payload.as_value()),
            self.o.valid.eq(array.o.valid),
            array.o.ready.eq(self.o.ready),
        ]
        return m


@pytest.mark.parametrize("ranks", [0, 1])
def test_kernel_array(tmp_path, ranks):
    dut = OneStep(ranks)
    latency = dut.shape.latency
    prove(
        tmp_path, dut, enters=lambda payload: [~(payload[0] ^ payload[1])], leaves=parts(1, 1), capacity=latency,
        latency=latency,
    )  # fmt: skip


class Leaky(Queue):
    """A queue that drops its beat when it is stalled for two cycles."""

    def elaborate(self, platform):
        m = Module()
        m.submodules.inner = inner = Queue(2, depth=2)
        tired = Signal()
        m.d.comb += [
            inner.i.payload.eq(self.i.payload), inner.i.valid.eq(self.i.valid), self.i.ready.eq(inner.i.ready),
            self.o.payload.eq(inner.o.payload), self.o.valid.eq(inner.o.valid),
            inner.o.ready.eq(self.o.ready | tired),
        ]  # fmt: skip
        m.d.sync += tired.eq(inner.o.valid & ~self.o.ready & ~tired)
        return m


def test_a_block_that_loses_a_beat_is_found(tmp_path):
    """Protects the proofs themselves."""
    contract = Contract(Leaky(2, depth=2), enters=parts(1, 2), leaves=parts(1, 2), capacity=2, latency=1)
    assert violation(contract, tmp_path, most=20) is not None


class PacketContract(wiring.Component):
    """A packet between an environment that keeps the rules of streams and all scores of the packet so far.

    The class is what the definition says of them: larger than all scores before, not smaller than those after.
    """

    def __init__(self, dut, fmt):
        self.dut, self.fmt = dut, fmt
        super().__init__({"data": In(fmt.bits), "valid": In(1), "ready": In(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        m.d.comb += [dut.i.payload.as_value().eq(self.data), dut.i.valid.eq(self.valid), dut.o.ready.eq(self.ready)]
        m.d.comb += Assume(~ResetSignal())
        keeps_its_beat(m, dut.i, self.data, Assume)
        keeps_its_beat(m, dut.o, dut.o.payload.as_value(), Assert)

        score = self.data.as_signed() if self.fmt.signed else self.data
        slots = [Signal(score.shape(), name=f"slot{k}") for k in range(dut.classes)]
        count = Signal(range(dut.classes + 1))
        complete = count == dut.classes
        m.d.comb += [Assert(dut.i.ready == (dut.o.ready & ~complete)), Assert(dut.o.valid == (dut.i.valid | complete))]
        m.d.comb += [Assert(dut.o.payload.last == complete), Assert(count <= dut.classes)]
        with m.If(complete):
            for k, slot in enumerate(slots):
                wins = [slot > other for other in slots[:k]] + [slot >= other for other in slots[k + 1 :]]
                m.d.comb += Assert((dut.o.payload.value == k) == Cat(wins).all())
        with m.Elif(dut.i.valid):
            extended = Signal(Shape(dut.width, signed=self.fmt.signed))
            m.d.comb += [extended.eq(score), Assert(dut.o.payload.value == extended.as_unsigned())]

        with m.If(dut.o.valid & dut.o.ready):
            m.d.sync += count.eq(Mux(complete, 0, count + 1))
            for k, slot in enumerate(slots):
                m.d.sync += slot.eq(Mux(complete, 0, Mux(count == k, score, slot)))
        return m


@pytest.mark.parametrize("classes", [1, 2, 3])
@pytest.mark.parametrize("fmt", [signed(2), unsigned(2)], ids=str)
def test_packet(tmp_path, fmt, classes):
    """Every score once and in order, then the lowest index of the largest, with last; no packet colours the next."""
    found = violation(PacketContract(Packet(score=fmt, classes=classes), fmt), tmp_path, most=40)
    assert found is None, found


class Unfair(Packet):
    """A packet in which class 0 loses every tie: its scores grow by a bit that only the others have."""

    def elaborate(self, platform):
        m = Module()
        wide = replace(self.score, bits=self.score.bits + 1)
        m.submodules.inner = inner = Packet(score=wide, classes=self.classes)
        later = Signal()
        value = inner.o.payload.value
        m.d.comb += [
            inner.i.payload.as_value().eq(Cat(later, self.i.payload.as_value())),
            inner.i.valid.eq(self.i.valid), self.i.ready.eq(inner.i.ready),
            self.o.payload.value.eq(Mux(inner.o.payload.last, value, value.as_signed() >> 1)),
            self.o.payload.last.eq(inner.o.payload.last),
            self.o.valid.eq(inner.o.valid), inner.o.ready.eq(self.o.ready),
        ]  # fmt: skip
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += later.eq(~self.o.payload.last)
        return m


@pytest.mark.parametrize("dut, fmt", [
    (Unfair(score=signed(2), classes=2), signed(2)),
    (Packet(score=unsigned(8), classes=2), signed(8)),
], ids=["ties", "signs"])  # fmt: skip
def test_a_packet_with_the_wrong_class_is_found(tmp_path, dut, fmt):
    """Protects the proof: a tie that goes to the later class, and signed scores compared as if they had no sign."""
    trace = violation(PacketContract(dut, fmt), tmp_path, most=20)
    assert trace is not None


class WindowContract(wiring.Component):
    """A window, any pixels, pauses and ``go``, and all pixels that came in, by image and place.

    Every step that leaves is the next one of the plain definition, and all its pixels have come in; so no row is
    written over before its last use. A group begins only when ``go`` is up and then does not pause. While pixels and
    ``go`` are there, nothing stands still for longer than the padding takes.
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
        m.submodules.dut = dut = self.dut
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
        count = -(-s.rows // s.used_height) + 1
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
    *guarded(
        WINDOWS, "all rows and all taps", "padding of two channels", "spaced rows, all at once",
        "spaced columns, all at once",
    ),
    *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW_WINDOWS),
])  # fmt: skip
def test_window(tmp_path, name):
    """Any images, pauses and ``go``, as many as come: each step is that of the plain definition, none is lost.

    Proved for ever, not up to a bound, at one bit per channel; the padding may be any constant.
    """
    shape = replace(TINY, **(WINDOWS | SLOW_WINDOWS)[name])
    found = reached_violation(WindowContract(Window(shape)), tmp_path)
    assert found is None, found


class Miscounted:
    """An account of rows as one side sees it that takes them for ``more`` than they are."""

    def __init__(self, rows, more):
        self.level, self.row_done, self.rows_freed = rows.level + more, rows.row_done, rows.rows_freed


class Miscounting(Window):
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
    assert reached_violation(WindowContract(Window(shape)), tmp_path) is not None


def test_a_window_with_swapped_padding_is_found(tmp_path):
    """Protects the proof: padding is any constant, so that no channel may get another's."""

    class Swapped(Window):
        def elaborate(self, platform):
            m = Module()
            m.submodules.inner = inner = Window(self.shape)
            for name in ("pad", "go"):
                m.d.comb += getattr(inner, name).eq(getattr(self, name))
            for name in ("begin", "x", "valid", "first", "last"):
                m.d.comb += getattr(self, name).eq(getattr(inner, name))
            wiring.connect(m, wiring.flipped(self.i), inner.i)
            m.d.comb += self.pad_address.eq(~inner.pad_address)
            return m

    shape = replace(TINY, **WINDOWS["padding of two channels"])
    assert reached_violation(WindowContract(Swapped(shape)), tmp_path) is not None
