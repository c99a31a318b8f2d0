"""Requantise: ``y = clamp((acc * M + r * R + B) >> S, lo, hi)`` per channel, few units for many rows of an array.

An array gives the sums of ``pe`` channels at once but only every few cycles; ``units`` requantisers, with ``units``
dividing ``pe``, take them one after the other.
"""

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..quant.formats import Format, unsigned
from ..quant.program import MAX_SHIFT, MULTIPLIER_BITS, RESIDUAL_MULTIPLIER_BITS
from .delay import later
from .memory import Image, Rom, Table
from .reload import Reload, port_of
from .scale import Factor

__all__ = ["Constants", "Factors", "Requantiser", "Scale"]


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How requantisers multiply.

    Attributes
    ----------
    how : one of `scale.SCALES`
    terms : of factors of ``pow2``
    """

    how: str = "dsp"
    terms: int = 0

    @property
    def multiplier(self) -> Factor:
        """M."""
        return Factor(scale=self.how, bits=MULTIPLIER_BITS, terms=self.terms)

    @property
    def residual(self) -> Factor:
        """R."""
        return Factor(scale=self.how, bits=RESIDUAL_MULTIPLIER_BITS, terms=self.terms)

    def latency(self, *, residual: bool) -> int:
        """Cycles from ``done`` of the array to the first ``valid``: capture, operands, ranks of the product, offset,
        shift, clamp; a residual takes one more, to be added."""
        return 5 + self.multiplier.latency + residual


@dataclass(frozen=True, kw_only=True)
class Factors:
    """Layout of a word of M and B: for each unit B above M, the first unit lowest."""

    offset: Format
    units: int
    scale: Scale = Scale()

    @property
    def width(self) -> int:
        """Bits of a word."""
        return self.units * (self.scale.multiplier.width + self.offset.bits)

    def pack(self, multipliers: list[int], offsets: list[int]) -> int:
        """One word."""
        word = 0
        for m, b in zip(reversed(multipliers), reversed(offsets), strict=True):
            word = word << self.offset.bits | self.offset.encode(b)
            word = word << self.scale.multiplier.width | self.scale.multiplier.encode(m)
        return word

    def unpack(self, word: int) -> tuple[list[int], list[int]]:
        """M and B of all units."""
        multipliers, offsets = [], []
        factor = self.scale.multiplier
        for _ in range(self.units):
            multipliers.append(factor.decode(word & ((1 << factor.width) - 1)))
            word >>= factor.width
            offsets.append(self.offset.decode(word & ((1 << self.offset.bits) - 1)))
            word >>= self.offset.bits
        return multipliers, offsets


@dataclass(frozen=True, kw_only=True)
class Constants:
    """Layout of the word of S, lo, hi and, where a residual joins, R, S lowest.

    Attributes
    ----------
    residual : how R is stored, None where none joins
    """

    result: Format
    residual: Factor | None = None

    SHIFT_BITS = MAX_SHIFT.bit_length()

    @property
    def width(self) -> int:
        """Bits of the word."""
        return self._factor_at + (self.residual.width if self.residual else 0)

    @property
    def _factor_at(self) -> int:
        return self.SHIFT_BITS + 2 * self.result.bits

    def pack(self, shift: int, lo: int, hi: int, factor: int = 0) -> int:
        """The word."""
        word = (
            unsigned(self.SHIFT_BITS).encode(shift)
            | self.result.encode(lo) << self.SHIFT_BITS
            | (self.result.encode(hi) << (self.SHIFT_BITS + self.result.bits))
        )
        return word | self.residual.encode(factor) << self._factor_at if self.residual else word

    def unpack(self, word: int) -> tuple[int, int, int, int]:
        """S, lo, hi and R; 0 for R where no residual joins."""
        bits, places = self.result.bits, word & ((1 << self.SHIFT_BITS) - 1)
        factor = self.residual.decode(word >> self._factor_at) if self.residual else 0
        word >>= self.SHIFT_BITS
        lo, hi = word & ((1 << bits) - 1), word >> bits & ((1 << bits) - 1)
        return places, self.result.decode(lo), self.result.decode(hi), factor


class Requantiser(wiring.Component):
    """Takes ``pe`` sums with ``done``, gives them back ``units`` at a time, in order, in consecutive cycles.

    ``done`` must not come again within ``pe / units`` cycles. It never stalls: what follows must have room.

    Members
    -------
    sums : In, pe elements of the sum format
    done : In
    y : Out, units elements of the result format
    valid : Out
    r, taking : with a residual, In: units elements of its format; Out: whether they are taken, in the same cycle

    Parameters
    ----------
    residual : format of the residual, or None
    scale : how it multiplies
    factors, constants : contents of the memories, laid out as `Factors` and `Constants` say
    shift : S where it is fixed in the RTL, None where it is data
    places : ``acc`` is a sum times two to the power of so many
    reload : wires that write the memories, if they can be written
    """

    def __init__(
        self, *, pe: int, units: int, total: Format, offset: Format, result: Format, factors: Image, constants: Image,
        shift: int | None, prefix: str | None, places: int = 0, residual: Format | None = None,
        reload: Reload | None = None, scale: Scale = Scale(),
    ):  # fmt: skip
        if units < 1 or pe % units:
            raise ValueError(f"units must divide {pe} rows, not be {units}")
        self.pe = pe
        self.units = units
        self.total = total
        self.offset = offset
        self.result = result
        self.factors = factors
        self.constants = constants
        self.shift = shift
        self.prefix = prefix
        self.places = places
        self.residual = residual
        self.reload = reload
        self.scale = scale
        joining = {} if residual is None else {"r": In(units * residual.bits), "taking": Out(1)}
        super().__init__(
            {
                "sums": In(pe * total.bits),
                "done": In(1),
                "y": Out(units * result.bits),
                "valid": Out(1),
                **joining,
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        held, taking, valid = hold_in_turn(
            m, self.sums, self.done, beats=self.pe // self.units, width=self.units * self.total.bits,
            latency=self.scale.latency(residual=self.residual is not None),
        )  # fmt: skip
        m.d.comb += self.valid.eq(valid)
        if self.residual is not None:
            m.d.comb += self.taking.eq(taking)
        word = self._next_factors(m, taking)
        shift, lo, hi, residual_factor = self._constants(m)
        layout = Factors(offset=self.offset, units=self.units, scale=self.scale)
        multiplier = self.scale.multiplier
        pair = layout.width // self.units
        for unit in range(self.units):
            acc = held.word_select(unit, self.total.bits)
            acc = Cat(Const(0, self.places), acc) if self.places else acc
            acc = acc.as_signed() if self.total.signed else acc
            # M and B come out of block RAM, which takes half a cycle: they get a register before the multiplier.
            factor = Signal(multiplier.width, name=f"factor{unit}")
            operand = Signal(acc.shape(), name=f"operand{unit}")
            early_offset = Signal(signed(self.offset.bits), name=f"early_offset{unit}")
            mine = word.word_select(unit, pair)
            m.d.sync += [
                factor.eq(mine[: multiplier.width]), operand.eq(acc), early_offset.eq(mine[multiplier.width :]),
            ]  # fmt: skip
            product = multiplier.product(m, operand, factor, name=f"product{unit}")
            offset = later(m, early_offset, multiplier.latency, name=f"offset{unit}")
            wide = Signal(signed(self.offset.bits + 1), name=f"wide{unit}")
            joined = wide if self.residual is None else self._joined(m, unit, wide, residual_factor)
            shifted = Signal(signed(len(joined)), name=f"shifted{unit}")
            y = Signal(self.result.bits, name=f"y{unit}")
            m.d.sync += [
                wide.eq(product + offset),
                shifted.eq(joined >> shift),
                y.eq(Mux(shifted < lo, lo, Mux(shifted > hi, hi, shifted))),
            ]
            m.d.comb += self.y.word_select(unit, self.result.bits).eq(y)
        return m

    def _joined(self, m: Module, unit: int, wide: Value, factor: Value) -> Value:
        """``wide`` with the residual's part, which took the same way: operand, product, ranks to wait, sum."""
        assert self.residual is not None
        fmt, residual = self.residual, self.scale.residual
        raw = self.r.word_select(unit, fmt.bits)
        operand = Signal(signed(fmt.bits) if fmt.signed else fmt.bits, name=f"residual{unit}")
        m.d.sync += operand.eq(raw)
        product = residual.product(m, operand, factor, name=f"residual_product{unit}")
        ranks = self.scale.multiplier.latency + 1 - residual.latency
        waiting = later(m, product, ranks, name=f"residual_waiting{unit}")
        joined = Signal(signed(max(len(product), len(wide)) + 1), name=f"joined{unit}")
        m.d.sync += joined.eq(wide + waiting)
        return joined

    def _next_factors(self, m: Module, take: Value) -> Value:
        """The word of M and B for the beat that is multiplied now: fetched one cycle ahead, in a fixed round."""
        m.submodules.factors = rom = Rom(self.factors, prefix=self.prefix, write=port_of(self.reload, self.factors))
        return fetch_in_turn(m, rom, take)

    def _constants(self, m: Module) -> tuple[Value, Value, Value, Value]:
        write = port_of(self.reload, self.constants)
        m.submodules.constants = table = Table(self.constants, prefix=self.prefix, write=write)
        low, bits = Constants.SHIFT_BITS, self.result.bits
        lo, hi = table.data[low : low + bits], table.data[low + bits : low + 2 * bits]
        if self.result.signed:
            lo, hi = lo.as_signed(), hi.as_signed()
        shift = table.data[:low] if self.shift is None else Const(self.shift, low)
        factor = Const(0) if self.residual is None else table.data[low + 2 * bits :]
        return shift, lo, hi, factor


