# amaranth: UnusedElaboratable=no
"""The stream contract of every stream block, proved for any input at any time.

No beat is lost, doubled, reordered or changed; a stalled output holds its beat; what has gone in comes out within a
bound once the way is free. The contract is a queue of parts written here: what enters is appended, what leaves must be
its head. Payloads of a bit or two suffice, since no block looks at them; the sizes of the blocks are swept. A packet
has a contract of its own. All are proved by temporal induction.
"""

from dataclasses import replace

import pytest
from addax.hdl.lanes.array import KernelArray
from addax.hdl.lanes.shape import ArrayShape
from addax.hdl.streams.convert import Narrow, Widen
from addax.hdl.streams.packet import Packet
from addax.hdl.streams.queue import Queue
from addax.quant.formats import signed, unsigned
from amaranth.hdl import Array, Assert, Assume, Cat, Const, Module, Mux, ResetSignal, Shape, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from collisions import submodule_without_collisions
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
        dut = self.dut
        submodule_without_collisions(m, dut, platform)
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
        if isinstance(dut, Queue) and dut.block:
            # What came in the cycle before is on its way out of the memory.
            fresh = Signal()
            m.d.sync += fresh.eq(taken)
            m.d.comb += Assert(dut.o.valid == (count > fresh))
        elif self.latency == 1:
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


@pytest.mark.parametrize("depth, block", [(1, False), (2, False), (3, False), (2, True), (3, True)])
def test_queue(tmp_path, depth, block):
    """Capacity, order and pace in lookup tables; in block RAM a beat comes a cycle later, and no read meets a write."""
    dut = Queue(1, depth=depth, block=block)
    contract = Contract(dut, enters=parts(1, 1), leaves=parts(1, 1), capacity=depth, latency=1)
    found = reached_violation(contract, tmp_path)
    assert found is None, found


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

        # A score that came is offered in the next cycle, and the next one is taken as it leaves.
        raw, full = Signal(self.fmt.bits), Signal()
        with m.If(dut.i.ready):
            m.d.sync += [raw.eq(self.data), full.eq(self.valid)]
        score = raw.as_signed() if self.fmt.signed else raw
        slots = [Signal(score.shape(), name=f"slot{k}") for k in range(dut.classes)]
        count = Signal(range(dut.classes + 1))
        complete = count == dut.classes
        m.d.comb += [
            Assert(dut.i.ready == (~full | (dut.o.ready & ~complete))), Assert(dut.o.valid == (full | complete)),
        ]  # fmt: skip
        m.d.comb += [Assert(dut.o.payload.last == complete), Assert(count <= dut.classes)]
        with m.If(complete):
            for k, slot in enumerate(slots):
                wins = [slot > other for other in slots[:k]] + [slot >= other for other in slots[k + 1 :]]
                m.d.comb += Assert((dut.o.payload.value == k) == Cat(wins).all())
        with m.Elif(full):
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
    """A packet of two classes in which class 0 loses every tie: its scores grow by a bit that only the other has."""

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
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += later.eq(~later)
        return m


@pytest.mark.parametrize("dut, fmt", [
    (Unfair(score=signed(2), classes=2), signed(2)),
    (Packet(score=unsigned(8), classes=2), signed(8)),
], ids=["ties", "signs"])  # fmt: skip
def test_a_packet_with_the_wrong_class_is_found(tmp_path, dut, fmt):
    """Protects the proof: a tie that goes to the later class, and signed scores compared as if they had no sign."""
    trace = violation(PacketContract(dut, fmt), tmp_path, most=20)
    assert trace is not None
