"""A layer of fixed weights in hardware: features in, results out, a fixed number of cycles later."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Shape, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ...quant.formats import Format
from ..cells.fabric import Fabric
from ..cells.functions import complement, either
from ..cells.known import FABRICS
from ..cells.words import Word, plain
from ..streams.delay import later
from .circuit import ConstantCircuit, ConstantResult
from .graph import COUNTED, LARGER, LOOKED_UP, REACHED, SUM, Node, Tap, counted_planes

__all__ = ["ConstantArray"]


class ConstantArray(wiring.Component):
    """A `ConstantCircuit` with ranks of registers, a layer's results in every cycle; nothing in it waits.

    Members
    -------
    x : In, elements of the feature format
    valid : In
    y : Out, elements of the result format, `latency` cycles later
    done : Out, ``valid`` so many cycles later

    Parameters
    ----------
    reach : levels between two ranks of registers
    fabric : whose carry cells its sums are made of
    """

    def __init__(self, circuit: ConstantCircuit, *, reach: int, fabric: str = "generic"):
        self.circuit = circuit
        self.cuts = circuit.cuts(reach)
        self.latency = len(self.cuts)
        self.fabric = fabric
        layer = circuit.layer
        super().__init__(
            {
                "x": In(len(circuit.features) * layer.x.bits),
                "valid": In(1),
                "y": Out(len(circuit.results) * layer.y.bits),
                "done": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        circuit, graph, fabric = self.circuit, self.circuit.graph, FABRICS[self.fabric]
        x, y = circuit.layer.x, circuit.layer.y
        used = circuit.used
        values: dict[int, Value] = {
            tap.node: _typed(self.x.word_select(number, x.bits), x) for number, tap in enumerate(circuit.features)
        }
        done: dict[int, Value] = {}
        chosen: dict[int, Word] = {}
        counts = [number for number in used if graph.nodes[number].kind == COUNTED]
        for level in range(circuit.depth + 1):
            for number in used:
                if graph.nodes[number].level == level and number not in values and number not in counts:
                    values[number] = self._described(m, fabric, number, values, chosen)
            for row, result in enumerate(circuit.results):
                if circuit.end(result) == level:
                    done[row] = self._ended(result, values[result.total.node], y)
            if level in self.cuts:
                chosen = {}
                values = {
                    n: later(m, values[n], name=f"rank{level}_{n}", resets=False) for n in circuit.crossing(level)
                }
                done = {row: later(m, value, name=f"rank{level}_y{row}", resets=False) for row, value in done.items()}
            for number in counts:
                if graph.nodes[number].level == level:
                    values[number] = self._described(m, fabric, number, values, chosen)
        m.d.comb += [
            self.y.eq(Cat(done[row] for row in range(len(circuit.results)))),
            self.done.eq(later(m, self.valid, self.latency, name="valid")),
        ]
        return m

    def _described(
        self, m: Module, fabric: Fabric, number: int, values: dict[int, Value], chosen: dict[int, Word]
    ) -> Value:  # fmt: skip
        """The node ``number`` from those before it; ``chosen`` are those that are the larger of two, which a carry cell
        chooses for nothing in front of its sum."""
        node = self.circuit.graph.nodes[number]
        if not node.taps:
            return Const(node.constant, _shape(node.format))
        reads = [values[tap.node] for tap in node.taps]
        if node.kind == REACHED:
            return ~reads[0][-1]
        result = Signal(_shape(node.format), name=f"{node.kind}{number}", attrs={"keep": 1} if node.kind == SUM else {})
        if node.kind == LOOKED_UP:
            m.d.comb += result.eq(_looked(node, Cat(reads)))
        elif node.kind == COUNTED:
            m.d.comb += result.eq(_counted(node, reads))
        elif node.kind == LARGER:
            x, bits, least = self.circuit.layer.x, node.format.bits, node.format.encode(node.lo)
            # Signed numbers that count from the lowest have another top bit.
            flip = 1 << (bits - 1) if x.signed and bits == x.bits else 0
            less, low = Signal(name=f"less{number}"), reads[0].as_unsigned()[:bits]
            m.d.comb += [
                less.eq(_less(reads[0], x, node.constant)),
                result.eq(Mux(less, least, low ^ Const(flip, bits))),
            ]
            operands = less, low, Const(least ^ flip, bits)
            chosen[number] = Word(inputs=operands, function=either, bits=bits, flip=bool(flip))
        elif fabric.name == "generic":
            m.d.comb += result.eq(_climbed(node, reads) if node.wraps else _summed(node, reads))
        else:
            own = [chosen.get(tap.node) for tap in node.taps]
            m.d.comb += result.eq(_chained(m, fabric, node, reads, own, f"sum{number}"))
        return result

    def _ended(self, result: ConstantResult, total: Value, y: Format) -> Value:
        """The result of ``total``."""
        low, high = self.circuit.clamps(result)
        value: Value = total >> result.shift
        if high:
            value = Mux(value > result.hi, result.hi, value)
        if low:
            value = Mux(total < (result.lo << result.shift), result.lo, value)
        return _extended(value, y.bits)


def _shape(fmt: Format) -> Shape:
    return Shape(fmt.bits, signed=fmt.signed)


def _typed(value: Value, fmt: Format) -> Value:
    return value.as_signed() if fmt.signed else value.as_unsigned()


def _moved(value: Value, tap: Tap) -> Value:
    moved = Cat(Const(0, tap.shift), value)
    whole = moved.as_signed() if value.shape().signed else moved
    return whole if tap.sign > 0 else -whole


def _summed(node: Node, reads: list[Value]) -> Value:
    terms = [_moved(value, tap) for value, tap in zip(reads, node.taps, strict=True)]
    return sum(terms[1:], terms[0]) + node.constant


def _climbed(node: Node, reads: list[Value]) -> Value:
    """A word and a plane of a count, from the lowest bit on that both have: synthesis then takes the word for the
    operand that enters the carry itself, and puts the count into the tables of the chain."""
    low = max(node.taps[0].shift, node.taps[1].shift + node.zeros)
    words = [_reaching(low, value, tap) for value, tap in zip(reads, node.taps, strict=True)]
    parts = [
        word[low:].as_signed() if value.shape().signed else word[low:] for word, value in zip(words, reads, strict=True)
    ]  # fmt: skip
    if not low:  # no bits have no range in Verilog
        return (parts[0] + parts[1])[: node.format.bits]
    return Cat(words[0][:low] | words[1][:low], (parts[0] + parts[1])[: node.format.bits - low])


def _reaching(low: int, value: Value, tap: Tap) -> Value:
    """``value`` where ``tap`` moves it, in at least one bit more than ``low``: it may end below what both have."""
    word = Cat(Const(0, tap.shift), value)
    if len(word) > low:
        return word
    return _extended(word.as_signed() if value.shape().signed else word, low + 1)


def _extended(value: Value, bits: int) -> Value:
    """``value`` in ``bits`` bits, by its sign if it has one."""
    top = value[-1] if value.shape().signed else Const(0, 1)
    return Cat(value, top.replicate(bits))[:bits]


def _looked(node: Node, address: Value) -> Value:
    """The table of ``node`` at ``address``, bit by bit."""
    fmt = node.format
    words = [fmt.encode(value) if fmt.lo <= value <= fmt.hi else 0 for value in node.table]
    columns = [sum((word >> bit & 1) << place for place, word in enumerate(words)) for bit in range(fmt.bits)]
    return Cat(Const(column, len(words)).bit_select(address, 1) for column in columns)


def _counted(node: Node, reads: list[Value]) -> Value:
    """A plane of the count of all words, complemented where they are negative, and of a constant one."""
    bits = node.format.bits
    words: list[Value] = [Const(node.constant & ((1 << bits) - 1), bits)] if node.constant else []
    for value, tap in zip(reads, node.taps, strict=True):
        if tap.sign < 0:
            value = ~(value if value.shape().signed else Cat(value, Const(0, 1)))
        moved = Cat(Const(0, tap.shift), value)
        words.append(_extended(moved.as_signed() if tap.sign < 0 or value.shape().signed else moved, bits))
    return counted_planes(words)[node.plane]


def _less(value: Value, fmt: Format, constant: int) -> Value:
    """Whether ``value`` is less than a constant, bit by bit from the lowest: of a constant, a comparison is a chain of
    gates that two or three tables hold."""
    flip = 1 << (fmt.bits - 1) if fmt.signed else 0  # which makes signed numbers count from the lowest
    limit, less = fmt.encode(constant) ^ flip, Const(0, 1)
    for place in range(fmt.bits):
        low: Value = value[place] if flip >> place & 1 else ~value[place]
        less = low | less if limit >> place & 1 else low & less
    return less


def _chained(
    m: Module, fabric: Fabric, node: Node, reads: list[Value], chosen: list[Word | None], name: str
) -> Value:  # fmt: skip
    """A sum in the carry cells of ``fabric``: the lowest bits that pass, and above them one row of cells. A word that
    is the larger of two is ``chosen`` there, where it is not moved, negative, or cut."""
    bits, low = node.format.bits, node.passed
    words, carries = [], []
    passing: Value = Const(0, low)
    for value, tap, own in zip(reads, node.taps, chosen, strict=True):
        if own is not None and tap.sign > 0 and not tap.shift and not low:
            words.append(own)
            continue
        whole = Cat(Const(0, tap.shift), value)
        signed = value.shape().signed
        if tap.shift < low:
            passing = _extended(whole.as_signed() if signed else whole, low)
        if tap.sign < 0:
            wide = whole[low:] if signed else Cat(whole[low:], Const(0, 1))
            words.append(Word(inputs=(wide,), function=complement, signed=True))
            carries.append(Const(1, 1))
        else:
            words.append(plain(whole[low:], signed=signed))
    if node.constant:
        rest = (node.constant >> low) + len(carries)  # what a complement lacks is a constant, too
        words.append(plain(Const(rest & ((1 << bits) - 1), bits)))
        carries = []
        if low and node.constant & ((1 << low) - 1):
            passing = Const(node.constant & ((1 << low) - 1), low)
    return Cat(passing, fabric.add(m, words, carries[: len(words) - 1], bits - low, name))
