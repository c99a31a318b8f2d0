"""Lanes and their adder trees: one inner product of the kernel per cycle.

The adder kernel takes its absolute value from the sign bit: with ``d = x - w`` and ``s = d < 0``,
``|d| = (d xor s) + s``. A lane therefore costs a subtractor and a row of xors; its ``+ s`` rides as the carry-in of an
adder that is there anyway. ``n`` lanes have ``n`` such carries, their tree has ``n - 1`` adders and the accumulator is
one more: exactly ``n``. The sum is kept positive; the requantise multiplies it by ``-M``.
"""

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Shape, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..quant.formats import Format, format_for
from ..quant.program import term_range

__all__ = ["FoldedArray", "Reduce", "array_latency", "sum_format", "tree_latency"]

LEVELS_PER_REGISTER = 2
"""Tree levels between registers: two ripple adders of a dozen bits keep up with a block RAM on the fabrics we know."""


def sum_format(kernel: str, lo: int, hi: int) -> Format:
    """Format in which the array holds sums in ``lo..hi``: the adder kernel keeps the negative, which is unsigned."""
    return format_for(-hi, -lo) if kernel == "adder" else format_for(lo, hi)


def tree_latency(lanes: int) -> int:
    """Registers in the tree of ``lanes`` terms."""
    return -(-ceil_log2(lanes) // LEVELS_PER_REGISTER)


def array_latency(lanes: int) -> int:
    """Cycles from the operands of a group's last step to its sums: operand registers, lane, tree, accumulator."""
    return 3 + tree_latency(lanes)


@dataclass(frozen=True)
class _Term:
    """A partial sum and the carry that still has to be added to it."""

    value: Any
    carry: Any


def _add(a: Value, b: Value, carry: Value | None) -> Value:
    """``a + b + carry`` in one carry chain: the carry enters below the lowest bit. With a carry, both are unsigned."""
    if carry is None:
        return a + b
    assert not a.shape().signed and not b.shape().signed
    return (Cat(Const(1, 1), a) + Cat(carry, b)) >> 1


class FoldedArray(wiring.Component):
    """``pe`` rows of ``lanes`` lanes that accumulate inner products over the steps of a group. It never stalls.

    One step per cycle while ``valid``; ``first`` and ``last`` mark the ends of a group. ``latency`` cycles after
    ``last``, ``done`` is up for one cycle and ``sums`` holds the results until the next group's first step arrives
    there.

    Members
    -------
    x : In, lanes elements of the feature format, shared by all rows
    w : In, pe x lanes elements of the weight format, row after row
    valid, first, last : In
    sums : Out, pe elements of the sum format
    done : Out
    """

    def __init__(self, *, kernel: str, pe: int, lanes: int, x: Format, w: Format, total: Format):
        self.kernel = kernel
        self.pe = pe
        self.lanes = lanes
        self.x_format = x
        self.w_format = w
        self.total = total
        self.latency = array_latency(lanes)
        super().__init__(
            {
                "x": In(lanes * x.bits),
                "w": In(pe * lanes * w.bits),
                "valid": In(1),
                "first": In(1),
                "last": In(1),
                "sums": Out(pe * total.bits),
                "done": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        # Operands come out of block RAM, which takes half a cycle: they get a register before any arithmetic.
        x_held, w_held = Signal.like(self.x), Signal.like(self.w)
        m.d.sync += [x_held.eq(self.x), w_held.eq(self.w)]
        xs = [_as(x_held.word_select(k, self.x_format.bits), self.x_format) for k in range(self.lanes)]
        sums = []
        for row in range(self.pe):
            base = row * self.lanes
            ws = [_as(w_held.word_select(base + k, self.w_format.bits), self.w_format) for k in range(self.lanes)]
            terms = [self._lane(m, x, w, f"row{row}_lane{k}") for k, (x, w) in enumerate(zip(xs, ws, strict=True))]
            sums.append(self._tree(m, terms, f"row{row}"))

        delay = self.latency - 1
        valid, first, last = (_delayed(m, s, delay) for s in (self.valid, self.first, self.last))
        for row, term in enumerate(sums):
            total = Signal(self.total.bits, name=f"total{row}")
            base = _as(Mux(first, 0, total), self.total)
            with m.If(valid):
                m.d.sync += total.eq(_add(base, term.value, term.carry))
            m.d.comb += self.sums.word_select(row, self.total.bits).eq(total)
        m.d.sync += self.done.eq(valid & last)
        return m

    def _lane(self, m: Module, x: Value, w: Value, name: str) -> _Term:
        lo, hi = term_range(self.kernel, self.x_format, self.w_format)
        if self.kernel == "mult":
            fmt = format_for(lo, hi)
            product = Signal(Shape(fmt.bits, fmt.signed), name=f"{name}_product")
            m.d.sync += product.eq(x * w)
            return _Term(product, None)
        bits = format_for(0, -lo).bits
        difference = Signal(signed(bits + 1), name=f"{name}_difference")
        folded = Signal(bits, name=f"{name}_folded")
        negative = Signal(name=f"{name}_negative")
        m.d.comb += difference.eq(x - w)
        m.d.sync += [folded.eq(difference[:bits] ^ difference[-1].replicate(bits)), negative.eq(difference[-1])]
        return _Term(folded, negative)

    def _tree(self, m: Module, terms: list[_Term], name: str) -> _Term:
        """Sum pairwise, a register behind every LEVELS_PER_REGISTER levels and behind the last."""
        level = 0
        while len(terms) > 1:
            level += 1
            odd = terms[-1:] if len(terms) % 2 else []
            terms = [
                _Term(_add(a.value, b.value, a.carry), b.carry) for a, b in zip(terms[0:-1:2], terms[1::2], strict=True)
            ] + odd
            if level % LEVELS_PER_REGISTER == 0 or len(terms) == 1:
                terms = [self._register(m, term, f"{name}_level{level}_{k}") for k, term in enumerate(terms)]
        return terms[0]

    def _register(self, m: Module, term: _Term, name: str) -> _Term:
        value = Signal.like(term.value, name=name)
        m.d.sync += value.eq(term.value)
        if term.carry is None:
            return _Term(value, None)
        carry = Signal(name=f"{name}_carry")
        m.d.sync += carry.eq(term.carry)
        return _Term(value, carry)


class Reduce(wiring.Component):
    """The array of a pool: ``lanes`` independent channels, the largest or the sum over the steps of a group.

    Members are those of `FoldedArray` without weights; ``latency`` is 2: operand registers, accumulator.
    """

    latency = 2

    def __init__(self, *, function: str, lanes: int, x: Format, total: Format):
        if function not in ("max", "sum"):
            raise ValueError(f"function of a pool must be max or sum, not {function!r}")
        self.function = function
        self.lanes = lanes
        self.x_format = x
        self.total = total
        super().__init__(
            {
                "x": In(lanes * x.bits),
                "valid": In(1),
                "first": In(1),
                "last": In(1),
                "sums": Out(lanes * total.bits),
                "done": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        x_held = Signal.like(self.x)
        m.d.sync += x_held.eq(self.x)
        valid, first, last = (_delayed(m, s, 1) for s in (self.valid, self.first, self.last))
        for lane in range(self.lanes):
            x = _as(x_held.word_select(lane, self.x_format.bits), self.x_format)
            total = Signal(self.total.bits, name=f"total{lane}")
            before = _as(total, self.total)
            after = Mux(x > before, x, before) if self.function == "max" else before + x
            with m.If(valid):
                m.d.sync += total.eq(Mux(first, x, after))
            m.d.comb += self.sums.word_select(lane, self.total.bits).eq(total)
        m.d.sync += self.done.eq(valid & last)
        return m


def _as(value: Value, fmt: Format) -> Value:
    return value.as_signed() if fmt.signed else value.as_unsigned()


def _delayed(m: Module, signal: Value, cycles: int) -> Value:
    for k in range(cycles):
        later = Signal.like(signal, name=f"{signal.name}_{k + 1}")
        m.d.sync += later.eq(signal)
        signal = later
    return signal
