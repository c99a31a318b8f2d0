"""A serial line: one start bit, eight data bits with the lowest first, one stop bit, no parity."""

from fractions import Fraction
from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Signal
from amaranth.lib import cdc, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["FRAME", "LEAST_CYCLES", "UartReceiver", "UartTransmitter", "cycles_per_bit"]

DATA = 8
FRAME = DATA + 2
"""Bits that a byte takes."""
LEAST_CYCLES = 8
"""Clock cycles per bit below which too little of a bit is left for two clocks that differ."""


def cycles_per_bit(clock_hz: int, baud: int) -> Fraction:
    """How long a bit is, in clock cycles.

    Raises
    ------
    ValueError
        when ``baud`` is not a positive integer that leaves a bit `LEAST_CYCLES`.
    """
    most = clock_hz // LEAST_CYCLES
    if not isinstance(baud, int) or not 1 <= baud <= most:
        raise ValueError(
            f"baud must be an integer in 1..{most:,}, {LEAST_CYCLES} clock cycles per bit at {clock_hz / 1e6:g} MHz, "
            f"not {baud!r}"
        )
    return Fraction(clock_hz, baud)


def _waits(times: list[int]) -> Array[Const]:
    """What a counter to zero must start from to end at each of ``times``, the first after the cycle 0."""
    steps = [time - before for before, time in zip([0, *times], times, strict=False)]
    return Array(Const(step - 1, range(max(steps))) for step in steps)


class UartReceiver(wiring.Component):
    """Takes bytes from a serial line, each as it comes: the line does not wait.

    Every bit is read once, in its middle, counted from the edge of its byte's start bit; so fractions of a cycle do not
    add up over bytes. That middle is met within one cycle. With ``c`` cycles per bit the clocks at both ends may differ
    by ``(c / 2 - 1) / (9.5 * c)``: 3.9 % at 8 cycles, 4.8 % at 25.

    A start bit that is over before its middle is a glitch, and nothing. A byte whose stop bit is low is dropped, and
    the line must be high before the next begins.

    Members
    -------
    rx : In, the line, not synchronised
    o : Out stream, always ready: valid in one cycle for each byte
    bad : Out, in one cycle for each byte that is dropped; not for a break
    broken : Out, while the line is held low, from the place where the stop bit of an all-zero byte should be
    """

    def __init__(self, *, clock_hz: int, baud: int):
        self.cycles = cycles_per_bit(clock_hz, baud)
        super().__init__({
            "rx": In(1, init=1),
            "o": Out(stream.Signature(DATA, always_ready=True)),
            "bad": Out(1),
            "broken": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        line = Signal(init=1)
        m.submodules.synchroniser = cdc.FFSynchronizer(self.rx, line, init=1)
        # An edge is seen half a cycle late on average, which rounding down takes back.
        waits = _waits([int((k + Fraction(1, 2)) * self.cycles) for k in range(FRAME)])
        left = Signal(range(max(wait.value for wait in waits) + 1))
        bit = Signal(range(FRAME + 1))
        byte = Signal(DATA)
        m.d.comb += self.o.payload.eq(byte)
        m.d.sync += [left.eq(left - 1), self.o.valid.eq(0), self.bad.eq(0)]
        with m.FSM():
            with m.State("Idle"):
                m.d.sync += [left.eq(waits[0]), bit.eq(1)]
                with m.If(~line):
                    m.next = "Start"
            with m.State("Start"), m.If(left == 0):
                m.d.sync += left.eq(waits[1])
                m.next = "Idle"
                with m.If(~line):
                    m.next = "Data"
            with m.State("Data"), m.If(left == 0):
                m.d.sync += [left.eq(waits[bit + 1]), bit.eq(bit + 1), byte.eq(Cat(byte[1:], line))]
                with m.If(bit == DATA):
                    m.next = "Stop"
            with m.State("Stop"), m.If(left == 0):
                m.d.sync += [self.o.valid.eq(line), self.bad.eq(~line & byte.any())]
                m.next = "Idle"
                with m.If(~line):
                    m.next = "Low"
            with m.State("Low"):
                m.d.comb += self.broken.eq(~byte.any())
                with m.If(line):
                    m.next = "Idle"
        return m


class UartTransmitter(wiring.Component):
    """Gives bytes to a serial line. Every edge is within half a cycle of its place in the byte.

    Members
    -------
    i : In stream, bytes
    tx : Out, the line, straight from a register
    """

    def __init__(self, *, clock_hz: int, baud: int):
        self.cycles = cycles_per_bit(clock_hz, baud)
        super().__init__({"i": In(stream.Signature(DATA)), "tx": Out(1, init=1)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        waits = _waits([round((k + 1) * self.cycles) for k in range(FRAME)])
        left = Signal(range(max(wait.value for wait in waits) + 1))
        bit = Signal(range(FRAME + 1), init=FRAME)
        frame = Signal(DATA + 1, init=(1 << (DATA + 1)) - 1)
        m.d.comb += [self.tx.eq(frame[0]), self.i.ready.eq(bit == FRAME)]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [frame.eq(Cat(0, self.i.payload)), bit.eq(0), left.eq(waits[0])]
        with m.Elif((left == 0) & ~self.i.ready):
            # Ones move in: the stop bit, and the idle line.
            m.d.sync += [frame.eq(Cat(frame[1:], 1)), bit.eq(bit + 1), left.eq(waits[bit + 1])]
        with m.Else():
            m.d.sync += left.eq(left - 1)
        return m
