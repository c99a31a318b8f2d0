"""Requantisers: the `arithmetic` of a requantise behind an array, with the memories of its numbers.

With a second slope, N and D stand for M and B where a sum is below its channel's knee T0.

An array gives the sums of ``pe`` channels at once but only every few cycles; ``units`` requantisers, with ``units``
dividing ``pe``, take them one after the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Shape, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ...quant.formats import Format
from ..bus.reload import Reload, port_of
from ..memory.image import Image, Rom, Table
from ..streams.delay import later
from .arithmetic import ANY_SHIFT, PLAIN, Arithmetic, Scale, ShiftField
from .scale import Factor
from .turn import fetch_in_turn, hold_in_turn

__all__ = ["Constants", "FactorLayout", "Requantiser"]


@dataclass(frozen=True, kw_only=True)
class FactorLayout:
    """Layout of a word of M and B: for each unit B above M, the first unit lowest.

    Attributes
    ----------
    shift : format of S, which stands above B where channels have their own; else None
    residual : how R is stored above it, None where it is not in the word
    knee : format of T0, which stands above all that, and above it N and D; None without a second slope
    """

    offset: Format
    units: int
    scale: Scale = PLAIN
    shift: Format | None = None
    residual: Factor | None = None
    knee: Format | None = None

    @property
    def unit_width(self) -> int:
        """Bits of one unit's part."""
        return self.lower_at + (self.offset.bits if self.knee else 0)

    @property
    def width(self) -> int:
        """Bits of a word."""
        return self.units * self.unit_width

    @property
    def offset_at(self) -> int:
        """Bit of a unit's part at which the offset B begins, right above M."""
        return self.scale.multiplier.width

    @property
    def shift_at(self) -> int:
        """Bit of a unit's part at which the shift S begins; where the word holds no S, what comes next begins there."""
        return self.offset_at + self.offset.bits

    @property
    def residual_at(self) -> int:
        """Bit of a unit's part at which R, the factor of the residual, begins."""
        return self.shift_at + (self.shift.bits if self.shift else 0)

    @property
    def knee_at(self) -> int:
        """Bit of a unit's part at which the knee T0 begins."""
        return self.residual_at + (self.residual.width if self.residual else 0)

    @property
    def second_at(self) -> int:
        """Bit of a unit's part at which N, the factor below the knee, begins."""
        return self.knee_at + (self.knee.bits if self.knee else 0)

    @property
    def lower_at(self) -> int:
        """Bit of a unit's part at which D, the offset below the knee, begins."""
        return self.second_at + (self.scale.multiplier.width if self.knee else 0)

    def pack(
        self, multipliers: list[int], offsets: list[int], shifts: list[int] | None = None,
        residuals: list[int] | None = None, second: Sequence[list[int]] | None = None,
    ) -> int:  # fmt: skip
        """One word; S and R of every unit where they stand in it, and ``second``: T0, N and D of every unit."""
        word = 0
        zeros = [0] * self.units
        rows = zip(multipliers, offsets, shifts or zeros, residuals or zeros, *(second or [zeros] * 3), strict=True)
        for m, b, s, r, t, n, d in reversed(list(rows)):
            part = self.scale.multiplier.encode(m) | self.offset.encode(b) << self.offset_at
            if self.shift:
                part |= self.shift.encode(s) << self.shift_at
            if self.residual:
                part |= self.residual.encode(r) << self.residual_at
            if self.knee:
                part |= self.knee.encode(t) << self.knee_at | self.offset.encode(d) << self.lower_at
                part |= self.scale.multiplier.encode(n) << self.second_at
            word = word << self.unit_width | part
        return word

    def unpack(self, word: int) -> tuple[list[int], list[int], list[int], list[int]]:
        """M, B, S and R of all units; 0 for what the word does not hold."""
        found: tuple[list[int], list[int], list[int], list[int]] = ([], [], [], [])
        for unit in range(self.units):
            part = _field(word, unit * self.unit_width, self.unit_width)
            found[0].append(self.scale.multiplier.decode(_field(part, 0, self.offset_at)))
            found[1].append(self.offset.decode(_field(part, self.offset_at, self.offset.bits)))
            found[2].append(_field(part, self.shift_at, self.shift.bits) if self.shift else 0)
            rest = _field(part, self.residual_at, self.knee_at - self.residual_at)
            found[3].append(self.residual.decode(rest) if self.residual else 0)
        return found

    def unpack_second(self, word: int) -> tuple[list[int], list[int], list[int]]:
        """T0, N and D of all units, of a word that holds them."""
        assert self.knee is not None
        found: tuple[list[int], list[int], list[int]] = ([], [], [])
        for unit in range(self.units):
            part = _field(word, unit * self.unit_width, self.unit_width)
            found[0].append(self.knee.decode(_field(part, self.knee_at, self.knee.bits)))
            second = _field(part, self.second_at, self.scale.multiplier.width)
            found[1].append(self.scale.multiplier.decode(second))
            found[2].append(self.offset.decode(_field(part, self.lower_at, self.offset.bits)))
        return found


