"""What an array of lanes computes and how it is built; levels, latency and ranges of sums follow from it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations, pairwise
from typing import Any

from amaranth.hdl import Const, Fragment, Module, Signal, Value

from ...quant.formats import Format, format_for
from ...quant.program import check_operands, term_range
from ..cells.fabric import Fabric
from ..cells.known import FABRICS, fabric_named
from .adder import common_format
from .kernels import circuit
from .ranks import settled
from .silent import SilentFabric, silent_value
from .structures import STRUCTURES
from .terms import Sums

__all__ = ["ArrayShape", "run_circuit", "sum_format"]


def sum_format(kernel: str, lo: int, hi: int) -> Format:
    """Format in which the array holds sums in ``lo..hi``: the adder kernel keeps the negative, which is unsigned."""
    return format_for(-hi, -lo) if kernel == "adder" else format_for(lo, hi)


@dataclass(frozen=True, kw_only=True)
class ArrayShape:
    """What an array computes, and how.

    Attributes
    ----------
    kernel : ``adder``, ``mult``, ``xnor`` or ``shift``
    structure : of the lane, see `structures.STRUCTURES`
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
    """Count the levels by describing one row without registers, and without cells."""
    xs = [silent_value(shape.x.bits) for _ in range(shape.pin)]
    ws = [[silent_value(shape.w.bits) for _ in range(shape.pin)]]
    levels = 0

    def count(level: int, state: Any) -> Any:
        nonlocal levels
        levels = level + 1
        return settled(state)

    m = Module()
    run_circuit(m, SilentFabric(FABRICS[shape.fabric]), shape, xs, ws, Const(1, 1), count)
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
