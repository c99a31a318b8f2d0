"""Small stream components: a queue, a fork and the two width converters, one idea each.

Every stream keeps Amaranth's rules: once ``valid`` is up, it and the payload hold until the transfer, and ``valid``
never waits for ``ready``.
"""

from math import lcm
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Shape, Signal, unsigned
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Fork", "Narrow", "Queue", "Widen", "adapted", "elements", "in_block_ram"]

BLOCK_QUEUE_BITS = 4096
"""From so many bits on, a queue costs more in lookup tables than a block RAM is worth."""
BLOCK_QUEUE_BEATS = 32
"""A queue of fewer beats would leave a block RAM nearly empty."""


def elements(bits: int, count: int) -> data.ArrayLayout:
    """Layout of a beat: ``count`` elements of ``bits`` bits, the first one lowest."""
    return data.ArrayLayout(unsigned(bits), count)


def in_block_ram(width: int, depth: int) -> bool:
    """Whether a queue that may take a cycle longer is built of block RAM."""
    return depth >= BLOCK_QUEUE_BEATS and width * depth >= BLOCK_QUEUE_BITS


class Queue(wiring.Component):
    """First in, first out; one beat per cycle.

    A beat can leave in the cycle after it came, or with ``block`` in the one after that.

    Parameters
    ----------
    block : of block RAM, which is read with a clock

    Members
    -------
    i : :py:`In(stream.Signature(shape))`
    o : :py:`Out(stream.Signature(shape))`
    """

    def __init__(self, shape: Any, *, depth: int, block: bool = False):
        if depth < 1:
            raise ValueError(f"depth of a queue must be a positive integer, not {depth!r}")
        self.shape = shape
        self.depth = depth
        self.block = block
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        if self.depth == 1:
            # A memory of one word has an address of no bits, which Verilog cannot say.
            held, full = Signal(Shape.cast(self.shape).width), Signal()
            m.d.comb += [self.o.payload.eq(held), self.o.valid.eq(full), self.i.ready.eq(~full)]
            with m.If(full):
                m.d.sync += full.eq(~self.o.ready)
            with m.Elif(self.i.valid):
                m.d.sync += [held.eq(self.i.payload), full.eq(1)]
            return m
        kind = fifo.SyncFIFOBuffered if self.block else fifo.SyncFIFO
        m.submodules.fifo = inner = kind(width=Shape.cast(self.shape).width, depth=self.depth)
        m.d.comb += [
            inner.w_data.eq(self.i.payload),
            inner.w_en.eq(self.i.valid),
            self.i.ready.eq(inner.w_rdy),
            self.o.payload.eq(inner.r_data),
            self.o.valid.eq(inner.r_rdy),
            inner.r_en.eq(self.o.ready),
        ]
        return m


class Widen(wiring.Component):
    """Gathers ``factor`` beats of ``count`` elements into one, the first lowest.

    Takes a beat in every cycle in which the gathered beat is incomplete or leaves; the gathered beat is there in the
    cycle after its last part.
    """

    def __init__(self, *, bits: int, count: int, factor: int):
        self.factor = factor
        super().__init__(
            {
                "i": In(stream.Signature(elements(bits, count))),
                "o": Out(stream.Signature(elements(bits, count * factor))),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        part = len(self.i.payload.as_value())
        held = Signal(part * self.factor)
        missing = Signal(range(self.factor + 1), init=self.factor)
        m.d.comb += [
            self.o.payload.as_value().eq(held),
            self.o.valid.eq(missing == 0),
            self.i.ready.eq(~self.o.valid | self.o.ready),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += missing.eq(Mux(self.i.valid, self.factor - 1, self.factor))
        with m.Elif(self.i.valid & self.i.ready):
            m.d.sync += missing.eq(missing - 1)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += held.eq(Cat(held, self.i.payload.as_value()) >> part)
        return m


class Narrow(wiring.Component):
    """Splits a beat into ``factor`` beats of ``count`` elements, the lowest first; one part per cycle."""

    def __init__(self, *, bits: int, count: int, factor: int):
        self.factor = factor
        super().__init__(
            {
                "i": In(stream.Signature(elements(bits, count * factor))),
                "o": Out(stream.Signature(elements(bits, count))),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        held = Signal.like(self.i.payload.as_value())
        left = Signal(range(self.factor + 1))
        m.d.comb += [
            self.o.payload.as_value().eq(held),
            self.o.valid.eq(left != 0),
            self.i.ready.eq((left == 0) | ((left == 1) & self.o.ready)),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += [held.eq(held >> len(self.o.payload.as_value())), left.eq(left - 1)]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [held.eq(self.i.payload.as_value()), left.eq(self.factor)]
        return m


class Fork(wiring.Component):
    """Gives every beat to ``count`` readers, each of which takes it when it can.

    The next beat comes when all have taken this one, in the cycle after the last of them at the earliest.

    Members
    -------
    i : In stream
    o0, o1, .. : Out streams
    """

    def __init__(self, shape: Any, *, count: int):
        if count < 2:
            raise ValueError(f"readers of a fork must be at least 2, not {count!r}")
        self.count = count
        outputs = {f"o{k}": Out(stream.Signature(shape)) for k in range(count)}
        super().__init__({"i": In(stream.Signature(shape)), **outputs})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        taken = Signal(self.count)
        outputs = [getattr(self, f"o{k}") for k in range(self.count)]
        done = Cat(had | (o.ready & o.valid) for had, o in zip(taken, outputs, strict=True))
        m.d.comb += self.i.ready.eq(done.all())
        for had, o in zip(taken, outputs, strict=True):
            m.d.comb += [o.payload.eq(self.i.payload), o.valid.eq(self.i.valid & ~had)]
        with m.If(self.i.valid):
            m.d.sync += taken.eq(Mux(self.i.ready, 0, done))
        return m


def adapted(m: Module, name: str, source: Any, *, bits: int, have: int, want: int) -> Any:
    """``source``, of ``have`` elements per beat, in beats of ``want``: gathered, split or both."""
    whole = lcm(have, want)
    if whole > have:
        m.submodules[f"widen_{name}"] = widen = Widen(bits=bits, count=have, factor=whole // have)
        wiring.connect(m, source, widen.i)
        source = widen.o
    if whole > want:
        m.submodules[f"split_{name}"] = narrow = Narrow(bits=bits, count=want, factor=whole // want)
        wiring.connect(m, source, narrow.i)
        source = narrow.o
    return source
