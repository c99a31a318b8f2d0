"""Arrays of lanes: inner products of any kernel, a step of ``pin`` terms for ``pout`` results in every cycle."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, is_dataclass, replace
from functools import cache
from itertools import combinations, pairwise
from typing import Any

from amaranth.hdl import Const, Fragment, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ...quant.formats import Format, format_for
from ...quant.program import check_operands, term_range
from ..cells.fabric import FABRICS, Fabric, fabric_named
from .kernels import STRUCTURES, Masked, Sums, accumulate, circuit, common_format

__all__ = [
    "ArrayShape", "FoldedArray", "KernelArray", "Reduce", "Step", "alive", "default_structure", "run_circuit",
    "settled", "sum_format",
]  # fmt: skip

_BEST = {
    "ice40": {"adder": "max", "mult": "booth", "xnor": "count", "shift": "barrel"},
    "gowin": {"adder": "carry", "mult": "booth", "xnor": "count", "shift": "barrel"},
    "ecp5": {"adder": "carry", "mult": "rows", "xnor": "count", "shift": "barrel"},
    "xc7": {"adder": "max", "mult": "booth", "xnor": "count", "shift": "barrel"},
    "xcup": {"adder": "max", "mult": "booth", "xnor": "count", "shift": "barrel"},
    "osu018": {"adder": "carry", "mult": "star", "xnor": "count", "shift": "barrel"},
}


def default_structure(kernel: str, family: str) -> str:
    """The cheapest structure of ``kernel`` on a family of devices without DSP blocks: what
    ``addax kernels --all-structures`` shows."""
    return _BEST[family][kernel]


def sum_format(kernel: str, lo: int, hi: int) -> Format:
    """Format in which the array holds sums in ``lo..hi``: the adder kernel keeps the negative, which is unsigned."""
    return format_for(-hi, -lo) if kernel == "adder" else format_for(lo, hi)


@dataclass(frozen=True, kw_only=True)
class ArrayShape:
    """What an array computes, and how.

    Attributes
    ----------
    kernel : ``adder``, ``mult``, ``xnor`` or ``shift``
    structure : of the lane, see `kernels.STRUCTURES`
    fabric : ``generic``, or the device family whose carry cells are instantiated
    pin, pout : terms per row and rows
    x, w : formats of features and weights
    ranks : ranks of registers between the operand registers and the accumulators, at most one per level; None for one
        behind the lane and behind every second level

    Raises
    ------
    ValueError
        from the constructor, for anything that cannot be built.
    """

    kernel: str
    structure: str
    fabric: str = "generic"
    pin: int
    pout: int
    x: Format
    w: Format
    ranks: int | None = None

    def __post_init__(self) -> None:
        check_operands(self.kernel, self.x, self.w)
        if self.structure not in STRUCTURES[self.kernel]:
            known = ", ".join(STRUCTURES[self.kernel])
            raise ValueError(f"structure of the {self.kernel} kernel must be one of {known}, not {self.structure!r}")
        fabric_named(self.fabric)
        for name in ("pin", "pout"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name} must be a positive integer, not {value!r}")
        if self.ranks is not None and not 0 <= self.ranks <= self.levels:
            raise ValueError(f"registers between operands and accumulators must be 0..{self.levels}, not {self.ranks}")

    @property
    def levels(self) -> int:
        """Levels between the operands and the accumulators; each ends where a rank of registers may stand."""
        return _levels(replace(self, pout=1, ranks=None))

    @property
    def cuts(self) -> frozenset[int]:
        """The levels behind which a rank stands: those that leave the longest way between two ranks shortest."""
        levels = self.levels
        ranks = min(levels, 1 + levels // 2) if self.ranks is None else self.ranks
        return _cuts(levels, ranks)

    @property
    def latency(self) -> int:
        """Cycles from the operands of a group's last step to its sums: operand registers, ranks, accumulators."""
        return len(self.cuts) + 2

    @property
    def register_stages(self) -> int:
        """Ranks of registers from the operand registers to the accumulators, both included."""
        return self.latency

    def total(self, steps: int) -> Format:
        """Format of the accumulators for groups of up to ``steps`` steps."""
        lo, hi = self.step_range
        return format_for(min(0, lo * steps), max(0, hi * steps))

    @property
    def step_range(self) -> tuple[int, int]:
        """Range of what a step adds to an accumulator."""
        lo, hi = term_range(self.kernel, self.x, self.w)
        if self.kernel == "xnor":
            lo, hi = 0, 1
        elif self.kernel == "adder":
            grid = common_format(self.x, self.w)
            lo, hi = 0, 2 * (grid.hi - grid.lo) if self.structure == "max" else -lo
        return lo * self.pin, hi * self.pin

    def decode(self, total: int, weights: Sequence[int]) -> int:
        """The sum of the kernel's terms, from an accumulator and the weights of all its terms.

        An adder array holds ``sum |x - w|``, of which the kernel is the negative; structure ``max`` holds that plus the
        sum of the weights, counted from the lowest value of the format. A binary array holds how many pairs are equal.
        """
        if self.kernel == "xnor":
            return 2 * total - len(weights)
        if self.kernel == "adder":
            lowest = common_format(self.x, self.w).lo
            return -total + (sum(w - lowest for w in weights) if self.structure == "max" else 0)
        return total


