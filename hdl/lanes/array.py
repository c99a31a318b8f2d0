"""Arrays of lanes: inner products of any kernel, a step of ``pin`` terms for ``pout`` results in every cycle."""

from typing import Any

from amaranth.hdl import Const, Module, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ...quant.formats import Format
from ..cells.known import FABRICS
from ..streams.delay import trail
from .ranks import Rank, settled
from .shape import ArrayShape, run_circuit
from .tree import accumulate

__all__ = ["ArrayStep", "FoldedArray", "KernelArray"]


class ArrayStep(wiring.Component):
    """What an array does in one step, without its registers: the circuit that is proved.

    Members
    -------
    x : In, pin elements of the feature format
    w : In, pout x pin elements of the weight format, row after row
    total : In, pout accumulators
    first : In, whether the accumulators are forgotten
    after : Out, pout accumulators
    """

    def __init__(self, shape: ArrayShape, *, total: Format):
        self.shape = shape
        self.total_format = total
        super().__init__(
            {
                "x": In(shape.pin * shape.x.bits),
                "w": In(shape.pout * shape.pin * shape.w.bits),
                "total": In(shape.pout * total.bits),
                "first": In(1),
                "after": Out(shape.pout * total.bits),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        shape, bits = self.shape, self.total_format.bits

        def element(port: Value, index: int, width: int, name: str) -> Signal:
            signal = Signal(width, name=name)
            m.d.comb += signal.eq(port.word_select(index, width))
            return signal

        xs = [element(self.x, k, shape.x.bits, f"x{k}") for k in range(shape.pin)]
        ws = [
            [element(self.w, row * shape.pin + k, shape.w.bits, f"w{row}_{k}") for k in range(shape.pin)]
            for row in range(shape.pout)
        ]
        fabric = FABRICS[shape.fabric]
        sums = run_circuit(m, fabric, shape, xs, ws, Const(1, 1), lambda level, state: settled(state))
        for row in range(shape.pout):
            total = element(self.total, row, bits, f"total{row}")
            after = accumulate(m, fabric, total, self.first, sums, row)
            m.d.comb += self.after.word_select(row, bits).eq(after)
        return m


class FoldedArray(wiring.Component):
    """``pout`` rows of ``pin`` lanes that accumulate inner products over the steps of a group.

    One step per cycle in which ``valid`` and ``enable`` are up; ``first`` and ``last`` mark the ends of a group.
    ``latency`` enabled cycles after ``last``, ``done`` is up for one enabled cycle and ``sums`` holds the results until
    the next group's first step arrives there. While ``enable`` is down, nothing moves.

    Members
    -------
    x : In, pin elements of the feature format, shared by all rows
    w : In, pout x pin elements of the weight format, row after row
    valid, first, last : In
    enable, accumulate : In, 1 unless connected; always equal, but the accumulators have theirs for themselves, so
        that the logic in front of it need not be the same
    sums : Out, pout elements of the format of the accumulators, to be read as `ArrayShape.decode` says
    done : Out
    ending : Out, whether the next enabled cycle brings ``done``
    """

    def __init__(self, shape: ArrayShape, *, total: Format):
        self.shape = shape
        self.total = total
        self.latency = shape.latency
        lanes = shape.pin * shape.pout
        super().__init__(
            {
                "x": In(shape.pin * shape.x.bits),
                "w": In(lanes * shape.w.bits),
                "valid": In(1),
                "first": In(1),
                "last": In(1),
                "enable": In(1, init=1),
                "accumulate": In(1, init=1),
                "sums": Out(shape.pout * total.bits),
                "done": Out(1),
                "ending": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        shape, fabric = self.shape, FABRICS[self.shape.fabric]
        # Operands come out of block RAM, which takes half a cycle: they get a register before any arithmetic.
        xs = [self._operand(m, self.x, k, shape.x, f"x{k}") for k in range(shape.pin)]
        ws = [
            [self._operand(m, self.w, row * shape.pin + k, shape.w, f"w{row}_{k}") for k in range(shape.pin)]
            for row in range(shape.pout)
        ]
        cuts = shape.cuts
        sums = run_circuit(
            m, fabric, shape, xs, ws, self.enable,
            lambda level, state: Rank(m, self.enable, f"rank{level}")(state) if level in cuts else settled(state),
        )  # fmt: skip

        delay = self.latency - 1
        valid, first, last = (trail(m, s, delay, enable=self.enable) for s in (self.valid, self.first, self.last))
        for row in range(shape.pout):
            total = Signal(self.total.bits, name=f"total{row}", reset_less=True)
            after = accumulate(m, fabric, total, first, sums, row)
            with m.If(valid & self.accumulate):
                m.d.sync += total.eq(after)
            m.d.comb += self.sums.word_select(row, self.total.bits).eq(total)
        m.d.comb += self.ending.eq(valid & last)
        with m.If(self.enable):
            m.d.sync += self.done.eq(self.ending)
        return m

    def _operand(self, m: Module, port: Value, index: int, fmt: Format, name: str) -> Signal:
        register = Signal(fmt.bits, name=name, reset_less=True)
        with m.If(self.enable):
            m.d.sync += register.eq(port.word_select(index, fmt.bits))
        return register


class KernelArray(wiring.Component):
    """A `FoldedArray` between two streams; the whole array stops while its result waits.

    Takes one step per cycle; a result is there ``latency`` cycles after the last step of its group. ``ready`` of the
    input follows ``ready`` of the output in the same cycle.

    Members
    -------
    i : In stream of ``x`` (pin elements), ``w`` (pout x pin elements, row after row), ``first`` and ``last``
    o : Out stream of pout sums, to be read as `ArrayShape.decode` says
    """

    def __init__(self, shape: ArrayShape, *, total: Format):
        self.shape = shape
        self.total = total
        self.latency = shape.latency
        step = data.StructLayout(
            {
                "x": shape.pin * shape.x.bits,
                "w": shape.pout * shape.pin * shape.w.bits,
                "first": 1,
                "last": 1,
            }
        )
        super().__init__(
            {"i": In(stream.Signature(step)), "o": Out(stream.Signature(data.ArrayLayout(total.bits, shape.pout)))}
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.array = array = FoldedArray(self.shape, total=self.total)
        # The longest way of a deep array is that of the enable to its thousands of registers. The accumulators' enable,
        # which takes another input, starts at a register of its own, the complement of `done`, so that both ways have
        # one table.
        idle = Signal(init=1)
        with m.If(array.enable):
            m.d.sync += idle.eq(~array.ending)
        m.d.comb += [
            array.x.eq(self.i.payload.x),
            array.w.eq(self.i.payload.w),
            array.first.eq(self.i.payload.first),
            array.last.eq(self.i.payload.last),
            array.valid.eq(self.i.valid),
            array.enable.eq(~array.done | self.o.ready),
            array.accumulate.eq(idle | self.o.ready),
            self.i.ready.eq(array.enable),
            self.o.payload.as_value().eq(array.sums),
            self.o.valid.eq(array.done),
        ]
        return m
