"""Many counters in one memory: the low bits of each count by themselves, what they carry is added in turn."""

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .register_map import WORD, RegisterMap
from .registers import chosen

__all__ = ["CounterBank", "CounterPlaces"]


@dataclass(frozen=True, kw_only=True)
class CounterPlaces:
    """Where the counters of a register map stand in their memory: those of 64 bits first, those of the stages last.

    Attributes
    ----------
    order : of each counter its name and the address, in words, of its register
    wide : how many of the first ones have 64 bits
    per_stage, stride, stage_word : counters of a stage, words from one stage to the next, and where the first begins
    """

    order: tuple[tuple[str, int], ...]
    wide: int
    per_stage: int
    stride: int
    stage_word: int

    @classmethod
    def of(cls, registers: RegisterMap) -> "CounterPlaces":
        """The places of all registers that are counters."""
        counters = sorted((r for r in registers if r.counter), key=lambda r: (-r.words, r.offset))
        return cls(
            order=tuple((register.name, register.offset // 4) for register in counters),
            wide=sum(register.words == 2 for register in counters), per_stage=len(registers.stage_registers),
            stride=registers.stage_stride // 4, stage_word=registers.stage_base // 4,
        )  # fmt: skip

    @property
    def names(self) -> tuple[str, ...]:
        """The counters, by place."""
        return tuple(name for name, _ in self.order)

    def at(self, m: Module, word: Value) -> Value:
        """The place of the counter whose register, or the high word of it, is at this word address."""
        place = Signal(range(len(self.order)), name="counter_place")
        bits = ceil_log2(self.stride)
        first = sum(word_of < self.stage_word for _, word_of in self.order)
        stage = (word - self.stage_word)[bits:]
        # A product by a constant, as a sum: synthesis would spend a multiplier block on it.
        places = sum((stage << k for k in range(8) if self.per_stage >> k & 1), start=word[:bits])
        m.d.comb += place.eq(first + places)
        with m.Switch(word):
            for k, (_, low) in enumerate(self.order[:first]):
                with m.Case(*((low, low + 1) if k < self.wide else (low,))):
                    m.d.comb += place.eq(k)
        return place

    def is_high(self, word: Value) -> Value:
        """Whether this word address is that of a high word."""
        found: Value = Const(0)
        for _, low in self.order[: self.wide]:
            found = found | (word == low + 1)
        return found


class CounterBank(wiring.Component):
    """Counters that can be read at any time, to the cycle.

    The low bits of each are a counter of its own; when it has gone around, a carry waits. One place of the memory after
    the other is visited, and a carry that waits there is added to the word, which holds the bits above. A read is a
    visit out of turn, so that it gives every event of the cycles before. Reads never come in two cycles that follow
    each other, so every place has its turn within twice as many cycles as there are places; the low bits take longer to
    go around again. After a reset or ``clear`` the words are zeroed in turn, and read as zero until then.

    Members
    -------
    events : In; a bit for each counter, by place
    clear : In; all counts are zero at the end of this cycle, whatever happens in it
    read : In; in this cycle ``place`` is read; never in two cycles that follow each other
    place : In
    high : In; what is read is the high word, as it was when the low word was read last
    value : Out; what is read, in the cycle of the read

    Parameters
    ----------
    count, wide : how many counters there are, and how many of the first ones have two words
    word : bits of a word
    """

    def __init__(self, *, count: int, wide: int, word: int = WORD):
        self.count = count
        self.wide = wide
        self.word = word
        self.low_bits = (2 * count + 2).bit_length()
        if word <= self.low_bits:
            raise ValueError(f"word must have more than {self.low_bits} bits for {count} counters, not {word}")
        super().__init__({
            "events": In(count),
            "clear": In(1),
            "read": In(1),
            "place": In(range(count)),
            "high": In(1),
            "value": Out(word),
        })  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        turn, sweeping = Signal(range(self.count)), Signal(init=1)
        at, stale, visit = Signal(range(self.count)), Signal(), Signal()
        m.d.comb += [
            at.eq(Mux(self.read, self.place, turn)),
            # While the words are zeroed, those whose turn has not come hold what was counted before.
            stale.eq(sweeping & (at >= turn)),
            visit.eq(~(self.read & stale)),
        ]
        with m.If(~self.read):
            m.d.sync += turn.eq(Mux(turn == self.count - 1, 0, turn + 1))
            with m.If(turn == self.count - 1):
                m.d.sync += sweeping.eq(0)
        low, carry = self._low(m, at, visit)
        above = self._memory(m, "above", self.word - self.low_bits, at, self.count)
        total = Signal(self.word - self.low_bits + 1)
        m.d.comb += [
            total.eq(Mux(stale, 0, above.read.data) + carry),
            above.write.data.eq(total),
            above.write.en.eq(visit),
            self.value.eq(Cat(low, total[:-1])),
        ]
        if self.wide:
            self._high(m, at, stale, visit, total[-1])
        with m.If(self.clear):
            m.d.sync += [turn.eq(0), sweeping.eq(1)]
        return m

    def _low(self, m: Module, at: Value, visit: Value) -> tuple[Value, Value]:
        """Count the events; returns the low bits at the place ``at``, and the carry that waits there."""
        lows, carries = {}, {}
        for k in range(self.count):
            low, carry = Signal(self.low_bits, name=f"low{k}"), Signal(name=f"carry{k}")
            more = Signal(self.low_bits + 1, name=f"more{k}")
            m.d.comb += more.eq(low + self.events[k])
            m.d.sync += [low.eq(more), carry.eq(more[-1] | (carry & ~(visit & (at == k))))]
            with m.If(self.clear):
                m.d.sync += [low.eq(0), carry.eq(0)]
            lows[k], carries[k] = low, carry
        return chosen(lows, at), chosen(carries, at)

    def _high(self, m: Module, at: Value, stale: Value, visit: Value, carry: Value) -> None:
        """High words take the carries of their low ones in the same visit; a read of a low word keeps its high one."""
        where = at[: ceil_log2(max(2, self.wide))]
        high, kept = (self._memory(m, name, self.word, where, 1 << len(where)) for name in ("high", "kept"))
        total = Signal(self.word, name="high_total")
        is_wide = at < self.wide
        m.d.comb += [
            total.eq(Mux(stale, 0, high.read.data) + carry),
            high.write.data.eq(total),
            high.write.en.eq(visit & is_wide),
            kept.write.data.eq(total),
            kept.write.en.eq(self.read & is_wide & ~self.high),
        ]
        with m.If(self.high):
            m.d.comb += self.value.eq(kept.read.data)

    def _memory(self, m: Module, name: str, bits: int, at: Value, depth: int) -> "_Ports":
        """A memory of lookup tables that is read and written at ``at`` in every cycle."""
        m.submodules[name] = words = memory.Memory(shape=bits, depth=max(2, depth), init=[])
        ports = _Ports(read=words.read_port(domain="comb"), write=words.write_port())
        m.d.comb += [ports.read.addr.eq(at), ports.write.addr.eq(at)]
        return ports


@dataclass(frozen=True, kw_only=True, eq=False)
class _Ports:
    read: Any
    write: Any
