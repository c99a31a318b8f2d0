"""Commands cut into bursts, the next one while the one before it is asked for."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ...cells.functions import either
from ...cells.known import FABRICS
from ...cells.words import Word, plain
from ..plan import EnginePlan
from ..record import Record
from ..records import ADDRESS_BITS, RUN_BITS

__all__ = ["CommandBursts", "area_layout", "burst_layout", "claimed"]


def area_layout() -> data.StructLayout:
    """Words of memory that bursts may have: all from ``begin`` up to but for ``end``, where ``bounded``; else any."""
    return data.StructLayout({"bounded": 1, "begin": ADDRESS_BITS, "end": ADDRESS_BITS})


def burst_layout(plan: EnginePlan, command: Record) -> data.StructLayout:
    """A burst of a ``command``: ``at``, the word of memory with which it begins; ``more``, its words but for the first;
    ``last``, whether it is the last one; ``outside``, whether it leaves the area, or its command has no words; and what
    its command says beside of words and where they stand."""
    return data.StructLayout({"at": ADDRESS_BITS, "more": _places(plan), "last": 1, "outside": 1, **_kept(command)})


def _kept(command: Record) -> dict[str, int]:
    return {field.name: field.bits for field in command.fields if field.name not in ("words", "address", "stride")}


class CommandBursts(wiring.Component):
    """Cuts commands into bursts, of which none crosses a multiple of ``plan.burst`` words.

    Words of a command that do not stand one behind the other (``stride``) are bursts of their own. The next burst
    follows in the cycle behind the one before it; the first of a command two cycles behind the command, which is taken
    when the last one of the command before stands at the output.

    Members
    -------
    i : In stream of ``command``
    base : In, the word of memory that has address 0; a multiple of ``plan.burst``
    area : In, of `area_layout`; does not change while there are commands
    o : Out stream of `burst_layout`
    """

    def __init__(self, plan: EnginePlan, command: Record):
        self.plan = plan
        self.command = command
        self.strides = any(field.name == "stride" for field in command.fields)
        super().__init__({
            "i": In(stream.Signature(command.layout)), "base": In(ADDRESS_BITS),
            "area": In(area_layout()), "o": Out(stream.Signature(burst_layout(plan, command))),
        })  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        have, move, final = Signal(), Signal(), Signal()
        kept = {name: Signal(bits, name=name) for name, bits in _kept(self.command).items()}
        at, apart, empty = Signal(ADDRESS_BITS), Signal(), Signal()
        # One less than the words that are left, counted from the multiple of a burst below ``at``.
        left = Signal(RUN_BITS + 1)
        low = _places(self.plan)
        # The place of the last word: a burst does not leave the multiple in which it begins.
        ends = Mux(apart, at[:low], Mux(final, left[:low], (1 << low) - 1))
        m.d.comb += [
            move.eq(have & (~self.o.valid | self.o.ready)), self.i.ready.eq(~have),
            final.eq((left[low:] == 0) & (~apart | (left[:low] == 0))),
        ]  # fmt: skip
        with m.If(move):
            m.d.sync += [
                self.o.valid.eq(1), self.o.payload.at.eq(at), self.o.payload.last.eq(final),
                self.o.payload.more.eq((ends - at[:low])[:low]),
                self.o.payload.outside.eq(empty | self._leaves(m, at, Cat(ends, at[low:]))),
                *(self.o.payload[name].eq(value) for name, value in kept.items()),
            ]  # fmt: skip
            with m.If(final):
                m.d.sync += have.eq(0)
        with m.Elif(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(~have):
            m.d.sync += empty.eq(self.i.payload.words == 0)
            m.d.sync += [have.eq(self.i.valid), *(value.eq(self.i.payload[name]) for name, value in kept.items())]
        self._advance(m, have, move, at, left, apart)
        return m

    def _leaves(self, m: Module, first: Value, last: Value) -> Value:
        """Whether words from ``first`` to ``last`` leave the area."""
        fabric, area = FABRICS[self.plan.fabric], self.area
        return area.bounded & (
            fabric.less(m, plain(first), plain(area.begin), "below")
            | ~fabric.less(m, plain(last), plain(area.end), "within")
        )

    def _advance(self, m: Module, have: Signal, move: Signal, at: Signal, left: Signal, apart: Signal) -> None:
        """``at`` and ``left`` behind a burst, or of the next command: an adder each, behind a choice of the two."""
        fabric, low, payload, load = FABRICS[self.plan.fabric], _places(self.plan), self.i.payload, ~have
        whole = self.plan.burst
        coming = Const(0, 1)
        step: Value = Const(whole, ADDRESS_BITS)
        if self.strides:
            stride = Signal.like(payload.stride)
            coming = payload.stride != 1
            with m.If(load):
                m.d.sync += [apart.eq(coming), stride.eq(payload.stride)]
            step = Mux(apart, stride, whole)
            step = Cat(step, Const(0, ADDRESS_BITS - len(step)))
        begin = Cat(at[:low] & apart.replicate(low), at[low:])
        moved = fabric.add(m, [
            Word(inputs=(load, begin, payload.address), function=either),
            Word(inputs=(load, step, self.base), function=either),
        ], (), ADDRESS_BITS, "moved")  # fmt: skip
        # The lowest bits of the address less one, or -1; a whole burst less, or one word.
        first, one = payload.address[:low], Mux(load, coming, apart)
        less = Cat(
            *(Mux(load, ~(first[k] ^ first[:k].any()) if k else ~first[0], 0) | one for k in range(low)),
            Mux(load, ~first.any(), 1) | one,
        )  # fmt: skip
        fewer = fabric.add(m, [
            Word(inputs=(load, left, payload.words), function=either),
            plain(less, signed=True),
        ], (), len(left), "fewer")  # fmt: skip
        with m.If(load | move):
            m.d.sync += [at.eq(moved), left.eq(fewer)]


def claimed(more: Value, claims: Value) -> Word:
    """The words of a burst of ``more`` and one, negative; 0 unless ``claims``."""
    return Word(inputs=(claims, Cat(more, Const(0, 1))), function=_less, signed=True)


def _less(claims: Any, more: Any) -> Any:
    """One less than ``-more``, in two's complement."""
    return claims & ~more


def _places(plan: EnginePlan) -> int:
    """Bits of the place of a word in a whole burst."""
    return plan.burst.bit_length() - 1