@cache
def _levels(shape: ArrayShape) -> int:
    """Count the levels by describing one row without registers."""
    xs = [Signal(shape.x.bits) for _ in range(shape.pin)]
    ws = [[Signal(shape.w.bits) for _ in range(shape.pin)]]
    levels = 0

    def count(level: int, state: Any) -> Any:
        nonlocal levels
        levels = level + 1
        return settled(state)

    m = Module()
    run_circuit(m, FABRICS[shape.fabric], shape, xs, ws, Const(1, 1), count)
    Fragment.get(m, None)  # else Amaranth warns that the module was described for nothing
    return levels


def run_circuit(
    m: Module, fabric: Fabric, shape: ArrayShape, xs: list[Signal], ws: list[list[Signal]], enable: Value,
    pass_on: Callable[[int, Any], Any],
) -> Sums:  # fmt: skip
    """Describe the circuit, handing what is alive behind each level to ``pass_on(level, state)``."""
    steps = circuit(
        m, fabric, kernel=shape.kernel, structure=shape.structure, x=shape.x, w=shape.w, xs=xs, ws=ws,
        enable=enable,
    )  # fmt: skip
    state, level = next(steps), 0
    while True:
        state = pass_on(level, state)
        level += 1
        try:
            state = steps.send(state)
        except StopIteration as end:
            sums: Sums = end.value
            return sums


_LANE_WEIGHT = 1.25
"""A lane is a little slower than a level of the tree, and so is the accumulator."""


@cache
def _cuts(levels: int, ranks: int) -> frozenset[int]:
    weights = [_LANE_WEIGHT, *[1.0] * (levels - 1), _LANE_WEIGHT]

    def ways(cuts: Iterable[int]) -> list[float]:
        borders = [0, *(cut + 1 for cut in cuts), levels + 1]
        return sorted((sum(weights[a:b]) for a, b in pairwise(borders)), reverse=True)

    return frozenset(min(combinations(range(levels), ranks), key=ways))


@cache
def _is_signal(kind: type) -> bool:
    return issubclass(kind, Masked | Value)


@cache
def _is_container(kind: type) -> bool:
    return issubclass(kind, list | tuple) or is_dataclass(kind)


def alive(value: Any, register: Any) -> Any:
    """``value``, a nest of containers, with every signal in it replaced by ``register(signal)``."""
    kind: Any = type(value)
    if _is_signal(kind):
        return register(value)
    if isinstance(value, list | tuple):
        return kind([alive(item, register) for item in value])
    if _is_container(kind):
        own: dict[str, Any] = vars(value)
        return kind(**own | {k: alive(v, register) for k, v in own.items() if _is_container(v.__class__)})
    if kind is dict:
        return {key: alive(item, register) for key, item in value.items()}
    return value


