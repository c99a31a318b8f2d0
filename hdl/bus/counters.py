"""Many counters in one memory: events are gathered in a few bits each, which are added to the memory in turn."""

from collections.abc import Mapping
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
    """Where the counters of a register map stand in their memory.

    Those of the stages begin at place 0, in the order of their addresses; the others take the last places, so that
    either place is what some bits of the address say.

    Attributes
    ----------
    depth : places of the memory, a power of two
    common : how many of the last ones the counters outside of stages have, a power of two
    stage_word : word address of the first stage's registers
    lows : places of the low words by register
    wide : registers of 64 bits among them, whose high word has the place behind
    """

    depth: int
    common: int
    stage_word: int
    lows: Mapping[str, int]
    wide: frozenset[str]

    @classmethod
    def of(cls, registers: RegisterMap) -> "CounterPlaces":
        """The places of all registers that are counters."""
        own = [register for register in registers.registers if register.counter]
        words = [register.offset // 4 + word for register in own for word in range(register.words)]
        common = 1 << ceil_log2(max(words) - min(words) + 1)
        assert min(words) % common + max(words) - min(words) < common, "a block of addresses must hold them"
        stage_word = registers.stage_base // 4
        depth = 1 << ceil_log2(len(registers.stages) * registers.stage_stride // 4 + common)
        lows = {register.name: depth - common + register.offset // 4 % common for register in own}
        lows |= {
            register.name: register.offset // 4 - stage_word
            for register in registers
            if register.counter and register.name not in lows
        }
        return cls(
            depth=depth, common=common, stage_word=stage_word, lows=lows,
            wide=frozenset(register.name for register in own if register.words == 2),
        )  # fmt: skip

    def at(self, word: Value) -> Value:
        """The place of the register word at this word address."""
        bits = ceil_log2(self.common)
        last = Cat(word[:bits], Const(-1, ceil_log2(self.depth) - bits))
        return Mux(word < self.stage_word, last, (word - self.stage_word)[: len(last)])


class CounterBank(wiring.Component):
    """Counters that can be read at any time, to the cycle, for a few bits of register each.

    An event is added to a small count of its own. One place of the memory after the other is visited: its small count
    is added to its word, and begins anew. A read is a visit out of turn, so that it gives every event of the cycles
    before. Reads never come in two cycles that follow each other: every place has its turn within twice as many cycles
    as there are places, and a small count holds that. After a reset or ``clear`` the words are zeroed in turn, and read
    as zero until then.

    Members
    -------
    events : In; a bit for each counter, in the order of ``places.lows``
    clear : In; all counts are zero at the end of this cycle, whatever happens in it
    read : In; in this cycle ``place`` is read; never in two cycles that follow each other
    place : In; of the low word of a counter or the high one, which gives what it was when the low word was read last
    value : Out; what is read, in the cycle of the read

    Parameters
    ----------
    word : bits of a word; a counter of two words counts up to twice as many bits
    """

    def __init__(self, places: CounterPlaces, *, word: int = WORD):
        self.places = places
        self.word = word
        self.small_bits = (2 * places.depth + 2).bit_length()
        if word < self.small_bits:
            raise ValueError(f"word must have at least {self.small_bits} bits for {places.depth} places, not {word}")
        super().__init__({
            "events": In(len(places.lows)),
            "clear": In(1),
            "read": In(1),
            "place": In(range(places.depth)),
            "value": Out(word),
        })  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        depth = self.places.depth
        turn, sweeping = Signal(range(depth)), Signal(init=1)
        at, stale, visit = Signal(range(depth)), Signal(), Signal()
        m.d.comb += [
            at.eq(Mux(self.read, self.place, turn)),
            # While the words are zeroed, those whose turn has not come hold what was counted before.
            stale.eq(sweeping & (at >= turn)),
            visit.eq(~(self.read & stale)),
        ]
        with m.If(~self.read):
            m.d.sync += turn.eq(turn + 1)
            with m.If(turn == depth - 1):
                m.d.sync += sweeping.eq(0)
        small = self._small(m, at, visit)
        low = self._memory(m, "low", at, depth)
        total = Signal(self.word + 1)
        m.d.comb += [
            total.eq(Mux(stale, 0, low.read.data) + small),
            low.write.data.eq(total),
            low.write.en.eq(visit),
            self.value.eq(total),
        ]
        if self.places.wide:
            self._high(m, at, stale, visit, total[-1])
        with m.If(self.clear):
            m.d.sync += [turn.eq(0), sweeping.eq(1)]
        return m

    def _small(self, m: Module, at: Value, visit: Value) -> Value:
        """Count the events; returns the small count of the place ``at``, which begins anew where that is a visit."""
        counts: dict[int, Value] = {}
        for k, (name, place) in enumerate(self.places.lows.items()):
            count = Signal(self.small_bits, name=f"count_{name}")
            event = self.events[k]
            m.d.sync += count.eq(Mux(visit & (at == place), 0, count) + event)
            with m.If(self.clear):
                m.d.sync += count.eq(0)
            counts[place] = count
        return chosen(counts, at)

    def _high(self, m: Module, at: Value, stale: Value, visit: Value, carry: Value) -> None:
        """High words take the carries of their low ones in the same visit; a read of a low word keeps its high one."""
        lows = [self.places.lows[name] for name in sorted(self.places.wide)]
        bits = next(n for n in range(1, 32) if len({place >> 1 & ((1 << n) - 1) for place in lows}) == len(lows))
        where = at[1 : 1 + bits]
        high, kept = self._memory(m, "high", where, 1 << bits), self._memory(m, "kept", where, 1 << bits)
        is_low, is_high = Signal(), Signal()
        total = Signal(self.word, name="high_total")
        m.d.comb += [
            is_low.eq(_among(at, lows)),
            is_high.eq(_among(at, [place + 1 for place in lows])),
            total.eq(Mux(stale, 0, high.read.data) + carry),
            high.write.data.eq(total),
            high.write.en.eq(visit & is_low),
            kept.write.data.eq(total),
            kept.write.en.eq(self.read & is_low),
        ]
        with m.If(is_high):
            m.d.comb += self.value.eq(kept.read.data)

    def _memory(self, m: Module, name: str, at: Value, depth: int) -> "_Ports":
        """A memory of lookup tables that is read and written at ``at`` in every cycle."""
        m.submodules[name] = words = memory.Memory(shape=self.word, depth=max(2, depth), init=[])
        ports = _Ports(read=words.read_port(domain="comb"), write=words.write_port())
        m.d.comb += [ports.read.addr.eq(at), ports.write.addr.eq(at)]
        return ports


@dataclass(frozen=True, kw_only=True, eq=False)
class _Ports:
    read: Any
    write: Any


def _among(value: Value, those: list[int]) -> Value:
    found: Value = Const(0)
    for one in those:
        found = found | (value == one)
    return found
