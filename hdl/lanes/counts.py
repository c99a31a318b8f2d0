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

from amaranth.hdl import Const, Fragment, Instance, Module, Value
from amaranth.hdl._ast import Slice  # private: what a slice is of

from ..cells.fabric import Fabric
from ..cells.known import FABRICS
from ..cells.words import Word
from .ranks import alive, settled
from .shape import ArrayShape, run_circuit
from .silent import SilentFabric, silent_value
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
    xs = [silent_value(shape.x.bits) for _ in range(shape.pin)]
    ws = [[silent_value(shape.w.bits) for _ in range(shape.pin)]]
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
                register = registers[id(value)] = silent_value(width)
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
    accumulate(m, fabric, silent_value(total_bits), silent_value(1), sums, 0)
    counts["ff_sums"] += total_bits
    for cell in _cells(Fragment.get(m, None)):
        counts[cell] += 1
    return MappingProxyType(counts), MappingProxyType(shared)


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


class _Counting(SilentFabric):
    """A fabric that keeps account of what it is asked for. The generic one makes nothing: its cells are counted by what
    was asked, those of a device by their kind."""

    def __init__(self, inner: Fabric, counts: Counter[str]):
        super().__init__(inner)
        self.counts = counts
        self.level = 0
        self.generic = inner.name == "generic"

    def add(self, m: Module, words: Sequence[Word], carries: Sequence[Value], bits: int, name: str) -> Value:
        if not self.generic:
            return self.inner.add(m, words, carries, bits, name)
        kind = "after" if self.level < 0 else "add1" if self.level == 1 else "add"
        self.counts[f"{kind}/{bits}"] += 1
        self.counts["word"] += sum(min(w.width, bits) for w in words if not w.is_plain and len(w.inputs) > 1)
        return super().add(m, words, carries, bits, name)

    def less(self, m: Module, a: Word, b: Word, name: str, enable: Value | None = None) -> Value:
        if not self.generic:
            return self.inner.less(m, a, b, name, enable)
        self.counts[f"less/{a.width}"] += 1
        return super().less(m, a, b, name, enable)

    def subtract(self, m: Module, a: Word, b: Word, name: str) -> tuple[Word, Value]:
        if not self.generic:
            return self.inner.subtract(m, a, b, name)
        self.counts[f"subtract/{a.width}"] += 1
        return super().subtract(m, a, b, name)

    def count7(self, m: Module, bits: Sequence[Value], name: str) -> Value:
        if not self.generic:
            return self.inner.count7(m, bits, name)
        self.counts["count7"] += 1
        return super().count7(m, bits, name)

    def count3(self, m: Module, bits: Sequence[Value], name: str) -> Value:
        if not self.generic:
            return self.inner.count3(m, bits, name)
        self.counts["count3"] += 1
        return super().count3(m, bits, name)

    def select(self, m: Module, word: Word, name: str) -> Value:
        if not self.generic:
            return self.inner.select(m, word, name)
        self.counts[f"select{len(word.inputs)}"] += word.width
        return super().select(m, word, name)
