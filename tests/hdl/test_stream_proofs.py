# amaranth: UnusedElaboratable=no
"""The stream contract of every stream block, proved by temporal induction for any input at any time.

No beat is lost, doubled, reordered or changed; a stalled output holds its beat; what has gone in comes out within a
bound once the way is free. The contract is a queue of parts written here: what enters is appended, what leaves must be
its head. Payloads of one or two bits suffice, since no block looks at them; the sizes of the blocks are swept.
"""

import pytest
from addax.hdl.lanes import ArrayShape, KernelArray
from addax.hdl.streams import Narrow, Queue, Widen
from addax.quant.formats import unsigned
from amaranth.hdl import Array, Assert, Assume, ClockSignal, Const, Module, Mux, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from prove import violation


class Contract(wiring.Component):
    """A block between an environment that keeps the rules of streams and a queue of at most ``capacity`` parts.

    ``enters(payload)`` gives the parts that a beat brings, ``leaves(payload)`` those that a beat takes, lowest first.
    With parts waiting and the output free, a beat leaves at the latest after ``patience`` cycles.
    """

    def __init__(self, dut, *, enters, leaves, capacity, patience):
        self.dut, self.enters, self.leaves = dut, enters, leaves
        self.capacity, self.patience = capacity, patience
        payload = dut.i.payload.as_value() if hasattr(dut.i.payload, "as_value") else dut.i.payload
        super().__init__({"data": In(len(payload)), "valid": In(1), "ready": In(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        raw = [port.payload.as_value() if hasattr(port.payload, "as_value") else port.payload for port in (dut.i, dut.o)]
        m.d.comb += [raw[0].eq(self.data), dut.i.valid.eq(self.valid), dut.o.ready.eq(self.ready)]
        m.d.comb += Assume(~ResetSignal())

        # The source keeps a beat until it is taken; so must the block.
        for port, value, check in ((dut.i, raw[0], Assume), (dut.o, raw[1], Assert)):
            stalled, before = Signal(), Signal.like(value)
            m.d.sync += [stalled.eq(port.valid & ~port.ready), before.eq(value)]
            with m.If(stalled):
                m.d.comb += check(port.valid & (value == before))

        incoming, outgoing = self.enters(raw[0]), self.leaves(raw[1])
        width = max(len(part) for part in incoming)
        slots = Array(Signal(width, name=f"slot{k}") for k in range(self.capacity + len(incoming)))
        count, waiting = Signal(range(self.capacity + len(incoming) + 1)), Signal(range(self.patience + 2))
        taken, given = dut.i.valid & dut.i.ready, dut.o.valid & dut.o.ready

        with m.If(dut.o.valid):
            m.d.comb += Assert(count >= len(outgoing))
            for k, part in enumerate(outgoing):
                m.d.comb += Assert(part == slots[k])
        m.d.comb += [Assert(count <= self.capacity), Assert(waiting <= self.patience)]

        left = count - Mux(given, len(outgoing), 0)
        m.d.sync += count.eq(left + Mux(taken, len(incoming), 0))
        moved = [Mux(given, slots[k + len(outgoing)] if k + len(outgoing) < len(slots) else 0, slots[k])
                 for k in range(len(slots))]  # fmt: skip
        for k, slot in enumerate(slots):
            m.d.sync += slot.eq(moved[k])
            for j, part in enumerate(incoming):
                with m.If(taken & (left + j == k)):
                    m.d.sync += slot.eq(part)
        m.d.sync += waiting.eq(Mux((count >= len(outgoing)) & dut.o.ready & ~given, waiting + 1, 0))
        return m


def parts(count, bits):
    return lambda payload: [payload.word_select(k, bits) for k in range(count)]


def prove(folder, dut, *, enters, leaves, capacity, patience, most=40):
    contract = Contract(dut, enters=enters, leaves=leaves, capacity=capacity, patience=patience)
    found = violation(contract, folder, most=most)
    assert found is None, found


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_queue(tmp_path, depth):
    prove(tmp_path, Queue(2, depth=depth), enters=parts(1, 2), leaves=parts(1, 2), capacity=depth, patience=1)


@pytest.mark.parametrize("count, factor", [(1, 2), (2, 2), (1, 3)])
def test_widen(tmp_path, count, factor):
    dut = Widen(bits=1, count=count, factor=factor)
    prove(
        tmp_path, dut, enters=parts(1, count), leaves=parts(factor, count), capacity=2 * factor - 1, patience=1,
    )  # fmt: skip


@pytest.mark.parametrize("count, factor", [(1, 2), (2, 2), (1, 3)])
def test_narrow(tmp_path, count, factor):
    dut = Narrow(bits=1, count=count, factor=factor)
    prove(tmp_path, dut, enters=parts(factor, count), leaves=parts(1, count), capacity=factor, patience=1)


@pytest.mark.parametrize("ranks", [0, 1])
def test_kernel_array(tmp_path, ranks):
    """Groups of one step of one binary lane: the part that a beat brings is whether its operands are equal."""
    one = unsigned(1)
    shape = ArrayShape(kernel="xnor", structure="count", pin=1, pout=1, x=one, w=one, ranks=ranks)
    dut = KernelArray(shape, total=shape.total(1))

    def enters(payload):
        return [~(payload[0] ^ payload[1])]

    class Alone(wiring.Component):
        """The array with ``first`` and ``last`` tied high."""

        def __init__(self):
            super().__init__({"i": In(dut.i.signature.flip().flip()), "o": wiring.Out(dut.o.signature)})

    prove(tmp_path, dut, enters=enters, leaves=parts(1, 1), capacity=shape.latency, patience=shape.latency)
