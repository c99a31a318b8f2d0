"""What an array of lanes is made of, counted by describing it once with cells that count themselves.

The circuits of `kernels` are generators that ask a `Fabric` for adders, comparators and tables, and say where
registers may stand. So the same description that becomes Verilog becomes numbers, and none is written down twice.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from types import MappingProxyType
from typing import Any

from amaranth.hdl import Const, Fragment, Instance, Module, Value, unsigned
from amaranth.hdl._ast import AnyConst, Slice  # private: values that nothing drives; what a slice is of

from ..cells.fabric import Fabric
from ..cells.known import FABRICS
from ..cells.words import Word, plain
from .ranks import alive, settled
from .shape import ArrayShape, run_circuit
from .structures import MASKING
from .terms import Masked
from .tree import accumulate

__all__ = ["array_counts"]

Counts = Mapping[str, int]


def array_counts(shape: ArrayShape, total_bits: int) -> dict[str, int]:
    """What an array with accumulators of ``total_bits`` takes.

    Registers in both forms: ``ff_x`` and ``ff_w`` of operands, ``ff_lane`` and ``ff_first`` behind the first two
    levels, ``ff_tree`` behind the others, ``ff_sums``; ``passed`` of them only pass on what another register holds. In
    the generic form
    adders of n bits: ``add1/n`` in the first level behind the lanes, ``after/n`` in front of the accumulators,
    ``add/n`` elsewhere; ``subtract/n`` and ``less/n``; ``word`` bits of functions in front of an adder that are more
    than a signal;
    ``select<n>`` of tables of n inputs; ``count3`` and ``count7``. In a device form every cell, by its type.
    """
    row, shared = _row(replace(shape, pout=1), total_bits)
    return {key: shape.pout * row.get(key, 0) + shared.get(key, 0) for key in {*row, *shared}}


@cache
def _row(shape: ArrayShape, total_bits: int) -> tuple[Counts, Counts]:
    """What a row takes, and what all rows share: the features."""
    counts: Counter[str] = Counter()
    shared: Counter[str] = Counter()
    fabric = _Counting(FABRICS[shape.fabric], counts)
    m = Module()
    xs = [_wire(shape.x.bits) for _ in range(shape.pin)]
    ws = [[_wire(shape.w.bits) for _ in range(shape.pin)]]
    shared["ff_x"] += shape.pin * shape.x.bits
    counts["ff_w"] += shape.pin * shape.w.bits
    features = {id(signal) for signal in xs}
    held = {*features, *(id(signal) for signal in ws[0])}
    kept: list[Any] = []  # so that no other object can get the identity of one that is gone

    def pass_on(level: int, state: Any) -> Any:
        fabric.level = level + 1
        if level not in shape.cuts:
            return settled(state) if shape.structure in MASKING else state
        registers: dict[int, Value] = {}

        def register(value: Any) -> Value:
            if isinstance(value, Const) or (isinstance(value, Value) and len(value) == 0):
                return value
            if id(value) not in registers:
                source = value.value if isinstance(value, Masked) else value
                width, origin = len(source), _of(source)
                register = registers[id(value)] = _wire(width)
                own = shared if origin in features else counts
                if origin in held:
                    if shape.structure == "booth" and width == shape.w.bits and origin not in features:
                        width = _digits_left(shape, level)
                    own["passed"] += width
                own[("ff_lane", "ff_first")[level] if level < 2 else "ff_tree"] += width
                held.add(id(register))
                if origin in features:
                    features.add(id(register))
                kept.append((value, register))
            return registers[id(value)]

        return alive(state, register)

    sums = run_circuit(m, fabric, shape, xs, ws, Const(1, 1), pass_on)
    fabric.level = -1
    accumulate(m, fabric, _wire(total_bits), _wire(1), sums, 0)
    counts["ff_sums"] += total_bits
    for cell in _cells(Fragment.get(m, None)):
        counts[cell] += 1
    return MappingProxyType(counts), MappingProxyType(shared)


@cache
def _template(bits: int) -> Value:
    return AnyConst(unsigned(bits))


def _wire(bits: int) -> Value:
    """Something of ``bits`` bits, and nothing more. A `Signal` would look for its name, and any value for the line that
    it comes from; that takes longer than all the rest of a description."""
    template = _template(bits)
    wire: Value = object.__new__(type(template))
    vars(wire).update(vars(template))
    return wire


def _digits_left(shape: ArrayShape, level: int) -> int:
    """Bits of a weight that the digits behind ``level`` still read: three each, the lowest one shared."""
    digits = shape.w.bits // 2 + 1 if not shape.w.signed else -(-shape.w.bits // 2)
    return max(0, shape.w.bits - 2 * level - 1) if level < digits - 1 else 0


def _of(value: Any) -> int:
    """Identity of the signal that a slice is of."""
    while isinstance(value, Slice):
        value = value.value
    return id(value)


def _cells(fragment: Fragment) -> Iterator[str]:
    for inner, *_ in fragment.subfragments:
        if isinstance(inner, Instance):
            yield inner.type
        else:
            yield from _cells(inner)


class _Counting(Fabric):
    """A fabric that keeps account of what it is asked for. The generic one makes nothing: its cells are counted by what
    was asked, those of a device by their kind."""

    def __init__(self, inner: Fabric, counts: Counter[str]):
        self.inner = inner
        self.counts = counts
        self.level = 0
        self.generic = inner.name == "generic"
        self.name, self.arity = inner.name, inner.arity
        self.cell_inputs, self.lut_inputs = inner.cell_inputs, inner.lut_inputs

    def group(self, words: Sequence[Word]) -> int:
        return self.inner.group(words)

    def add(self, m: Module, words: Sequence[Word], carries: Sequence[Value], bits: int, name: str) -> Value:
        if not self.generic:
            return self.inner.add(m, words, carries, bits, name)
        kind = "after" if self.level < 0 else "add1" if self.level == 1 else "add"
        self.counts[f"{kind}/{bits}"] += 1
        self.counts["word"] += sum(min(w.width, bits) for w in words if not w.is_plain and len(w.inputs) > 1)
        return _wire(bits)

    def less(self, m: Module, a: Word, b: Word, name: str, enable: Value | None = None) -> Value:
        if not self.generic:
            return self.inner.less(m, a, b, name, enable)
        self.counts[f"less/{a.width}"] += 1
        return _wire(1)

    def subtract(self, m: Module, a: Word, b: Word, name: str) -> tuple[Word, Value]:
        if not self.generic:
            return self.inner.subtract(m, a, b, name)
        self.counts[f"subtract/{a.width}"] += 1
        return plain(_wire(a.width)), _wire(1)

    def count7(self, m: Module, bits: Sequence[Value], name: str) -> Value:
        if not self.generic:
            return self.inner.count7(m, bits, name)
        self.counts["count7"] += 1
        return _wire(3)

    def count3(self, m: Module, bits: Sequence[Value], name: str) -> Value:
        if not self.generic:
            return self.inner.count3(m, bits, name)
        self.counts["count3"] += 1
        return _wire(2)

    def select(self, m: Module, word: Word, name: str) -> Value:
        if not self.generic:
            return self.inner.select(m, word, name)
        self.counts[f"select{len(word.inputs)}"] += word.width
        return _wire(word.width)
