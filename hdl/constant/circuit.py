"""Layers of fixed weights as graphs of sums, from features to results, and the ranks of registers in them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property

import numpy as np

from ...quant.formats import Format
from ...quant.program import powers_of_two
from .graph import COUNTED, LARGER, LOOKED_UP, SUM, SumGraph, Tap
from .kernels import TABLE_INPUTS, accumulators
from .scaling import Line, simplest_line

__all__ = ["ConstantCircuit", "ConstantLayer", "ConstantResult", "Levelled", "Scaled", "circuit_of"]

TABLE_BITS = 7
"""Bits of an accumulator up to which its result comes from a table."""
REGISTERS = 4
"""Registers that are worth a lookup table."""


@dataclass(frozen=True, kw_only=True)
class Scaled:
    """A requantise: ``clamp((acc * M + B) >> S, lo, hi)``; a factor, an offset and a shift for every row."""

    multipliers: tuple[int, ...]
    offsets: tuple[int, ...]
    shifts: tuple[int, ...]
    lo: int
    hi: int

    def result(self, row: int, acc: int) -> int:
        """y of one row."""
        y = (acc * self.multipliers[row] + self.offsets[row]) >> self.shifts[row]
        return min(max(y, self.lo), self.hi)


@dataclass(frozen=True, kw_only=True)
class Levelled:
    """Thresholds of every row, and whether its result falls where the accumulator rises."""

    thresholds: tuple[tuple[int, ...], ...]
    falling: tuple[bool, ...]

    def result(self, row: int, acc: int) -> int:
        """y of one row."""
        reached = sum(acc >= level for level in self.thresholds[row])
        return len(self.thresholds[row]) - reached if self.falling[row] else reached


@dataclass(frozen=True, kw_only=True)
class ConstantLayer:
    """What a circuit computes.

    Attributes
    ----------
    kernel : ``adder``, ``mult``, ``xnor`` or ``shift``
    x, y : formats of features and results
    weights : (rows, features), what the words of a layer stand for: of the binary kernel 1 and -1
    activation : what makes results of accumulators
    """

    kernel: str
    x: Format
    y: Format
    weights: tuple[tuple[int, ...], ...]
    activation: Scaled | Levelled

    def bounds(self, row: int) -> tuple[int, int]:
        """Smallest and largest accumulator of one row."""
        weights = self.weights[row]
        if self.kernel == "adder":
            outside = [max(w - self.x.hi, self.x.lo - w, 0) for w in weights]
            return -sum(max(abs(w - self.x.lo), abs(self.x.hi - w)) for w in weights), -sum(outside)
        if self.kernel == "xnor":
            return -len(weights), len(weights)
        ends = [(w * self.x.lo, w * self.x.hi) for w in weights]
        return sum(min(pair) for pair in ends), sum(max(pair) for pair in ends)


@dataclass(frozen=True, kw_only=True)
class ConstantResult:
    """``clamp(total >> shift, lo, hi)``.

    Attributes
    ----------
    total : a plain tap
    """

    total: Tap
    shift: int
    lo: int
    hi: int


@dataclass(frozen=True, kw_only=True, eq=False)
class ConstantCircuit:
    """A graph with its results; see `circuit_of`.

    Attributes
    ----------
    features : taps of all features
    """

    layer: ConstantLayer
    graph: SumGraph
    features: tuple[Tap, ...]
    results: tuple[ConstantResult, ...]

    def clamps(self, result: ConstantResult) -> tuple[bool, bool]:
        """Whether a total can lie below ``lo``, and above ``hi``."""
        node = self.graph.nodes[result.total.node]
        return node.lo >> result.shift < result.lo, node.hi >> result.shift > result.hi

    def end(self, result: ConstantResult) -> int:
        """The level behind which a result is there: a clamp takes one of its own."""
        return self.graph.level(result.total) + any(self.clamps(result))

    @property
    def depth(self) -> int:
        """Levels between features and results."""
        return max(self.end(result) for result in self.results)

    def cuts(self, reach: int) -> tuple[int, ...]:
        """The levels behind which a rank of registers stands: as few as leave at most ``reach`` levels between two
        ranks, and of those the cheapest, see `_rank_price`; one more where that is cheaper."""
        depth = self.depth
        ranks = -(-depth // reach) - 1
        if ranks < 1:
            return ()
        price = [self._rank_price(level) for level in range(depth)]
        best: dict[int, tuple[int, tuple[int, ...]]] = {0: (0, ())}
        found = []
        for count in range(1, ranks + 2):
            best = {
                level: min(
                    (best[before][0] + price[level], (*best[before][1], level))
                    for before in range(max(0, level - reach), level) if before in best
                )
                for level in range(1, depth) if any(before in best for before in range(max(0, level - reach), level))
            }  # fmt: skip
            if count >= ranks:
                found += [way for level, way in best.items() if depth - level <= reach]
        return min(found, key=lambda way: (way[0], len(way[1])))[1]

    def _rank_price(self, level: int) -> int:
        """What a rank behind ``level`` costs, in registers, of which `REGISTERS` are worth a lookup table: bits that it
        holds; tables of counts that are not made in front of their sum; less those of the larger of two, which a
        register chooses by its reset."""
        nodes = self.graph.nodes
        price = self.alive[level]
        for number in self.crossing(level):
            node = nodes[number]
            price += (
                REGISTERS * node.format.bits * ((node.kind == COUNTED) - (node.kind == LARGER and node.level == level))
            )
        return price

    @cached_property
    def alive(self) -> list[int]:
        """Bits that a rank behind each level, from 0 on, would hold."""
        return [
            sum(self.graph.nodes[number].format.bits for number in self.crossing(level))
            + self.layer.y.bits * sum(self.end(result) <= level for result in self.results)
            for level in range(self.depth)
        ]

    def crossing(self, level: int) -> list[int]:
        """Nodes of up to ``level`` that something behind it reads; not those of finished results. Counts of its own
        level are made behind it, in front of the sums that take them."""
        return [number for number, first, last in self._spans if first <= level <= last]

    @cached_property
    def _spans(self) -> list[tuple[int, int, int]]:
        """Every node that changes and is read, with the first and the last level that it crosses: from its own, of a
        count from the next one, to that in front of its last reader; a count reads at its level what crosses it."""
        nodes, last = self.graph.nodes, dict[int, int]()
        for number in self.used:
            node = nodes[number]
            for tap in node.taps:
                last[tap.node] = max(last.get(tap.node, -1), node.level - (node.kind != COUNTED))
        for result in self.results:
            last[result.total.node] = max(last.get(result.total.node, -1), self.end(result) - 1)
        return [
            (number, nodes[number].level + (nodes[number].kind == COUNTED), last[number])
            for number in sorted(last) if nodes[number].lo < nodes[number].hi
        ]  # fmt: skip

    @cached_property
    def used(self) -> list[int]:
        """Nodes that results depend on."""
        return self.graph.used(result.total for result in self.results)

    def values(self, features: Sequence[int]) -> list[int]:
        """All results, in plain integers."""
        values = self.graph.values(features)
        return [min(max(values[r.total.node] >> r.shift, r.lo), r.hi) for r in self.results]

    def counts(self, reach: int) -> dict[str, int]:
        """What it is made of: sums of n bits, ``add/n``; bits of tables of n inputs, ``table/n``, of the larger of two
        those that no register chooses; comparisons of n bits of a feature with a constant, ``less/n``, in tables of up
        to six inputs, whose lowest bits those with the same constant share; and registers, ``ff``."""
        counts: Counter[str] = Counter()
        cuts, lows = self.cuts(reach), set()
        for number in self.used:
            node = self.graph.nodes[number]
            if not node.taps or not node.bits:
                continue
            if node.kind == LOOKED_UP:
                counts[f"table/{len(node.table).bit_length() - 1}"] += node.bits
            elif node.kind == SUM:
                counts[f"add/{node.bits}"] += 1
            else:
                counts["table/2"] += node.bits * (node.level not in cuts)
                counts[f"less/{min(self.layer.x.bits, TABLE_INPUTS)}"] += 1
                if low := self.layer.x.bits - TABLE_INPUTS + 1 if self.layer.x.bits > TABLE_INPUTS else 0:
                    lows.add((node.taps, low, node.constant & ((1 << low) - 1)))
        for _, low, constant in lows:
            counts[f"less/{low}"] += constant > 0
        counts["ff"] = sum(self.alive[level] for level in cuts) + len(cuts)
        return {name: count for name, count in counts.items() if count}


@cache
def circuit_of(layer: ConstantLayer, words: int = 2, *, compress: bool = False) -> ConstantCircuit:
    """The circuit of ``layer``: equal layers give equal circuits.

    Parameters
    ----------
    words : that an adder takes
    compress : words are counted in front of adders of two, see `SumGraph`
    """
    if words > 2:
        made = circuit_of(layer)
        graph, ends = made.graph.fused([*made.features, *(result.total for result in made.results)], words)
        totals = ends[len(made.features) :]
        results = [replace(result, total=total) for result, total in zip(made.results, totals, strict=True)]
        return ConstantCircuit(
            layer=layer, graph=graph, features=tuple(ends[: len(made.features)]), results=tuple(results)
        )  # fmt: skip
    graph = SumGraph(compress=compress)
    weight = np.array(layer.weights, np.int64).reshape(len(layer.weights), -1)
    features = tuple(graph.feature(number, layer.x) for number in range(weight.shape[1]))
    results = []
    for row, (terms, constant) in enumerate(accumulators(graph, layer.kernel, features, layer.x, weight)):
        results.append(_result(graph, layer, row, terms, constant))
    return ConstantCircuit(layer=layer, graph=graph, features=features, results=tuple(results))


def _result(
    graph: SumGraph, layer: ConstantLayer, row: int, terms: Sequence[Tap], constant: int
) -> ConstantResult:  # fmt: skip
    """The result of one row, whose accumulator is the sum of ``terms`` and ``constant``."""
    acc = graph.joined(terms)
    node = graph.nodes[acc.node]
    made = layer.activation
    if node.lo == node.hi:
        y = made.result(row, graph.ends(acc)[0] + constant)
        return ConstantResult(total=graph.constant(y), shift=0, lo=y, hi=y)
    if node.format.bits <= TABLE_BITS:

        def looked(value: int) -> int:
            return made.result(row, (acc.sign * value << acc.shift) + constant)

        return _plain(graph, graph.table([Tap(acc.node)], looked))
    if isinstance(made, Levelled):
        once = graph.compress and len(made.thresholds[row]) == 1
        return _levelled(graph, layer, row, terms if once else [acc], constant)
    return _scaled(graph, layer, row, terms if graph.compress else [acc], constant)


def _plain(graph: SumGraph, tap: Tap) -> ConstantResult:
    node = graph.nodes[tap.node]
    return ConstantResult(total=tap, shift=0, lo=node.lo, hi=node.hi)


def _levelled(
    graph: SumGraph, layer: ConstantLayer, row: int, terms: Sequence[Tap], constant: int
) -> ConstantResult:  # fmt: skip
    """How many thresholds are reached: signs of differences, counted."""
    made, (lo, hi) = layer.activation, layer.bounds(row)
    assert isinstance(made, Levelled)
    signs, always = [], 0
    for level in made.thresholds[row]:
        difference = graph.total(terms, constant - level, (lo - level, hi - level))
        node = graph.nodes[difference.node]
        if node.lo >= 0 or node.hi < 0:
            always += node.lo >= 0
        else:
            signs.append(graph.reached(difference))
    most, sign = len(made.thresholds[row]), -1 if made.falling[row] else 1
    start = most - always if made.falling[row] else always
    taps = [tap.times(sign) for tap in signs]
    if len(taps) > 1:
        taps = [graph.joined(taps)]
    return _plain(graph, graph.total(taps, start, (0, most)))


def _scaled(
    graph: SumGraph, layer: ConstantLayer, row: int, terms: Sequence[Tap], constant: int
) -> ConstantResult:  # fmt: skip
    """The accumulator times a constant, digit by digit, and an offset: of one digit all in one sum."""
    made, (lo, hi) = layer.activation, layer.bounds(row)
    assert isinstance(made, Scaled)
    own = Line(multiplier=made.multipliers[row], offset=made.offsets[row], shift=made.shifts[row])
    clamp = made.lo, made.hi
    if own.multiplier == 0:
        y = made.result(row, 0)
        return ConstantResult(total=graph.constant(y), shift=0, lo=y, hi=y)
    if own.multiplier < 0:  # a line that rises, of the negative
        terms, constant, (lo, hi) = [term.times(-1) for term in terms], -constant, (-hi, -lo)
        own = Line(multiplier=-own.multiplier, offset=own.offset, shift=own.shift)
    line = simplest_line(own, lo, hi, clamp)
    digits = powers_of_two(line.multiplier)
    if len(digits) > 1:
        terms = [graph.joined(terms)]
    moved = [
        term.moved(abs(digit).bit_length() - 1).times(1 if digit > 0 else -1) for digit in digits for term in terms
    ]
    ends = tuple(end * line.multiplier + line.offset for end in (lo, hi))
    if not graph.compress:
        moved = [graph.joined(moved)]
    total = graph.total(moved, line.offset + line.multiplier * constant, (ends[0], ends[1]))
    return ConstantResult(total=total, shift=line.shift, lo=clamp[0], hi=clamp[1])
