"""Products of a constant matrix with shared sums.

Every weight is a sum of signed powers of two with as few terms as can be (canonical signed digits), so every row is a
sum of features that are moved and added or subtracted. What two terms make together, wherever they stand in whichever
row with the same distance and the same signs, is computed once (Hartley, 1996, "Subexpression sharing in filters using
canonic signed digit multipliers"). The pair that saves most is taken first, until none occurs twice; ties go to the
pair that was known first, so that equal matrices give equal circuits.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from heapq import heappop, heappush

from ...quant.program import powers_of_two
from .graph import SumGraph, Tap

__all__ = ["shared_sums"]

_BEFORE_LEVELS = 8
"""Levels that weigh as much as a bit."""
Term = tuple[int, int, int]
"""A node, the places by which it is moved, and 1 or -1."""
Pattern = tuple[int, int, int, int]
"""Two nodes, the places by which the second stands further left, and the sign between them."""


def shared_sums(
    graph: SumGraph, features: Sequence[Tap], rows: Sequence[Sequence[int]], *, slack: int = 1
) -> list[list[Tap]]:
    """The terms of every row of a constant matrix times ``features``, those shared taken together.

    Parameters
    ----------
    graph : takes the nodes that are shared
    features : different nodes, none of which is constant
    rows : weights of each row, one for each feature
    slack : levels by which sums may become deeper than without sharing

    Returns
    -------
    taps whose sum is the product of each row
    """
    search = _Search(graph, features, rows, slack)
    while search.step():
        pass
    return [[Tap(*term) for term in sorted(row)] for row in search.rows]


class _Search:
    """Rows as sets of (node, shift, sign), and how often every pattern occurs in them.

    What a pattern saves is kept in a heap. Where its count changes, what it saves now is pushed besides what it saved
    before, which is thrown away where it comes to the top: a step looks at the patterns that it changed, not at all.
    """

    def __init__(self, graph: SumGraph, features: Sequence[Tap], rows: Sequence[Sequence[int]], slack: int):
        self.graph = graph
        self.rows = [
            {
                (tap.node, abs(digit).bit_length() - 1, 1 if digit > 0 else -1)
                for tap, weight in zip(features, row, strict=True)
                for digit in powers_of_two(weight)
            }
            for row in rows
        ]
        self.weight = [sum(1 << graph.nodes[term[0]].level for term in row) for row in self.rows]
        self.most = 1 << (max(self.weight, default=1) - 1).bit_length() + slack
        self.counts: Counter[Pattern] = Counter()
        self.price: dict[Pattern, int] = {}
        self.given_up: set[Pattern] = set()
        self.heap: list[tuple[int, Pattern]] = []
        self.changed: set[Pattern] = set()
        self.holders: defaultdict[int, set[int]] = defaultdict(set)  # rows with terms of a node, or that had some
        for number, row in enumerate(self.rows):
            terms = sorted(row)
            for node, _, _ in terms:
                self.holders[node].add(number)
            for k, term in enumerate(terms):
                self._count(term, terms[k + 1 :], 1)

    def step(self) -> bool:
        """Take the pair that saves most out of all rows; whether there was one."""
        pattern = self._best()
        if pattern is None:
            return False
        holders = self.holders[pattern[0]] & self.holders[pattern[1]]
        found = [(row, self._places(row, pattern)) for row in sorted(holders)]
        if sum(len(places) for _, places in found) < 2:
            self.given_up.add(pattern)
            return True
        first, second, distance, sign = pattern
        made = self.graph.sum([Tap(first), Tap(second, distance, sign)])
        for row, places in found:
            for at, outer in places:
                self._replace(row, (first, at, outer), (second, at + distance, outer * sign),
                              (made.node, at + made.shift, outer * made.sign))  # fmt: skip
        return True

    def _best(self) -> Pattern | None:
        """The pattern that saves most, of equals the first; None where none occurs twice."""
        for pattern in self.changed:
            if (count := self.counts[pattern]) > 1 and pattern not in self.given_up:
                heappush(self.heap, (-self._saved(pattern, count), pattern))
        self.changed.clear()
        while self.heap:
            loss, pattern = heappop(self.heap)
            count = self.counts[pattern]
            if count > 1 and pattern not in self.given_up and -loss == self._saved(pattern, count):
                return pattern
        return None

    def _saved(self, pattern: Pattern, count: int) -> int:
        """Bits in which both terms meet, once for each adder that is saved; of equals those of low levels."""
        if pattern not in self.price:
            first, second, distance, _ = pattern
            a, b = self.graph.nodes[first], self.graph.nodes[second]
            meeting = max(1, min(a.format.bits - distance, b.format.bits))
            self.price[pattern] = meeting * _BEFORE_LEVELS - max(a.level, b.level)
        return (count - 1) * self.price[pattern]

    def _places(self, row: int, pattern: Pattern) -> list[tuple[int, int]]:
        """Where ``pattern`` stands in a row, no term twice: shift and sign of its first term; as often as the row does
        not become too deep."""
        first, second, distance, sign = pattern
        terms, taken = self.rows[row], set[Term]()
        places: list[tuple[int, int]] = []
        nodes = self.graph.nodes
        levels = nodes[first].level, nodes[second].level
        more = (2 << max(levels)) - (1 << levels[0]) - (1 << levels[1])
        for one in sorted(term for term in terms if term[0] == first):
            _, at, own = one
            other = second, at + distance, own * sign
            if one in taken or other in taken or other not in terms:
                continue
            if self.weight[row] + more * (len(places) + 1) > self.most:
                break
            taken |= {one, other}
            places.append((at, own))
        return places

    def _replace(self, row: int, one: Term, other: Term, by: Term) -> None:
        self._take(row, one)
        self._take(row, other)
        while by in self.rows[row]:  # twice the same is once a place further left
            self._take(row, by)
            by = (by[0], by[1] + 1, by[2])
        self.weight[row] += 1 << self.graph.nodes[by[0]].level
        self._count(by, self.rows[row], 1)
        self.rows[row].add(by)
        self.holders[by[0]].add(row)

    def _take(self, row: int, term: Term) -> None:
        self.rows[row].remove(term)
        self.weight[row] -= 1 << self.graph.nodes[term[0]].level
        self._count(term, self.rows[row], -1)

    def _count(self, term: Term, others: Sequence[Term] | set[Term], change: int) -> None:
        node, shift, sign = term
        counts, changed = self.counts, self.changed
        for other, place, own in others:
            if (shift, node) <= (place, other):
                pattern = node, other, place - shift, sign * own
            else:
                pattern = other, node, shift - place, sign * own
            counts[pattern] += change
            changed.add(pattern)
