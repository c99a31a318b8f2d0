"""A register file that knows no bus: a request in one cycle, its response in the next."""

from collections.abc import Iterable
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .register_map import WORD, BusRegister

__all__ = ["RegisterFile", "Request", "Response", "chosen"]

BYTES = WORD // 8


class Request(wiring.Signature):
    """An access: ``valid`` for one cycle, which is always taken. ``address`` counts bytes, its lowest two bits are not
    looked at; ``strobe`` says which bytes of ``data`` a write means."""

    def __init__(self, address_bits: int):
        super().__init__({
            "valid": Out(1), "write": Out(1), "address": Out(address_bits), "data": Out(WORD), "strobe": Out(BYTES),
        })  # fmt: skip


class Response(wiring.Signature):
    """What came of the request of the cycle before. ``refused``: the register does not allow that. ``absent``: there
    is no register. Either has changed nothing and gives no data."""

    def __init__(self) -> None:
        super().__init__({"valid": Out(1), "data": Out(WORD), "refused": Out(1), "absent": Out(1)})


def _port(register: BusRegister) -> wiring.Signature:
    members: dict[str, Any] = {}
    if register.access != "wo":
        members |= {"value": In(register.width)}
    if register.access != "ro":
        members |= {"written": Out(1), "data": Out(WORD)}
    if register.access == "wo":
        members |= {"tried": Out(1), "whole": Out(1), "refuse": In(1)}
    return wiring.Signature(members)


class RegisterFile(wiring.Component):
    """The registers of a map, as seen from a bus on one side and from the logic behind them on the other.

    It holds no register itself but the high words that reads of 64 bits latch. A write changes only bytes with a
    strobe; without any it is no write.

    Members
    -------
    request : In, see `Request`
    response : Out, see `Response`; one cycle after the request
    refused : Out; a request met no register, or one that allows no such access
    counting : Out; the request is a read of a counter, which ``counted`` answers
    counted : In; what a read of the counter at the request's address gives, in the same cycle
    ports : one per register that is no constant and no counter, under its name:
        ``value`` : In, what a read gives
        ``written``, ``data`` : Out; in that cycle the register shall become ``data``: what it is, with the bytes of the
        write put in. Of ``w1c``: the ones that the write has.
        ``tried``, ``whole``, ``refuse`` : of ``wo``: there is a write, with all strobes; ``refuse`` (In) turns it away
    """

    def __init__(self, registers: Iterable[BusRegister], *, address_bits: int):
        self.registers = tuple(registers)
        ports = {r.name: Out(_port(r)) for r in self.registers if r.value is None and not r.counter}
        super().__init__({
            "request": In(Request(address_bits)),
            "response": Out(Response()),
            "refused": Out(1),
            "counting": Out(1),
            "counted": In(WORD),
            "ports": Out(wiring.Signature(ports)),
        })  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        request = self.request
        read = Signal(WORD)
        forbidden, turned_away, absent = Signal(), Signal(), Signal()
        reads = {
            (register.offset >> 2) + word: value
            for register in self.registers
            if not register.counter
            for word, value in enumerate(self._words(m, register))
        }
        counter, held = Signal(), Signal(WORD)
        m.d.comb += [
            held.eq(chosen(reads, request.address[2:])),
            read.eq(Mux(counter, self.counted, held)),
            self.counting.eq(request.valid & ~request.write & counter),
        ]
        self._give_data(m, held)
        with m.Switch(request.address[2:]):
            for counts, words in self._read_only().items():
                with m.Case(*words):
                    m.d.comb += [forbidden.eq(request.write), counter.eq(counts)]
            for register in self.registers:
                if register.access != "ro":
                    with m.Case(register.offset >> 2):
                        self._write(m, register, forbidden, turned_away)
            with m.Default():
                m.d.comb += absent.eq(1)
        m.d.comb += self.refused.eq(request.valid & (absent | forbidden))
        m.d.sync += self.response.valid.eq(request.valid)
        with m.If(request.valid):
            m.d.sync += [
                self.response.data.eq(Mux(request.write | absent, 0, read)),
                self.response.refused.eq(forbidden | turned_away),
                self.response.absent.eq(absent),
            ]
        return m

    def _read_only(self) -> dict[bool, list[int]]:
        """Word addresses that can only be read: of counters, and of others."""
        words: dict[bool, list[int]] = {}
        for register in self.registers:
            if register.access == "ro":
                first = register.offset >> 2
                words.setdefault(register.counter, []).extend(range(first, first + register.words))
        return words

    def _words(self, m: Module, register: BusRegister) -> list[Any]:
        """What reads of the register's words give."""
        if register.access == "wo":
            return [0]
        if register.value is not None:
            return [register.value >> (WORD * word) & ((1 << WORD) - 1) for word in range(register.words)]
        value = getattr(self.ports, register.name).value
        if register.words == 1:
            return [value]
        high = Signal(WORD, name=f"{register.name}_high")
        low_read = self.request.valid & ~self.request.write & (self.request.address[2:] == register.offset >> 2)
        with m.If(low_read):
            m.d.sync += high.eq(value[WORD:])
        return [value[:WORD], high]

    def _give_data(self, m: Module, held: Value) -> None:
        """What a write makes of the register at its address, which reads as ``held``: the same for all registers, each
        of which looks at it only when it is written."""
        mask = Cat(bit.replicate(8) for bit in self.request.strobe)
        ones = self.request.data & mask
        merged = Signal(WORD)
        m.d.comb += merged.eq(ones | (held & ~mask))
        for register in self.registers:
            if register.access != "ro":
                data = getattr(self.ports, register.name).data
                m.d.comb += data.eq(ones if register.access == "w1c" else merged)

    def _write(self, m: Module, register: BusRegister, forbidden: Signal, turned_away: Signal) -> None:
        """Give a write to the register's port."""
        port, request = getattr(self.ports, register.name), self.request
        tried = request.valid & request.write & request.strobe.any()
        if register.access == "wo":
            m.d.comb += [
                port.tried.eq(tried),
                port.whole.eq(request.strobe.all()),
                port.written.eq(tried & ~port.refuse),
                forbidden.eq(~request.write),
                turned_away.eq(tried & port.refuse),
            ]
        else:
            m.d.comb += port.written.eq(tried)


def chosen(values: dict[int, Any], index: Value) -> Value:
    """The value of ``index``, and anything where there is none: halves by the highest bit, so a tree of multiplexers
    with no comparison."""
    if len(values) <= 1 or not len(index):
        return Value.cast(next(iter(values.values()), 0))
    half = 1 << (len(index) - 1)
    low = {k: value for k, value in values.items() if k < half}
    high = {k - half: value for k, value in values.items() if k >= half}
    if not (low and high):
        return chosen(low or high, index[:-1])
    return Mux(index[-1], chosen(high, index[:-1]), chosen(low, index[:-1]))