def settled(state: Any) -> Any:
    """``state`` without a rank: masks become gates."""
    return alive(state, lambda v: Mux(v.mask, v.fill, v.value) if isinstance(v, Masked) else v)


class _Rank:
    """Registers for whatever passes; the same signal gets one register, however often it is read."""

    def __init__(self, m: Module, enable: Value, name: str):
        self._m = m
        self._enable = enable
        self._name = name
        self._made: dict[int, tuple[Any, Value]] = {}

    def __call__(self, state: Any) -> Any:
        return alive(state, self._register)

    def _register(self, value: Any) -> Value:
        if isinstance(value, Const) or (isinstance(value, Value) and len(value) == 0):
            return value
        if id(value) not in self._made:
            m, masked = self._m, isinstance(value, Masked)
            source = value.value if masked else value
            register = Signal(len(source), name=f"{self._name}_{len(self._made)}", reset_less=True)
            if masked:
                with m.If(value.mask):
                    m.d.sync += register.eq(value.fill)
                with m.Elif(self._enable):
                    m.d.sync += register.eq(source)
            else:
                with m.If(self._enable):
                    m.d.sync += register.eq(source)
            # The value is kept, so that no other object can get its identity.
            self._made[id(value)] = (value, register)
        return self._made[id(value)][1]


