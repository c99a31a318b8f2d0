"""The arithmetic of a requantise, ``y = clamp((acc * M + r * R + B) >> S, lo, hi)``, on signals, whatever brings them.

B holds half a step, so that ties go up; where they go to the even number, a sum that leaves no rest clears the lowest
bit of its result.
"""

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed

from ...quant.formats import Format, unsigned
from ...quant.program import MULTIPLIER_BITS, RESIDUAL_MULTIPLIER_BITS
from ..streams.delay import later
from .scale import Factor

__all__ = ["ANY_SHIFT", "PLAIN", "Arithmetic", "Scale", "ShiftField", "clamped", "floored", "shift_bits"]


def shift_bits(most: int) -> int:
    """Width of S where it is at most ``most``: five bits, more only where sums are so wide that it takes them."""
    return max(most.bit_length(), 5)


@dataclass(frozen=True, kw_only=True)
class ShiftField:
    """How the shift S stands in a word of memory.

    Attributes
    ----------
    least : the smallest S, which stands there as 0
    format : of what S is above it; None where S is always ``least``, so that nothing stands there
    """

    least: int = 0
    format: Format | None

    @property
    def bits(self) -> int:
        """Bits of the field."""
        return 0 if self.format is None else self.format.bits

    @property
    def most(self) -> int:
        """The largest S that it can hold."""
        return self.least + (1 << self.bits) - 1

    def encode(self, shift: int) -> int:
        """The field of ``shift``; raises ``ValueError`` for one that it cannot hold."""
        if self.format is not None:
            return self.format.encode(shift - self.least)
        if shift != self.least:
            raise ValueError(f"shift must be {self.least}, not {shift}")
        return 0

    def decode(self, field: int) -> int:
        """S."""
        return self.least + field


ANY_SHIFT = ShiftField(format=unsigned(shift_bits(0)))
"""Any S of five bits."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How requantisers multiply.

    Attributes
    ----------
    how : one of `scale.SCALES`
    terms : of factors of ``pow2``
    bits : of M
    """

    how: str = "dsp"
    terms: int = 0
    bits: int = MULTIPLIER_BITS

    @property
    def multiplier(self) -> Factor:
        """M."""
        return Factor(scale=self.how, bits=self.bits, terms=self.terms)

    @property
    def residual(self) -> Factor:
        """R."""
        how = "dsp" if self.how == "halves" else self.how  # a feature fits one block
        return Factor(scale=how, bits=RESIDUAL_MULTIPLIER_BITS, terms=self.terms)

    def latency(self, *, residual: bool, bends: bool = False) -> int:
        """Cycles from ``done`` of the array to the first ``valid``: capture, operands, ranks of the product, offset,
        shift, clamp; a residual takes one more, to be added, and a second slope another, to be chosen."""
        return 5 + self.multiplier.latency + residual + bends


PLAIN = Scale()
"""Products of the usual width, where synthesis likes them."""


