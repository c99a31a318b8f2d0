"""The requantisers of an engine: one for each row of the array, with constants that come with the weights."""

from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.hdl import signed as signed_shape
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ...cells.functions import same
from ...cells.known import FABRICS
from ...cells.words import Word, plain
from ...streams.delay import later
from ..plan import SHIFT_STEP, EnginePlan
from ..records import constants_record
from .held import held_fields
from .slopes import Knees

__all__ = ["Requantisers", "requantise_latency"]

_FINE = 4
"""Places of the second of the two shifts; the first one moves so many steps at once."""
_OPERAND_BITS = {"ecp5": 18}
"""Of a signed operand of the device's multipliers where numbers here have more: products are cut then."""


def _most_bits(plan: EnginePlan) -> int:
    """Bits of a part of an operand: those below the highest part have no sign."""
    return _OPERAND_BITS.get(plan.fabric, 64) - 1


def _parts(bits: int, plan: EnginePlan) -> range:
    """Where the parts of a signed operand of so many bits begin; the highest has its sign."""
    return range(0, max(bits - 1, 1), _most_bits(plan))


def _levels(plan: EnginePlan) -> int:
    """Levels of adders: products and B."""
    left = len(_parts(plan.sum_bits, plan)) + len(_parts(plan.residual_factor.bits, plan)) + 1
    levels = 0
    while left > 1:
        left, levels = -(-left // FABRICS[plan.fabric].arity), levels + 1
    return levels


def requantise_latency(plan: EnginePlan) -> int:
    """Cycles from a sum to its result: operands, products, their sum, two shifts, comparisons, y; a second slope has a
    rank for its comparison."""
    return 6 + _levels(plan) + plan.slopes


class Requantisers(wiring.Component):
    """``y = clamp((acc * M + r * R + B) >> S, low, high)`` of ``pout`` channels in every cycle, in a pipeline.

    Where the Plan has second slopes, N and D stand for M and B below a knee; where it has ties to the even number, the
    lowest bit of what is clamped is cleared where all bits that were shifted out are 0.

    Constants must not move while a pixel is on its way: from its ``valid`` to its ``done``.

    Members
    -------
    word : In, an element of every channel's constants, see `records.constants_record`
    shift : In; ``word`` is taken
    sums : In, ``pout`` of ``plan.total``
    residuals : In, ``pout`` of ``plan.residual``; any where R is 0
    valid : In, there is a pixel
    low, high : In, of the layer
    further, bends : In, with second slopes; ``word`` is an element of them; the layer has one
    even : In, with ties to the even number; the layer rounds so
    results : Out, ``pout`` of ``plan.result``, ``latency`` cycles behind their sums and until the next ``done``
    done : Out, ``results`` are there
    """

    def __init__(self, plan: EnginePlan):
        self.plan = plan
        self.latency = requantise_latency(plan)
        result = plan.result.bits
        super().__init__({
            "word": In(plan.pout * plan.bits), "shift": In(1),
            "sums": In(plan.pout * plan.sum_bits), "residuals": In(plan.pout * plan.residual.bits), "valid": In(1),
            "low": In(result), "high": In(result),
            **({"further": In(1), "bends": In(1)} if plan.slopes else {}),
            **({"even": In(1)} if plan.ties_even else {}),
            "results": Out(plan.pout * result), "done": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        plan, record = self.plan, constants_record(self.plan)
        ends = later(m, self.valid, self.latency - 1, name="ends")
        knees = self._knees(m) if plan.slopes else None
        results = []
        for row in range(plan.pout):
            field = held_fields(m, plan, record, row, word=self.word, shift=self.shift, name="constants")
            wide = self._wide(m, row, field, knees)
            y = Signal(plan.result.bits, name=f"y{row}", reset_less=True)
            clamped = self._clamped(m, row, *self._shifted(m, row, wide, field["shift"]))
            with m.If(ends):
                m.d.sync += y.eq(clamped)
            results.append(y)
        m.d.comb += self.results.eq(Cat(results))
        m.d.sync += self.done.eq(ends)
        return m

    def _knees(self, m: Module) -> Knees:
        """The sides of all rows."""
        m.submodules.knees = knees = Knees(self.plan)
        m.d.comb += [
            knees.word.eq(self.word), knees.shift.eq(self.further), knees.bends.eq(self.bends),
            knees.sums.eq(self.sums),
        ]  # fmt: skip
        return knees

    def _wide(self, m: Module, row: int, field: dict[str, Value], knees: Knees | None) -> Value:
        """``acc * M + r * R + B``, behind a rank of operands, one of products, and one for each level of adders."""
        plan, fabric = self.plan, FABRICS[self.plan.fabric]
        acc = Signal(signed_shape(plan.sum_bits), name=f"acc{row}", reset_less=True)
        r = Signal(signed_shape(plan.residual.bits), name=f"residual{row}", reset_less=True)
        m.d.sync += [
            acc.eq(self.sums.word_select(row, plan.sum_bits)),
            r.eq(self.residuals.word_select(row, plan.residual.bits)),
        ]  # fmt: skip
        words, factor = [], field["multiplier"]
        if knees is not None:
            acc, r = later(m, acc, name=f"acc{row}_later"), later(m, r, name=f"residual{row}_later")
            factor = self._of_side(m, row, knees, "multiplier", factor, 0)
        for name, wide, narrow in (("acc", acc, factor), ("join", field["residual_multiplier"], r)):
            for at in _parts(len(wide), plan):
                last = at == _parts(len(wide), plan)[-1]
                part = wide[at:].as_signed() if last else wide[at:][: _most_bits(plan)]
                product = Signal(signed_shape(len(part) + len(narrow)), name=f"{name}{row}_{at}", reset_less=True)
                m.d.sync += product.eq(part * narrow)
                words.append(Word(inputs=(product.as_unsigned(),), function=same, signed=True, places=at))
        # B stands still, so that it needs no register whenever it is added.
        still = plain(field["offset"].as_unsigned(), signed=True)
        words.append(still)
        for level in range(_levels(plan)):
            sums = []
            for k in range(0, len(words), fabric.arity):
                group = words[k : k + fabric.arity]
                if group[0] is still:
                    sums += group
                    continue
                if knees is not None and group[-1] is still:
                    offset = self._of_side(m, row, knees, "offset", field["offset"], level + 1)
                    group = [*group[:-1], plain(offset.as_unsigned(), signed=True)]
                total = Signal(plan.wide.bits, name=f"wide{row}_{level}_{k}", reset_less=True)
                m.d.sync += total.eq(fabric.add(m, group, (), plan.wide.bits, f"wide{row}_{level}_{k}_sum"))
                sums.append(plain(total, signed=True))
            words = sums
        return words[0].inputs[0]

    def _of_side(self, m: Module, row: int, knees: Knees, name: str, above: Value, ranks: int) -> Value:
        """``above``, or what stands for it below the knee, so many ranks behind the one of the products' operands."""
        bits = len(above)
        chosen = Signal(signed_shape(bits), name=f"{name}{row}", reset_less=True)
        below = later(m, knees.below[row], ranks, name=f"below{row}_{name}")
        other = getattr(knees, f"{name}s").word_select(row, bits)
        m.d.sync += chosen.eq(Mux(below, other.as_signed(), above))
        return chosen

    def _shifted(self, m: Module, row: int, wide: Value, shift: Value) -> tuple[Value, Value]:
        """``wide >> S`` in the format of results, and whether it lies outside of that; two ranks later."""
        fine_bits = self.plan.result.bits + SHIFT_STEP * (_FINE - 1)
        coarse, lost = self._moved(m, f"coarse{row}", wide, shift[2:], SHIFT_STEP * _FINE, fine_bits)
        fine, again = self._moved(m, f"fine{row}", coarse, shift[:2], SHIFT_STEP, self.plan.result.bits)
        if self.plan.ties_even:
            fine = Cat(fine[0] & ~self._tie(m, row, (wide, coarse), shift), fine[1:])
        return fine, later(m, lost, name=f"lost{row}") | again

    def _tie(self, m: Module, row: int, moved: tuple[Value, Value], shift: Value) -> Value:
        """Whether all bits are 0 that were shifted out of ``moved``, first the one, then the other; a rank behind."""
        rests = []
        for value, places, step in zip(moved, (shift[2:], shift[:2]), (SHIFT_STEP * _FINE, SHIFT_STEP), strict=True):
            choices = [value[: place * step].any() if place else Const(0, 1) for place in range(1 << len(places))]
            rests.append(Array(choices)[places])
        tie = Signal(name=f"tie{row}", reset_less=True)
        m.d.sync += tie.eq(self.even & ~(later(m, rests[0], name=f"rest{row}") | rests[1]))
        return tie

    def _moved(self, m: Module, name: str, value: Value, places: Value, step: int, bits: int) -> tuple[Value, Value]:
        """``value >> places * step`` in ``bits`` bits with its sign, and whether it has more; one rank later."""
        bits, sign = min(bits, len(value)), value[-1]
        choices, beyond = [], []
        for place in range(1 << len(places)):
            part = value[min(place * step, len(value) - 1) :][: bits - 1]
            choices.append(Cat(part, sign.replicate(bits - 1 - len(part))))
            above = value[min(place * step + bits, len(value)) - 1 :]
            beyond.append(Const(0, 1) if len(above) == 1 else Mux(sign, ~above.all(), above.any()))
        kept, lost = (Signal(bits, name=name, reset_less=True), Signal(name=f"{name}_lost", reset_less=True))
        m.d.sync += lost.eq(Array(beyond)[places])
        fabric = FABRICS[self.plan.fabric]
        while len(choices) > 1:
            count = 2 if len(choices) == 2 else 4
            function, bound = (_two_of, 1) if count == 2 else (_four_of, 2)
            chosen, places = tuple(places[:bound]), places[bound:]
            choices = [
                fabric.select(
                    m, Word(inputs=(*choices[k : k + count], *chosen), function=function), f"{name}_{k}_{count}"
                )
                for k in range(0, len(choices), count)
            ]
        m.d.sync += kept.eq(Cat(choices[0], sign))
        return kept, lost

    def _clamped(self, m: Module, row: int, value: Value, outside: Value) -> Value:
        """``value`` within the bounds, one rank and a multiplexer behind it."""
        fabric, negative = FABRICS[self.plan.fabric], value[-1]
        kept = Signal.like(value, name=f"kept{row}", reset_less=True)
        below, above = Signal(name=f"below{row}", reset_less=True), Signal(name=f"above{row}", reset_less=True)
        low, high, own = (Word(inputs=(bits,), function=same, flip=True) for bits in (self.low, self.high, value))
        m.d.sync += [
            kept.eq(value), below.eq(Mux(outside, negative, fabric.less(m, own, low, f"less{row}"))),
            above.eq(Mux(outside, ~negative, fabric.less(m, high, own, f"greater{row}"))),
        ]  # fmt: skip
        return Mux(below, self.low, Mux(above, self.high, kept))


def _two_of(a: Any, b: Any, s: Any) -> Any:
    """The one that ``s`` says."""
    return (~s & a) | (s & b)


def _four_of(a: Any, b: Any, c: Any, d: Any, s: Any, t: Any) -> Any:
    """The one that ``s`` and, above it, ``t`` say."""
    return (~t & _two_of(a, b, s)) | (t & _two_of(c, d, s))
