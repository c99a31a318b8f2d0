"""Beats that wait: first in, first out, in lookup tables or in block RAM."""

from typing import Any

from amaranth.hdl import Module, Shape, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ..memory.loops import Pointer
from ..memory.ring import NO_COLLISION

__all__ = ["Queue", "in_block_ram"]

BLOCK_QUEUE_BITS = 4096
"""From so many bits on, a queue costs more in lookup tables than a block RAM is worth."""

BLOCK_QUEUE_BEATS = 32
"""A queue of fewer beats would leave a block RAM nearly empty."""


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
        width = Shape.cast(self.shape).width
        m.submodules.memory = ram = memory.Memory(shape=width, depth=self.depth, init=[], attrs=NO_COLLISION)
        write, read = ram.write_port(), ram.read_port(domain="sync" if self.block else "comb")
        write_at, read_at = Pointer(m, self.depth, "write_at"), Pointer(m, self.depth, "read_at")
        count = Signal(range(self.depth + 1), name="count")
        takes, leaves, fetches = Signal(), Signal(), Signal()
        m.d.comb += [
            self.i.ready.eq(count != self.depth),
            takes.eq(self.i.valid & self.i.ready),
            leaves.eq(self.o.valid & self.o.ready),
            write.addr.eq(write_at.value), write.data.eq(self.i.payload), write.en.eq(takes),
            read.addr.eq(read_at.value), self.o.payload.eq(read.data),
        ]  # fmt: skip
        m.d.sync += count.eq(count + takes - leaves)
        if self.block:
            # The port's register holds the first beat, which has left the memory but not the count.
            held = Signal(name="held")
            m.d.comb += [self.o.valid.eq(held), read.en.eq(fetches)]
            m.d.comb += fetches.eq((~held | self.o.ready) & (count > held))
            with m.If(fetches | leaves):
                m.d.sync += held.eq(fetches)
        else:
            m.d.comb += [self.o.valid.eq(count != 0), fetches.eq(leaves)]
        with m.If(takes):
            write_at.advance(1)
        with m.If(fetches):
            read_at.advance(1)
        return m