@dataclass(frozen=True, kw_only=True)
class Arithmetic:
    """A requantise of one sum in each cycle, a pipeline without an enable.

    Attributes
    ----------
    offset, result : formats of B and y
    scale : how it multiplies
    residual : format of r, or None
    even : ties go to the even number
    moving : S and R come with every sum, as M and B do; else they stand still, as lo and hi do
    bends : M and B, and the sum with them, come one cycle later than the rest, having been chosen
    least_shift : what S is at least; ``shift`` of `built` is what it is above that
    """

    offset: Format
    result: Format
    least_shift: int = 0
    scale: Scale = PLAIN
    residual: Format | None = None
    even: bool = False
    moving: bool = False
    bends: bool = False

    @property
    def latency(self) -> int:
        """Cycles from a sum to its y: operands, ranks of the product, offset, shift, clamp; one more for a residual."""
        return self.scale.latency(residual=self.residual is not None) - 1

    def built(
        self, m: Module, name: str, *, acc: Value, factor: Value, offset: Value, shift: Value, lo: Value, hi: Value,
        residual: Value | None = None, residual_factor: Value | None = None,
    ) -> Value:  # fmt: skip
        """y, `latency` cycles behind ``acc``, out of a register of ``m``.

        Parameters
        ----------
        name : ends the names of its registers
        acc : the sum, signed as it is
        factor, residual_factor : words of M and R as `Scale` stores them, those of ``acc``
        offset : B, that of ``acc``
        shift : what S is above ``least_shift``, that of ``acc``
        lo, hi : signed as y is
        residual : bits of r, in the cycle of ``acc``
        """
        # M and B may come out of block RAM, which takes half a cycle: they get a register before the multiplier.
        multiplier = self.scale.multiplier
        early_factor = Signal(multiplier.width, name=f"factor{name}")
        operand = Signal(acc.shape(), name=f"operand{name}")
        early_offset = Signal(signed(self.offset.bits), name=f"early_offset{name}")
        m.d.sync += [early_factor.eq(factor), operand.eq(acc), early_offset.eq(offset)]
        if self.moving:
            shift, residual_factor = self._moved(m, name, shift, residual_factor)
        product = multiplier.product(m, operand, early_factor, name=f"product{name}")
        late_offset = later(m, early_offset, multiplier.latency, name=f"offset{name}")
        wide = Signal(signed(self.offset.bits + 1), name=f"wide{name}")
        joined: Value = wide
        if self.residual is not None:
            assert residual is not None and residual_factor is not None
            joined = self._joined(m, name, wide, self.residual, residual, residual_factor)
        shifted = Signal(signed(len(joined)), name=f"shifted{name}")
        y = Signal(self.result.bits, name=f"y{name}")
        m.d.sync += [
            wide.eq(product + late_offset),
            shifted.eq(floored(m, joined, shift, least=self.least_shift, even=self.even, name=f"rest{name}")),
            y.eq(clamped(shifted, lo, hi, self.result)),
        ]
        return y

    def _moved(self, m: Module, name: str, shift: Value, factor: Value | None) -> tuple[Value, Value | None]:
        """S, which waits until the sum is there, and R, in the cycle of the residual's operand."""
        early_shift = Signal(len(shift), name=f"early_shift{name}")
        m.d.sync += early_shift.eq(shift)
        ranks = self.scale.multiplier.latency + 1 + (self.residual is not None) + self.bends
        late_shift = later(m, early_shift, ranks, name=f"shift{name}")
        if self.residual is None:
            return late_shift, None
        own = Signal(self.scale.residual.width, name=f"residual_factor{name}")
        m.d.sync += own.eq(factor)
        return late_shift, own

    def _joined(self, m: Module, name: str, wide: Value, fmt: Format, raw: Value, factor: Value) -> Value:
        """``wide`` with the residual's part, which took the same way: operand, product, ranks to wait, sum."""
        residual = self.scale.residual
        operand = Signal(signed(fmt.bits) if fmt.signed else fmt.bits, name=f"residual{name}")
        m.d.sync += operand.eq(raw)
        product = residual.product(m, operand, factor, name=f"residual_product{name}")
        ranks = self.scale.multiplier.latency + 1 + self.bends - residual.latency
        waiting = later(m, product, ranks, name=f"residual_waiting{name}")
        joined = Signal(signed(max(len(product), len(wide)) + 1), name=f"joined{name}")
        m.d.sync += joined.eq(wide + waiting)
        return joined


def clamped(value: Signal, lo: Value, hi: Value, fmt: Format) -> Value:
    """``value``, which is signed and wider than ``fmt``, clamped to ``lo`` and ``hi``, which lie in ``fmt``.

    The bits above those of ``fmt`` say whether it lies beyond the format, and so beyond both bounds; only those of
    ``fmt`` are compared with them. Two comparisons of all its bits cost half as much again.
    """
    if len(value) <= fmt.bits:
        return Mux(value < lo, lo, Mux(value > hi, hi, value))
    low: Value = value[: fmt.bits]
    above = value[fmt.bits :]
    if fmt.signed:
        low, above = low.as_signed(), value[fmt.bits - 1 :]
    negative = value[-1]
    beyond = ~negative & above.any()
    below = negative & ~above.all() if fmt.signed else negative
    return Mux(below | (~beyond & (low < lo)), lo, Mux(beyond | (low > hi), hi, low))


def floored(m: Module, total: Value, shift: Value | int, *, least: int = 0, even: bool, name: str) -> Value:
    """``total >> (least + shift)``; where ties go to the ``even`` number, one that leaves no rest has its lowest bit
    cleared.

    The sum of a tie holds its half, so that nothing is left of it below the point.
    """
    whole = (total >> least) >> shift
    if not even:
        return whole
    most = least + (shift if isinstance(shift, int) else (1 << len(shift)) - 1)
    low = Signal(signed(most + 1), name=name)
    m.d.comb += low.eq(total)
    tie = (low & ((Const(1, most + 1) << shift << least) - 1)[: most + 1]) == 0
    return Cat(whole[0] & ~tie, whole[1:]).as_signed()