def hold_in_turn(
    m: Module, sums: Value, done: Value, *, beats: int, width: int, latency: int
) -> tuple[Value, Value, Value]:
    """Keep the sums that come with ``done``; bring them to the lowest ``width`` bits part by part, in ``beats`` cycles.

    Returns
    -------
    what is held; whether its lowest part is taken now; the same ``latency - 1`` cycles later, when it leaves
    """
    held = Signal(len(sums), name="held")
    left = Signal(range(beats + 1), name="left")
    with m.If(done):
        m.d.sync += [held.eq(sums), left.eq(beats)]
    with m.Elif(left != 0):
        m.d.sync += [held.eq(held >> width), left.eq(left - 1)]
    taking = leaving = left != 0
    for k in range(latency - 1):
        later = Signal(name=f"busy{k + 1}")
        m.d.sync += later.eq(leaving)
        leaving = later
    return held, taking, leaving


def fetch_in_turn(m: Module, rom: Rom, take: Value) -> Value:
    """Read ``rom`` from the first word to the last and around, one word further after each cycle with ``take``.

    The word is there in the cycle in which it is taken. The first two cycles after reset are not for taking.
    """
    depth = rom.image.depth
    if depth == 1:
        return rom.data
    address = Signal(range(depth), name="address")
    following = Signal.like(address, name="following_address")
    m.d.comb += [
        following.eq(Mux(take, Mux(address == depth - 1, 0, address + 1), address)),
        rom.address.eq(following),
    ]
    m.d.sync += address.eq(following)
    return rom.data
