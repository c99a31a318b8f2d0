"""The array of an engine: rows of lanes of one or several kernels, whose weights stay for many pixels."""

from dataclasses import dataclass, replace
from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ....quant.formats import format_for, signed, unsigned
from ...cells.known import FABRICS
from ...lanes.ranks import Rank, settled
from ...lanes.shape import ArrayShape, run_circuit
from ...lanes.structures import default_structure
from ...lanes.terms import Sums
from ...streams.delay import later
from ..plan import EnginePlan

__all__ = ["HeldWeights", "Lanes", "lane_shape", "lanes_latency"]

_ENDS = 2
"""Ranks of every kernel: operands, and the choice of a kernel."""


@dataclass(frozen=True, kw_only=True)
class _LaneShape(ArrayShape):
    """Lanes that take features with and without a sign, in one bit more than a Program's kernels may have."""

    def __post_init__(self) -> None:
        pass


def lane_shape(kernel: str, plan: EnginePlan) -> ArrayShape:
    """What the lanes of ``kernel`` compute. Those of an adder count both operands from the lowest value."""
    x = {"adder": unsigned(plan.bits), "xnor": unsigned(1)}.get(kernel, plan.operand)
    w = {"adder": unsigned(plan.bits), "xnor": unsigned(1), "shift": unsigned(4)}.get(kernel, signed(plan.bits))
    return _LaneShape(
        kernel=kernel, structure=default_structure(kernel), fabric=plan.fabric, pin=plan.pin, pout=plan.pout, x=x, w=w
    )


def lanes_latency(plan: EnginePlan) -> int:
    """Cycles from features to what they add: operand registers, ranks of the deepest kernel, choice of one."""
    return max(len(lane_shape(kernel, plan).cuts) for kernel in plan.kernels) + _ENDS


class HeldWeights(wiring.Component):
    """Two sets of weights: one that the lanes use, and the next one, which comes in word by word.

    A word has the weights of a row. Of an engine of ``plan.matmul`` it may have those of a column instead: a stored
    tensor is turned on its way, as its words hold channels where the lanes of a row need tokens.

    Members
    -------
    word : In, ``pin`` weights of one output channel, or of several
    shift : In; ``word`` is taken. Of ``plan.set_words`` words the first is that of output channel 0
    swap : In; the next set is used from the next cycle on. A word may come in the same cycle, it is of the set after.
    weights : Out, the set in use, row after row
    turned : In; of ``pin`` words the first has the weights of lane 0 of all rows. This and ``inverted`` only where
        ``plan.matmul``, in the cycle of ``word``
    inverted : In; the highest bit of every weight is inverted
    """

    def __init__(self, plan: EnginePlan):
        self.plan = plan
        self.rows = plan.set_words
        self.width = plan.word_bits
        super().__init__({
            "word": In(self.width), "shift": In(1), "swap": In(1), "weights": Out(self.rows * self.width),
            **({"turned": In(1), "inverted": In(1)} if plan.matmul else {}),
        })  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        coming = [Signal(self.width, name=f"coming{row}", reset_less=True) for row in range(self.rows)]
        held = [Signal(self.width, name=f"held{row}", reset_less=True) for row in range(self.rows)]
        word: Value = self.word
        if self.plan.matmul:
            signs = sum(1 << (lane + 1) * self.plan.bits - 1 for lane in range(self.plan.pin))
            word = self.word ^ Mux(self.inverted, Const(signs, self.width), 0)
        for row in range(self.rows):
            following = word if row + 1 == self.rows else coming[row + 1]
            if self.plan.matmul:
                turned = Cat(coming[row][self.plan.bits :], word.word_select(row, self.plan.bits))
                following = Mux(self.turned, turned, following)
            with m.If(self.shift):
                m.d.sync += coming[row].eq(following)
            with m.If(self.swap):
                m.d.sync += held[row].eq(coming[row])
        m.d.comb += self.weights.eq(Cat(held))
        return m