def _field(word: int, begin: int, bits: int) -> int:
    return word >> begin & ((1 << bits) - 1)


@dataclass(frozen=True, kw_only=True)
class Constants:
    """Layout of the word of S, lo, hi and, where a residual joins, R, S lowest.

    Attributes
    ----------
    residual : how R is stored; None where none joins, or where channels have their own, see `FactorLayout`
    shift : how S stands there; None where channels have their own, so that lo is lowest
    """

    result: Format
    residual: Factor | None = None
    shift: ShiftField | None = ANY_SHIFT

    @property
    def width(self) -> int:
        """Bits of the word."""
        return self.factor_at + (self.residual.width if self.residual else 0)

    @property
    def clamp_at(self) -> int:
        """Bit of the word at which lo, the lower end of the clamp, begins; hi, the upper end, stands right above it."""
        return self.shift.bits if self.shift else 0

    @property
    def factor_at(self) -> int:
        """Bit of the word at which R, the factor of the residual, begins."""
        return self.clamp_at + 2 * self.result.bits

    def pack(self, shift: int, lo: int, hi: int, factor: int = 0) -> int:
        """The word; S and R only count where they stand in it."""
        bounds = self.result.encode(lo) | self.result.encode(hi) << self.result.bits
        word = bounds << self.clamp_at | (self.shift.encode(shift) if self.shift else 0)
        return word | self.residual.encode(factor) << self.factor_at if self.residual else word

    def unpack(self, word: int) -> tuple[int, int, int, int]:
        """S, lo, hi and R; 0 for what the word does not hold."""
        bits = self.result.bits
        lo, hi = (_field(word, self.clamp_at + k * bits, bits) for k in (0, 1))
        factor = self.residual.decode(word >> self.factor_at) if self.residual else 0
        shift = self.shift.decode(_field(word, 0, self.clamp_at)) if self.shift else 0
        return shift, self.result.decode(lo), self.result.decode(hi), factor


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
    factors, constants : contents of the memories, laid out as `FactorLayout` and `Constants` say
    shift : S where it is fixed in the RTL, None where it is data
    shifts : how S stands in a word, of channels that have their own without a least one
    channelwise : S and R are data of every channel
    even : ties go to the even number
    knee : format of T0, which is compared with the sums as they come; None without a second slope
    places : ``acc`` is a sum times two to the power of so many
    reload : wires that write the memories, if they can be written
    memory : kind of the memory of factors, of `memory.image.ROMS`
    clamps : lo and hi are data; else they are the ends of the result's format
    """

    def __init__(
        self, *, pe: int, units: int, total: Format, offset: Format, result: Format, factors: Image, constants: Image,
        shift: int | None, prefix: str | None, places: int = 0, residual: Format | None = None,
        reload: Reload | None = None, scale: Scale = PLAIN, channelwise: bool = False, even: bool = False,
        shifts: ShiftField = ANY_SHIFT, knee: Format | None = None, memory: str = "auto", clamps: bool = True,
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
        self.shifts = shifts
        self.channelwise = channelwise
        self.even = even
        self.knee = knee
        self.memory = memory
        self.clamps = clamps
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
        held, coming, taking, valid = hold_in_turn(
            m, self.sums, self.done, beats=self.pe // self.units, width=self.units * self.total.bits,
            latency=self.scale.latency(residual=self.residual is not None, bends=self.knee is not None),
        )  # fmt: skip
        m.d.comb += self.valid.eq(valid)
        if self.residual is not None:
            m.d.comb += self.taking.eq(taking)
        word = self._next_factors(m, coming)
        shared_shift, lo, hi, shared_factor = self._constants(m)
        layout, own = self._layout, self.channelwise
        arithmetic = Arithmetic(
            offset=self.offset, result=self.result, scale=self.scale, residual=self.residual, even=self.even,
            moving=own, bends=self.knee is not None, least_shift=self.shifts.least,
        )  # fmt: skip
        for unit in range(self.units):
            acc = held.word_select(unit, self.total.bits)
            acc = Cat(Const(0, self.places), acc) if self.places else acc
            mine = word.word_select(unit, layout.unit_width)
            first, second = mine[: layout.offset_at], mine[layout.offset_at : layout.shift_at]
            if self.knee is not None:
                first, second, acc = self._chosen(m, unit, mine, held.word_select(unit, self.total.bits), acc)
            y = arithmetic.built(
                m, str(unit), acc=acc.as_signed() if self.total.signed else acc, factor=first, offset=second,
                shift=mine[layout.shift_at : layout.residual_at] if own else shared_shift, lo=lo, hi=hi,
                residual=None if self.residual is None else self.r.word_select(unit, self.residual.bits),
                residual_factor=mine[layout.residual_at : layout.knee_at] if own else shared_factor,
            )  # fmt: skip
            m.d.comb += self.y.word_select(unit, self.result.bits).eq(y)
        return m

    @property
    def _result_shape(self) -> Shape:
        return Shape(self.result.bits, signed=self.result.signed)

    @property
    def _layout(self) -> FactorLayout:
        own = self.scale.residual if self.channelwise and self.residual is not None else None
        return FactorLayout(
            offset=self.offset, units=self.units, scale=self.scale,
            shift=self.shifts.format if self.channelwise else None, residual=own, knee=self.knee,
        )  # fmt: skip

    def _chosen(self, m: Module, unit: int, mine: Value, came: Value, acc: Value) -> tuple[Value, Value, Value]:
        """Factor and offset of the side of the knee on which the sum ``came``, and that sum as ``acc`` has it, one rank
        later: the comparison is behind block RAM as well."""
        assert self.knee is not None
        layout = self._layout
        knee = mine[layout.knee_at : layout.second_at]
        knee = knee.as_signed() if self.knee.signed else knee
        came = came.as_signed() if self.total.signed else came
        below = Signal(name=f"below{unit}")
        m.d.sync += below.eq(came < knee)
        above = later(m, mine[: layout.shift_at], name=f"above{unit}")
        other = later(m, mine[layout.second_at :], name=f"other{unit}")
        waited, at = later(m, acc, name=f"waited{unit}"), layout.offset_at
        return Mux(below, other[:at], above[:at]), Mux(below, other[at:], above[at:]), waited

    def _next_factors(self, m: Module, coming: Value) -> Value:
        """The word of M and B for the beat that is multiplied now, fetched while it was ``coming``, in turn."""
        m.submodules.factors = rom = Rom(
            self.factors, prefix=self.prefix, write=port_of(self.reload, self.factors), kind=self.memory
        )  # fmt: skip
        return fetch_in_turn(m, rom, coming)

    def _constants(self, m: Module) -> tuple[Value, Value, Value, Value]:
        write = port_of(self.reload, self.constants)
        m.submodules.constants = table = Table(self.constants, prefix=self.prefix, write=write)
        layout = Constants(result=self.result, shift=None if self.channelwise else self.shifts)
        at, bits = layout.clamp_at, self.result.bits
        lo, hi = table.data[at : at + bits], table.data[at + bits : at + 2 * bits]
        if self.result.signed:
            lo, hi = lo.as_signed(), hi.as_signed()
        if not self.clamps:
            lo, hi = (Const(end, self._result_shape) for end in (self.result.lo, self.result.hi))
        if self.channelwise:
            return Const(0), lo, hi, Const(0)
        shift: Value = table.data[: layout.clamp_at]
        if self.shift is not None:
            shift = Const(self.shifts.encode(self.shift), layout.clamp_at)
        factor = Const(0) if self.residual is None else table.data[layout.factor_at :]
        return shift, lo, hi, factor