class Step(wiring.Component):
    """What an array does in one step, without its registers: the circuit that is proved.

    Members
    -------
    x : In, pin elements of the feature format
    w : In, pout x pin elements of the weight format, row after row
    total : In, pout accumulators
    first : In, whether the accumulators are forgotten
    after : Out, pout accumulators
    """

    def __init__(self, shape: ArrayShape, *, total: Format):
        self.shape = shape
        self.total_format = total
        super().__init__(
            {
                "x": In(shape.pin * shape.x.bits),
                "w": In(shape.pout * shape.pin * shape.w.bits),
                "total": In(shape.pout * total.bits),
                "first": In(1),
                "after": Out(shape.pout * total.bits),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        shape, bits = self.shape, self.total_format.bits

        def element(port: Value, index: int, width: int, name: str) -> Signal:
            signal = Signal(width, name=name)
            m.d.comb += signal.eq(port.word_select(index, width))
            return signal

        xs = [element(self.x, k, shape.x.bits, f"x{k}") for k in range(shape.pin)]
        ws = [
            [element(self.w, row * shape.pin + k, shape.w.bits, f"w{row}_{k}") for k in range(shape.pin)]
            for row in range(shape.pout)
        ]
        fabric = FABRICS[shape.fabric]
        sums = run_circuit(m, fabric, shape, xs, ws, Const(1, 1), lambda level, state: settled(state))
        for row in range(shape.pout):
            total = element(self.total, row, bits, f"total{row}")
            after = accumulate(m, fabric, total, self.first, sums, row)
            m.d.comb += self.after.word_select(row, bits).eq(after)
        return m


class FoldedArray(wiring.Component):
    """``pout`` rows of ``pin`` lanes that accumulate inner products over the steps of a group.

    One step per cycle in which ``valid`` and ``enable`` are up; ``first`` and ``last`` mark the ends of a group.
    ``latency`` enabled cycles after ``last``, ``done`` is up for one enabled cycle and ``sums`` holds the results until
    the next group's first step arrives there. While ``enable`` is down, nothing moves.

    Members
    -------
    x : In, pin elements of the feature format, shared by all rows
    w : In, pout x pin elements of the weight format, row after row
    valid, first, last : In
    enable, accumulate : In, 1 unless connected; always equal, but the accumulators have theirs for themselves, so
        that the logic in front of it need not be the same
    sums : Out, pout elements of the format of the accumulators, to be read as `ArrayShape.decode` says
    done : Out
    ending : Out, whether the next enabled cycle brings ``done``
    """

    def __init__(self, shape: ArrayShape, *, total: Format):
        self.shape = shape
        self.total = total
        self.latency = shape.latency
        lanes = shape.pin * shape.pout
        super().__init__(
            {
                "x": In(shape.pin * shape.x.bits),
                "w": In(lanes * shape.w.bits),
                "valid": In(1),
                "first": In(1),
                "last": In(1),
                "enable": In(1, init=1),
                "accumulate": In(1, init=1),
                "sums": Out(shape.pout * total.bits),
                "done": Out(1),
                "ending": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        shape, fabric = self.shape, FABRICS[self.shape.fabric]
        # Operands come out of block RAM, which takes half a cycle: they get a register before any arithmetic.
        xs = [self._operand(m, self.x, k, shape.x, f"x{k}") for k in range(shape.pin)]
        ws = [
            [self._operand(m, self.w, row * shape.pin + k, shape.w, f"w{row}_{k}") for k in range(shape.pin)]
            for row in range(shape.pout)
        ]
        cuts = shape.cuts
        sums = run_circuit(
            m, fabric, shape, xs, ws, self.enable,
            lambda level, state: _Rank(m, self.enable, f"rank{level}")(state) if level in cuts else settled(state),
        )  # fmt: skip

        delay = self.latency - 1
        valid, first, last = (self._delayed(m, s, delay) for s in (self.valid, self.first, self.last))
        for row in range(shape.pout):
            total = Signal(self.total.bits, name=f"total{row}", reset_less=True)
            after = accumulate(m, fabric, total, first, sums, row)
            with m.If(valid & self.accumulate):
                m.d.sync += total.eq(after)
            m.d.comb += self.sums.word_select(row, self.total.bits).eq(total)
        m.d.comb += self.ending.eq(valid & last)
        with m.If(self.enable):
            m.d.sync += self.done.eq(self.ending)
        return m

    def _operand(self, m: Module, port: Value, index: int, fmt: Format, name: str) -> Signal:
        register = Signal(fmt.bits, name=name, reset_less=True)
        with m.If(self.enable):
            m.d.sync += register.eq(port.word_select(index, fmt.bits))
        return register

    def _delayed(self, m: Module, signal: Value, cycles: int) -> Value:
        for k in range(cycles):
            later = Signal.like(signal, name=f"{signal.name}_{k + 1}")
            with m.If(self.enable):
                m.d.sync += later.eq(signal)
            signal = later
        return signal


class KernelArray(wiring.Component):
    """A `FoldedArray` between two streams; the whole array stops while its result waits.

    Takes one step per cycle; a result is there ``latency`` cycles after the last step of its group. ``ready`` of the
    input follows ``ready`` of the output in the same cycle.

    Members
    -------
    i : In stream of ``x`` (pin elements), ``w`` (pout x pin elements, row after row), ``first`` and ``last``
    o : Out stream of pout sums, to be read as `ArrayShape.decode` says
    """

    def __init__(self, shape: ArrayShape, *, total: Format):
        self.shape = shape
        self.total = total
        self.latency = shape.latency
        step = data.StructLayout(
            {
                "x": shape.pin * shape.x.bits,
                "w": shape.pout * shape.pin * shape.w.bits,
                "first": 1,
                "last": 1,
            }
        )
        super().__init__(
            {"i": In(stream.Signature(step)), "o": Out(stream.Signature(data.ArrayLayout(total.bits, shape.pout)))}
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.array = array = FoldedArray(self.shape, total=self.total)
        # The longest way of a deep array is that of the enable to its thousands of registers. The accumulators' enable,
        # which takes another input, starts at a register of its own, the complement of `done`, so that both ways have
        # one table.
        idle = Signal(init=1)
        with m.If(array.enable):
            m.d.sync += idle.eq(~array.ending)
        m.d.comb += [
            array.x.eq(self.i.payload.x),
            array.w.eq(self.i.payload.w),
            array.first.eq(self.i.payload.first),
            array.last.eq(self.i.payload.last),
            array.valid.eq(self.i.valid),
            array.enable.eq(~array.done | self.o.ready),
            array.accumulate.eq(idle | self.o.ready),
            self.i.ready.eq(array.enable),
            self.o.payload.as_value().eq(array.sums),
            self.o.valid.eq(array.done),
        ]
        return m


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