class Lanes(wiring.Component):
    """``pout`` rows of ``pin`` lanes: what a step adds to the sums of a pixel, ``latency`` cycles behind its features.

    Features are taken in every cycle. The weights are not registered again: they are those of the cycle after that of
    their features. Each row gives a word and a carry that belongs to it, which the accumulator adds.

    Members
    -------
    x : In, ``pin`` elements
    passing : In, ``pout`` elements, which pass by the lanes; where ``pin`` is another number, else they are those of
        ``x``
    signed : In, whether they have a sign; in the cycle of ``x``
    kernel : In, place of the kernel among those of the Plan; ``latency - 1`` cycles behind ``x``
    weights : In, see `HeldWeights`; one cycle behind ``x``
    depthwise : In, row k takes channel k of every word of ``columns``, each in a lane, and the others have features of
        0; in the cycle of ``x``. This and ``columns`` only where ``plan.depthwise`` is not 0.
    columns : In, see `columns.WindowColumns`
    pool : In, the features pass by the lanes: the words are they, counted from the lowest value as those of an adder;
        in the cycle of ``x``. No step of the lanes may end in that cycle.
    words, carries : Out, of every row; ``latency`` cycles behind ``x``, or one where they passed by

    Attributes
    ----------
    step : format of a row's word with its carry
    """

    def __init__(self, plan: EnginePlan):
        self.plan = plan
        self.shapes = {kernel: lane_shape(kernel, plan) for kernel in plan.kernels}
        ends = [(0, unsigned(plan.bits).hi), *(shape.step_range for shape in self.shapes.values())]
        # A word without its carry may lie one below the lowest sum.
        lowest = min(lo for lo, _ in ends)
        self.step = format_for(lowest - 1 if lowest < 0 else 0, max(hi for _, hi in ends))
        self.latency = lanes_latency(plan)
        self._ranks = self.latency - _ENDS
        super().__init__({
            "x": In(plan.pin * plan.bits), **({"passing": In(plan.pout * plan.bits)} if plan.pin != plan.pout else {}),
            "signed": In(1),
            "kernel": In(range(max(2, len(plan.kernels)))),
            "pool": In(1),
            "weights": In(plan.lanes * plan.bits),
            **({"depthwise": In(1), "columns": In(plan.depthwise * plan.pout * plan.bits)} if plan.depthwise else {}),
            "words": Out(plan.pout * self.step.bits),
            "carries": Out(plan.pout),
        })  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        found = [self._terms(m, kernel) for kernel in self.plan.kernels]
        passing = self.x if self.plan.pin == self.plan.pout else self.passing
        for row in range(self.plan.pout):
            word, carry = Signal(self.step.bits, name=f"word{row}"), Signal(name=f"carry{row}")
            raw = passing.word_select(row, self.plan.bits)
            with m.If(self.pool):
                m.d.sync += [word.eq(_from_lowest(raw, self.signed)), carry.eq(0)]
            with m.Else():
                m.d.sync += [
                    word.eq(Array(terms[row][0] for terms in found)[self.kernel]),
                    carry.eq(Array(terms[row][1] for terms in found)[self.kernel]),
                ]
            m.d.comb += [self.words.word_select(row, self.step.bits).eq(word), self.carries[row].eq(carry)]
        return m

    def _terms(self, m: Module, kernel: str) -> list[tuple[Value, Value]]:
        """Word and carry of each row, one cycle in front of the output."""
        shape, bits = self.shapes[kernel], self.plan.bits
        m.submodules[kernel] = inner = Module()
        ws = []
        for row in range(shape.pout):
            words = [self.weights.word_select(row * shape.pin + k, bits)[: shape.w.bits] for k in range(shape.pin)]
            named = [Signal(shape.w.bits, name=f"w{row}_{k}") for k in range(shape.pin)]
            inner.d.comb += [signal.eq(word) for signal, word in zip(named, words, strict=True)]
            ws.append(named)
        if self.plan.depthwise:
            sums = self._rows_apart(inner, kernel, ws)
        else:
            xs = [self._operand(inner, kernel, self.x.word_select(k, bits), f"x{k}") for k in range(shape.pin)]
            sums = self._circuit(inner, shape, xs, ws)
        ranks = self._ranks - len(shape.cuts)
        wholes = [self._whole(inner, sums, row) for row in range(shape.pout)]
        return [
            (later(inner, word, ranks, name=f"late_word{row}"), later(inner, carry, ranks, name=f"late_carry{row}"))
            for row, (word, carry) in enumerate(wholes)
        ]

    def _circuit(self, m: Module, shape: ArrayShape, xs: list[Signal], ws: list[list[Signal]]) -> Sums:
        """Rows of lanes that have their features in common."""
        one = Const(1, 1)
        return run_circuit(
            m, FABRICS[shape.fabric], shape, xs, ws, one,
            lambda level, state: Rank(m, one, f"rank{level}")(state) if level in shape.cuts else settled(state),
        )  # fmt: skip

    def _rows_apart(self, m: Module, kernel: str, ws: list[list[Signal]]) -> Sums:
        """Rows whose first lanes have features of their own: those of a column of a depthwise window, else those of
        all rows. The other lanes are 0 then by the reset of the registers that they have in common, for an adder has
        no weight that adds nothing to any feature."""
        plan, shape = self.plan, self.shapes[kernel]
        own, bits = plan.depthwise, plan.bits
        common = [
            self._operand(m, kernel, self.x.word_select(k, bits), f"x{k}", self.depthwise)
            for k in range(own, shape.pin)
        ]
        rows: list[Any] = []
        for row, weights in enumerate(ws):
            m.submodules[f"row{row}"] = inner = Module()
            first = []
            for k in range(own):
                column = self.columns.word_select(k * plan.pout + row, bits)
                raw = Mux(self.depthwise, column, self.x.word_select(k, bits))
                first.append(self._operand(inner, kernel, raw, f"x{k}"))
            rows += self._circuit(inner, replace(shape, pout=1), [*first, *common], [weights]).rows
        return Sums(rows=rows)

    def _operand(self, m: Module, kernel: str, raw: Value, name: str, zero: Value | None = None) -> Signal:
        """The register of a feature in the form that the kernel takes; with ``zero`` it becomes 0."""
        forms = {"adder": _from_lowest(raw, self.signed), "xnor": raw[:1]}
        register = Signal(self.shapes[kernel].x.bits, name=name, reset_less=True)
        m.d.sync += register.eq(forms.get(kernel, Cat(raw, raw[-1] & self.signed)))
        if zero is not None:
            with m.If(zero):
                m.d.sync += register.eq(0)
        return register

    def _whole(self, m: Module, sums: Sums, row: int) -> tuple[Value, Value]:
        """The terms of a row as one word and one carry."""
        word: Any = Const(0, 1)
        carries = [carry for term in sums.rows[row] for carry in term.carries]
        for term in sums.rows[row]:
            word = word + term.word.value()
        for carry in carries[1:]:
            word = word + carry
        total = Signal(self.step.bits, name=f"total{row}")
        m.d.comb += total.eq(word)
        return total, carries[0] if carries else Const(0, 1)


def _from_lowest(raw: Value, sign: Value) -> Value:
    """A feature, counted from the lowest value that it may have."""
    return Cat(raw[:-1], raw[-1] ^ sign)
