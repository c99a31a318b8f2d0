"""Graphs of sums: what a circuit of constants computes, number by number, with the range and the level of each.

A node is a feature, a sum of few nodes, each moved some places to the left and added or subtracted, and of a constant,
the larger of a feature and a constant, whether a node is 0 or more, a table of a few bits, or a plane of a bitwise
count of words. Equal nodes are one node, so whatever two results share is built once.

Planes of counts are how one carry chain adds more than two words: with the words ``p``, ``q`` and ``r`` counted bit by
bit, ``a + p + q + r`` is ``(a + ones) + 2 twos``. Where the table in front of a carry cell has inputs left, as those of
six inputs have, both planes are computed in it, and two chains do what three would.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

from ...quant.formats import Format, format_for

__all__ = ["COUNTED", "FEATURE", "LARGER", "LOOKED_UP", "REACHED", "SUM", "Node", "SumGraph", "Tap", "counted_planes"]

FEATURE, SUM, LARGER, REACHED, LOOKED_UP, COUNTED = "feature", "sum", "larger", "reached", "table", "counted"
"""Kinds of nodes."""
TOGETHER = 4
"""Words that are added at once while there are many: two chains for three words fewer, as few levels as in pairs."""


@dataclass(frozen=True, slots=True)
class Tap:
    """``sign * (node << shift)``.

    Attributes
    ----------
    node : number of the node
    sign : 1 or -1
    """

    node: int
    shift: int = 0
    sign: int = 1

    def times(self, sign: int) -> "Tap":
        """This times ``sign``, which is 1 or -1."""
        return Tap(self.node, self.shift, self.sign * sign)

    def moved(self, places: int) -> "Tap":
        """This times two to the power of ``places``."""
        return Tap(self.node, self.shift + places, self.sign)


@dataclass(frozen=True, slots=True)
class Node:
    """A number of the circuit.

    Attributes
    ----------
    kind : `FEATURE`, `SUM`, `LARGER`, `REACHED`, `LOOKED_UP` or `COUNTED`
    taps : what it reads; nothing, of a feature and of a number that never changes, which is a sum of nothing
    constant : what a sum adds besides, or what another is compared with; of a feature its number
    table : values for the bits of all that it reads, the first lowest
    plane : of a count its bit: 0 the ones, 1 the twos, 2 the fours. Its words are what it reads, those that are
        negative complemented, and ``constant``
    wraps : bits of a sum of which only so many are wanted; 0 for all
    zeros : lowest bits that are never set, of a count; of a sum those of its last word
    lo, hi : its range
    level : nodes on the longest way from a feature
    """

    kind: str
    taps: tuple[Tap, ...] = ()
    constant: int = 0
    table: tuple[int, ...] = ()
    plane: int = 0
    wraps: int = 0
    zeros: int = field(default=0, compare=False)
    lo: int = field(default=0, compare=False)
    hi: int = field(default=0, compare=False)
    level: int = field(default=0, compare=False)

    @property
    def format(self) -> Format:
        """The narrowest that holds it."""
        return format_for(self.lo, self.hi)

    @property
    def passed(self) -> int:
        """Lowest bits of a sum that only one of its words has, which therefore pass: 2 of ``a + (b << 2)``."""
        if self.kind != SUM:
            return 0
        low = [(tap.shift, tap.sign) for tap in self.taps]
        if self.zeros:
            low[-1] = (low[-1][0] + self.zeros, low[-1][1])
        if self.constant:
            low.append(((self.constant & -self.constant).bit_length() - 1, 1))
        low.sort(key=lambda word: (word[0], -word[1]))
        return low[1][0] if len(low) > 1 and low[0][1] > 0 else 0

    @property
    def bits(self) -> int:
        """Cells that it takes, roughly: bits of a sum where anything is added, or of the result of something else."""
        return self.format.bits - self.passed if self.taps and self.kind not in (REACHED, COUNTED) else 0


class SumGraph:
    """A graph under construction; nodes are numbered as they come, each behind those it reads.

    Attributes
    ----------
    nodes : all of them

    Parameters
    ----------
    compress : whether sums of several words are made with counts
    """

    def __init__(self, *, compress: bool = False) -> None:
        self.compress = compress
        self.nodes: list[Node] = []
        self._known: dict[Node, int] = {}

    def feature(self, number: int, fmt: Format) -> Tap:
        """Feature ``number`` of format ``fmt``."""
        return self._made(Node(kind=FEATURE, constant=number, lo=fmt.lo, hi=fmt.hi))

    def constant(self, value: int) -> Tap:
        """A number that never changes."""
        return self._made(Node(kind=SUM, constant=value, lo=value, hi=value))

    def larger(self, read: Tap, least: int) -> Tap:
        """The larger of a plain tap, a feature, and ``least``, above what all such numbers have in common: of one that
        is at least 200 and at most 255 the lowest six bits, see `above`."""
        node = self.nodes[read.node]
        base = self.above(read, least)
        if least <= node.lo:
            return read
        return self._made(
            Node(
                kind=LARGER, taps=(read,), constant=least, lo=least - base, hi=node.hi - base, level=node.level + 1
            )
        )  # fmt: skip

    def above(self, read: Tap, least: int) -> int:
        """What `larger` leaves out: its results are more, by less than the power of two that all its bits make."""
        node = self.nodes[read.node]
        return 0 if least <= node.lo else node.hi + 1 - (1 << (node.hi - least).bit_length())

    def reached(self, read: Tap) -> Tap:
        """1 where a plain tap is 0 or more, else 0: its sign, which costs no level."""
        return self._made(Node(kind=REACHED, taps=(read,), lo=0, hi=1, level=self.level(read)))

    def table(self, reads: Sequence[Tap], function: Callable[..., int]) -> Tap:
        """What ``function`` gives for the values of plain taps, looked up by their bits."""
        formats = [self.nodes[read.node].format for read in reads]
        values = [0] * (1 << sum(fmt.bits for fmt in formats))
        found = []
        for numbers in product(*(range(self.nodes[r.node].lo, self.nodes[r.node].hi + 1) for r in reads)):
            word = place = 0
            for number, fmt in zip(numbers, formats, strict=True):
                word |= fmt.encode(number) << place
                place += fmt.bits
            values[word] = function(*numbers)
            found.append(values[word])
        lo, hi = min(found), max(found)
        if lo == hi:
            return self.constant(lo)
        level = 1 + max(self.level(read) for read in reads)
        return self._made(Node(kind=LOOKED_UP, taps=tuple(reads), table=tuple(values), lo=lo, hi=hi, level=level))

    def sum(self, taps: Iterable[Tap], constant: int = 0) -> Tap:
        """The sum of ``taps`` and ``constant``. What all of them share in places stays outside of the node, as does the
        sign of the tap that stands lowest, whose bits then pass through."""
        words, constant = self._varying(taps, constant)
        if not words or (len(words) == 1 and not constant):
            return words[0] if words else self.constant(constant)
        places, sign = words[0].shift, words[0].sign
        if constant:
            places = min(places, (constant & -constant).bit_length() - 1)
        own = tuple(tap.moved(-places).times(sign) for tap in words)
        build = self._compressed if self.compress and len(own) > 2 else self._sum
        made = build(own, sign * (constant >> places))
        return Tap(made.node, places, sign)

    def total(self, taps: Iterable[Tap], constant: int, within: tuple[int, int] | None = None) -> Tap:
        """The sum of ``taps`` and ``constant`` as a node as it is, neither moved nor negative.

        Parameters
        ----------
        within : where it is known to lie
        """
        words, constant = self._varying(taps, constant)
        if not words:
            return self.constant(constant)
        if len(words) == 1 and not constant and words[0] == Tap(words[0].node):
            return words[0]
        if self.compress and len(words) + bool(constant) > 2 and any(tap.sign > 0 for tap in words):
            return self._compressed(words, constant, within)
        if len(words) > 2:
            return self.total([self.joined(words)], constant, within)
        return self._sum(tuple(words), constant, within)

    def _varying(self, taps: Iterable[Tap], constant: int) -> tuple[list[Tap], int]:
        """``taps`` without those that never change, the lowest first; what those and ``constant`` make together."""
        words = []
        for tap in sorted(taps, key=lambda tap: (tap.shift, -tap.sign, tap.node)):
            node = self.nodes[tap.node]
            if node.lo == node.hi:
                constant += tap.sign * (node.lo << tap.shift)
            else:
                words.append(tap)
        return words, constant

    def _sum(self, taps: tuple[Tap, ...], constant: int, within: tuple[int, int] | None = None) -> Tap:
        ends = [self.ends(tap) for tap in taps]
        lo, hi = sum(lo for lo, _ in ends) + constant, sum(hi for _, hi in ends) + constant
        if within is not None:
            lo, hi = max(lo, within[0]), min(hi, within[1])
        level = 1 + max(self.level(tap) for tap in taps)
        return self._made(Node(kind=SUM, taps=taps, constant=constant, lo=lo, hi=hi, level=level))

    def ends(self, tap: Tap) -> tuple[int, int]:
        """Smallest and largest value of ``tap``."""
        node = self.nodes[tap.node]
        one, other = tap.sign * (node.lo << tap.shift), tap.sign * (node.hi << tap.shift)
        return min(one, other), max(one, other)

    def level(self, tap: Tap) -> int:
        """Level of the node that ``tap`` reads."""
        return self.nodes[tap.node].level

    def joined(self, taps: Iterable[Tap]) -> Tap:
        """The sum of any number of ``taps`` in as few levels as can be: those of the lowest levels, and of these the
        narrowest, are added first."""
        if self.compress:
            return self.sum(taps)
        left = sorted(taps, key=self._rank)
        while len(left) > 1:
            left = sorted([self.sum(left[:2]), *left[2:]], key=self._rank)
        return self.sum(left)

    def _rank(self, tap: Tap) -> tuple[int, int, int, int]:
        node = self.nodes[tap.node]
        return node.level, node.format.bits + tap.shift, tap.shift, tap.node

    def _compressed(self, taps: Sequence[Tap], constant: int, within: tuple[int, int] | None = None) -> Tap:
        """The sum of several ``taps``, one of which is positive, and ``constant``: what is counted of all words but one
        is added to that one, plane by plane."""
        words = sorted(taps, key=self._rank)
        ends = [self.ends(tap) for tap in words]
        lo, hi = sum(lo for lo, _ in ends) + constant, sum(hi for _, hi in ends) + constant
        if within is not None:
            lo, hi = max(lo, within[0]), min(hi, within[1])
        while len(words) > TOGETHER:
            words = sorted([self.sum(words[:TOGETHER]), *words[TOGETHER:]], key=self._rank)
        rising = [tap for tap in words if tap.sign > 0]
        if not rising:
            return self.total([self.sum(words)], constant, (lo, hi))
        if constant and len(words) in (2, TOGETHER):  # it would take a plane of its own
            words, constant = [*words[1:], self._sum((words[0],), constant)], 0
            rising = [tap for tap in words if tap.sign > 0]
        if len(words) == 2:
            return self._sum(tuple(words), 0, (lo, hi))
        base = min(rising, key=lambda tap: (tap.shift, *self._rank(tap)))
        words.remove(base)
        constant += sum(1 << tap.shift for tap in words if tap.sign < 0)  # what complements lack
        planes = [self._counted(words, constant, k).moved(k) for k in range((len(words) + bool(constant)).bit_length())]
        return self._climbed(base, [tap for tap in planes if self.ends(tap) != (0, 0)], (lo, hi))

    def _climbed(self, base: Tap, planes: Sequence[Tap], within: tuple[int, int]) -> Tap:
        """``base`` and ``planes``, added one after the other to what lies ``within``. Sums on the way are no wider than
        the last: what they lose at the top it does not have."""
        last, total = format_for(*within), base
        for plane in planes:
            lo, hi = (sum(ends) for ends in zip(self.ends(total), self.ends(plane), strict=True))
            if plane is planes[-1]:
                lo, hi = within
            elif format_for(lo, hi).bits > last.bits:
                lo, hi = last.lo, last.hi
            zeros, level = self.nodes[plane.node].zeros, 1 + max(self.level(total), self.level(plane))
            total = self._made(
                Node(kind=SUM, taps=(total, plane), wraps=last.bits, zeros=zeros, lo=lo, hi=hi, level=level)
            )  # fmt: skip
        return total

    def _counted(self, words: Sequence[Tap], constant: int, plane: int) -> Tap:
        """Bit ``plane`` of how many of ``words``, those that are negative complemented, and of a constant word have a
        1, at every place."""
        spans = [(tap.shift, self.nodes[tap.node].format, tap.sign < 0) for tap in words]
        top = max(constant.bit_length(), *(shift + fmt.bits for shift, fmt, _ in spans))
        endless = sum(fmt.signed or down for _, fmt, down in spans) + (constant < 0) >= 1 << plane
        counts = [
            sum(shift <= place and (place < shift + fmt.bits or fmt.signed or down) for shift, fmt, down in spans)
            + (constant >> place & 1) for place in range(top)
        ]  # fmt: skip
        possible = [place for place in range(top) if counts[place] >= 1 << plane]
        if not endless and not possible:
            return self.constant(0)
        bits = top if endless else possible[-1] + 1
        return self._made(
            Node(
                kind=COUNTED, taps=tuple(sorted(words, key=lambda tap: (tap.shift, -tap.sign, tap.node))),
                constant=constant, plane=plane, zeros=possible[0] if possible else top,
                lo=-(1 << bits) if endless else 0, hi=(1 << bits) - 1, level=max(self.level(tap) for tap in words),
            )
        )  # fmt: skip

    def values(self, features: Sequence[int]) -> list[int]:
        """The values of all nodes for ``features``, in plain integers."""
        found: list[int] = []
        for node in self.nodes:
            reads = [found[tap.node] for tap in node.taps]
            if node.kind == FEATURE:
                found.append(features[node.constant])
            elif node.kind == LARGER:
                found.append(max(reads[0], node.constant) - self.above(node.taps[0], node.constant))
            elif node.kind == REACHED:
                found.append(int(reads[0] >= 0))
            elif node.kind == LOOKED_UP:
                word = place = 0
                for value, tap in zip(reads, node.taps, strict=True):
                    fmt = self.nodes[tap.node].format
                    word |= fmt.encode(value) << place
                    place += fmt.bits
                found.append(node.table[word])
            elif node.kind == COUNTED:
                words = (
                    (value if tap.sign > 0 else ~value) << tap.shift
                    for value, tap in zip(reads, node.taps, strict=True)
                )
                found.append(counted_planes([*words, node.constant])[node.plane])
            else:
                parts = (tap.sign * (value << tap.shift) for value, tap in zip(reads, node.taps, strict=True))
                found.append(_wrapped(node.constant + sum(parts), node.format))
        return found

    def fused(self, ends: Sequence[Tap], words: int) -> tuple["SumGraph", list[Tap]]:
        """The same graph for adders of up to ``words`` words: a sum that is read only once is added where it is read,
        if there is room. Returns it and the ``ends``, which are plain taps."""
        used, graph, places = self.used(ends), SumGraph(), dict[int, Tap]()
        reads = Counter(tap.node for number in used for tap in self.nodes[number].taps)
        reads.update(tap.node for tap in ends)
        for number in used:
            node = self.nodes[number]
            taps = [replace(tap, node=places[tap.node].node) for tap in node.taps]
            if node.kind != SUM:
                level = max((graph.level(tap) for tap in taps), default=-1) + (node.kind not in (FEATURE, REACHED))
                places[number] = graph._made(replace(node, taps=tuple(taps), level=max(level, 0)))
                continue
            constant, left = node.constant, words - len(taps) - bool(node.constant)
            wide = sorted(range(len(taps)), key=lambda k: -self.nodes[node.taps[k].node].bits)
            for k in wide:
                inner = graph.nodes[taps[k].node]
                more = len(inner.taps) - 1 + (bool(inner.constant) and not constant)
                # Words that are chosen from two take more inputs than three words may have in a cell.
                chosen = any(graph.nodes[tap.node].kind == LARGER for tap in (*inner.taps, *taps))
                if inner.kind == SUM and inner.taps and reads[node.taps[k].node] == 1 and more <= left and not chosen:
                    outer = taps[k]
                    taps[k : k + 1] = [tap.moved(outer.shift).times(outer.sign) for tap in inner.taps]
                    constant += outer.sign * (inner.constant << outer.shift)
                    break
            taps.sort(key=lambda tap: (tap.shift, -tap.sign, tap.node))
            places[number] = graph._sum(tuple(taps), constant, (node.lo, node.hi)) if taps else graph.constant(constant)
        return graph, [places[tap.node] for tap in ends]

    def used(self, taps: Iterable[Tap]) -> list[int]:
        """Numbers of the nodes that ``taps`` depend on, ascending."""
        found: set[int] = set()
        left = [tap.node for tap in taps]
        while left:
            number = left.pop()
            if number not in found:
                found.add(number)
                left += [tap.node for tap in self.nodes[number].taps]
        return sorted(found)

    def _made(self, node: Node) -> Tap:
        number = self._known.setdefault(node, len(self.nodes))
        if number == len(self.nodes):
            self.nodes.append(node)
        return Tap(number)


def counted_planes(words: Sequence[Any]) -> list[Any]:
    """How many of up to seven words have a 1 at each place: the ones, twos and fours of that. Of integers or of
    anything else that has ``^`` and ``&``."""
    planes: list[Any] = [words[0]]
    for word in words[1:]:
        for k, plane in enumerate(planes):
            planes[k], word = plane ^ word, plane & word
        if len(planes) < 3:
            planes.append(word)
    return planes


def _wrapped(value: int, fmt: Format) -> int:
    """The number of ``fmt`` with the lowest bits of ``value``."""
    return fmt.decode(value & ((1 << fmt.bits) - 1))
