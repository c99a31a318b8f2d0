"""What every way into a Program shares: operations put together one by one, real values that wait to become integers.

Lowering from torch, files of other tools and published networks differ in what they read. What they make is the same.
"""

import itertools
import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..formats import Format, format_for, signed
from ..ops.base import Tensor
from ..program import (
    SCORE_BYTE,
    ArgMax,
    Op,
    Program,
    Requantise,
    Shape,
    Table,
    Threshold,
    infer,
    score_format,
)  # fmt: skip
from .choice import Choice, Wanted, choose
from .curves import RealFunction, entries
from .factors import FoldedThreshold
from .grid import Grid
from .slopes import Bend, choose_slopes

__all__ = ["NOTES", "Assembly", "Bits", "Pending", "Stored"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
NOTES = "notes"
"""Key of a Program's metadata: what of its source a Program does not do, in words."""


@dataclass(frozen=True, kw_only=True)
class Stored:
    """An integer tensor: the result of ``op`` times ``step`` is its real value."""

    op: str
    step: float


@dataclass(frozen=True, kw_only=True)
class Bits:
    """A tensor of single bits, 0 for -1: its real value is ``step`` times that."""

    op: str
    step: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Pending:
    """Integers whose real value is ``gain * (acc - centre) + bias`` per channel, not yet requantised.

    Attributes
    ----------
    relu, residual : a ReLU comes on top, and under it an addition
    floor, ceiling : real values between which a clamp keeps it, or None; a floor of 0 or more is a ReLU, too
    shuffle : the channels become the pixels of a map so many times as high and wide
    bend : a LeakyReLU or PReLU of the value and what a batch norm makes of it; None: neither. It comes before residual
        and ReLU. A sum with a residual is stored before it can be bent
    """

    op: str
    gain: Floats
    centre: Floats
    bias: Floats
    relu: bool = False
    residual: Stored | None = None
    floor: float | None = None
    ceiling: float | None = None
    shuffle: int = 1
    bend: Bend | None = None

    @property
    def clamped(self) -> bool:
        """Whether a ReLU or another clamp comes on top."""
        return self.relu or self.floor is not None or self.ceiling is not None

    @property
    def affine(self) -> bool:
        """Whether the value is gain, centre and bias of sums and nothing more: no clamp, no residual, no second
        slope."""
        return self.open and self.bend is None

    @property
    def open(self) -> bool:
        """Whether a residual can be added: there is none, and no clamp."""
        return not self.clamped and self.residual is None

    @property
    def function(self) -> Hashable:
        """Equal for equal real functions of sums and residual, whatever clamp comes on top."""
        bend = (self.bend.slope, self.bend.scale, self.bend.lift) if self.bend else ()
        arrays = tuple(part.tobytes() for part in (self.gain, self.centre, self.bias, *bend))
        return arrays, self.residual and self.residual.step

    def words(self, step: float, lo: int, hi: int) -> tuple[int, int]:
        """``lo..hi`` of a grid of ``step``, without what the clamps cut off."""
        if self.floor is not None:
            lo = min(max(lo, round(self.floor / step)), hi)
        if self.ceiling is not None:
            hi = max(min(hi, round(self.ceiling / step)), lo)
        return max(lo, 0) if self.relu else lo, hi


class Assembly:
    """A Program in the making.

    Parameters
    ----------
    terms : factors are sums of at most so many signed powers of two; 0: any
    ties : where the source rounds what lies between two integers, see `program.TIES`
    exact : the source is a network of integers, whose every result is to come out the same; else near is enough
    shared : all channels of a requantise have one shift, also where that costs digits; not of an exact one

    Attributes
    ----------
    notes : what of the source will not come out the same, in words
    functions : of what was requantised, which real function of its sums it is, up to a clamp

    Raises
    ------
    ValueError
        from its methods, for operations that do not fit and factors that no multiplier holds.
    """

    def __init__(self, *, terms: int = 0, ties: str = "up", exact: bool = False, shared: bool = False):
        self.terms = terms
        self.ties = ties
        self.exact = exact
        self.shared = shared
        self.notes: list[str] = []
        self.ops: dict[str, Op] = {}
        self.inferred: dict[str, tuple[Shape, Format]] = {}
        self.steps: dict[str, float] = {}
        self.functions: dict[str, Hashable] = {}

    def note(self, text: str) -> None:
        """Remember something of the source that the Program does otherwise, or that a user should know; once."""
        if text not in self.notes:
            self.notes.append(text)

    def emit(self, op: Op, step: float | None = None) -> str:
        """Append ``op``, whose result has ``step`` where it stands for real values; returns its name."""
        assert op.name not in self.ops
        self.inferred[op.name] = infer(op, self.inferred)
        self.ops[op.name] = op
        if step is not None:
            self.steps[op.name] = step
        return op.name

    def assembled(self, metadata: Mapping[str, str]) -> Program:
        """The Program of all operations so far."""
        notes = {NOTES: "; ".join(self.notes)} if self.notes else {}
        return Program(ops=tuple(self.ops.values()), steps=self.steps, metadata={**metadata, **notes})

    def shape(self, name: str) -> Shape:
        """(C, H, W) of an operation's result."""
        return self.inferred[name][0]

    def format(self, name: str) -> Format:
        """Format of an operation's result."""
        return self.inferred[name][1]

    def unique(self, text: str) -> str:
        """A name for an operation that no other has: ``text``, where it can be."""
        base = re.sub(r"[^A-Za-z0-9_]", "_", text)
        if not re.match(r"[A-Za-z_]", base):
            base = f"layer{base}"
        names = (base if n == 1 else f"{base}_{n}" for n in itertools.count(1))
        return next(name for name in names if name not in self.ops)

    def pending_of(self, value: Stored | Bits) -> Pending:
        """An integer tensor as something that can be requantised; bits are ``2 * x - 1``."""
        zero = np.zeros(self.shape(value.op)[0])
        if isinstance(value, Bits):
            return Pending(op=value.op, gain=zero + 2 * value.step, centre=zero + 0.5, bias=zero)
        return Pending(op=value.op, gain=zero + value.step, centre=zero, bias=zero)

    def numbers_of(self, value: Bits) -> Stored:
        """The numbers that bits stand for, for what is not a binary layer."""
        ones = np.ones(self.shape(value.op)[0], np.int64)
        numbers = Requantise(
            name=self.unique(f"{value.op}_values"), source=value.op, multiplier=2 * ones, offset=-ones, shift=0,
            format=signed(2), lo=-1, hi=1,
        )  # fmt: skip
        return Stored(op=self.emit(numbers, value.step), step=value.step)

    def bounds(self, name: str) -> tuple[Ints, Ints]:
        """Smallest and largest value of every channel of an operation's result, each (C,), whatever the image."""
        op = self.ops[name]
        return op.bounds([Tensor(*self.inferred[source]) for source in op.sources], self.bounds)

    def requantise(
        self, name: str, value: Pending, step: float, fmt: Format, *, lo: int | None = None, hi: int | None = None
    ) -> Stored:
        """Requantise ``value`` onto the grid of ``fmt`` and ``step``, or onto ``lo..hi`` of it.

        An `exact` network may get thresholds instead: see `choice.choose`.
        """
        self.functions[name] = value.function
        lo, hi = fmt.lo if lo is None else lo, fmt.hi if hi is None else hi
        lo, hi = value.words(step, lo, hi)
        if value.bend is not None:
            return self._bent(name, value, value.bend, step, fmt, lo, hi)
        chosen = self.chosen(name, value, step, lo, hi)
        if isinstance(chosen, FoldedThreshold):
            op = Threshold(
                name=name, source=value.op, thresholds=chosen.levels, falling=chosen.falling, format=fmt
            )  # fmt: skip
            return Stored(op=self.emit(op, step), step=step)
        return self._placed(name, value, chosen, step, fmt, lo, hi)

    def tabulated(self, name: str, value: Stored, function: RealFunction, grid: Grid) -> Stored:
        """``function`` of ``value``, one value at a time, on ``grid``: a table."""
        read = Grid(format=self.format(value.op), step=value.step)
        words = entries(function, read, grid, even=self.ties == "even")
        table = Table(name=name, source=value.op, entries=words, format=grid.format)
        return Stored(op=self.emit(table, grid.step), step=grid.step)

    def scores(self, value: Pending) -> Stored:
        """Requantise class scores and end the Program with their arg-max.

        Their format has whole bytes in which no sum of the accumulator's format can saturate, whatever the biases.
        """
        if value.bend is not None:
            raise ValueError("class scores have no second slope; requantise it first")
        name = self.unique("scores")
        step = float(np.abs(self.settled(value).gain).max()) or 1.0
        chosen = self.chosen(name, value, step, None, None)
        assert isinstance(chosen, Choice)
        factors, acc = chosen.factors, self.format(value.op)
        ends = [(bound * factors.multiplier + factors.offset) >> factors.shifts for bound in (acc.lo, acc.hi)]
        needed = format_for(min(int(end.min()) for end in ends), max(int(end.max()) for end in ends))
        bytes_needed = -(-(needed.bits + (not needed.signed)) // SCORE_BYTE)
        fmt = signed(max(score_format(acc).bits, bytes_needed * SCORE_BYTE))
        found = self._placed(name, value, chosen, step, fmt, fmt.lo, fmt.hi)
        self.emit(ArgMax(name=self.unique("argmax"), source=found.op))
        return found

    def settled(self, value: Pending) -> Pending:
        """``value`` with channels whose sums cannot vary as the constants that they are: whatever factor a batch norm
        has for a filter of zeros, it asks nothing of the digits of the others."""
        least, most = self.bounds(value.op)
        still = least == most
        constant = value.gain * (least - value.centre) + value.bias
        zero = np.zeros_like(value.gain)
        return replace(
            value, gain=np.where(still, zero, value.gain), centre=np.where(still, zero, value.centre),
            bias=np.where(still, constant, value.bias),
        )  # fmt: skip

    def chosen(
        self, name: str, value: Pending, step: float, lo: int | None, hi: int | None
    ) -> Choice | FoldedThreshold:
        """What makes units of ``step`` of ``value``, within ``lo..hi`` where there is a clamp; what is lost is said in
        `notes`."""
        found, note = choose(self._wanted(value, step, lo, hi))
        if note:
            self.note(f"{name}: {note}")
        return found

    def _wanted(self, value: Pending, step: float, lo: int | None, hi: int | None) -> Wanted:
        """``value`` as what is asked of a requantise."""
        value = self.settled(value)
        residual = value.residual.step / step if value.residual else 0.0
        joined = self.format(value.residual.op) if value.residual else None
        least, most = self.bounds(value.op)
        return Wanted(
            gain=value.gain / step, centre=value.centre, bias=value.bias / step, residual=residual,
            residual_reach=max(-joined.lo, joined.hi) if joined else 0, lo=lo, hi=hi, least=least, most=most,
            accumulator=self.format(value.op), terms=self.terms, exact=self.exact,
            even=self.ties == "even" and lo is not None, shared=self.shared,
        )  # fmt: skip

    def _bent(self, name: str, value: Pending, bend: Bend, step: float, fmt: Format, lo: int, hi: int) -> Stored:
        """`requantise` of a value with a second slope, see `fold.slopes`."""
        found, note = choose_slopes(self._wanted(value, step, lo, hi), bend.in_units(step))
        if note:
            self.note(f"{name}: {note}")
        op = Requantise(
            name=name, source=value.op, format=fmt, lo=lo, hi=hi, terms=self.terms,
            residual=value.residual.op if value.residual else None, **found.fields,
        )  # fmt: skip
        return Stored(op=self.emit(op, step), step=step)

    def ending(self, name: str) -> str:
        """End the Program with the result of operation ``name`` as its raw output; returns ``name``."""
        # What was appended behind it is nothing that it reads.
        behind = list(self.ops)[list(self.ops).index(name) + 1 :]
        for other in behind:
            del self.ops[other], self.inferred[other]
            self.steps.pop(other, None)
        return name

    def _placed(self, name: str, value: Pending, chosen: Choice, step: float, fmt: Format, lo: int, hi: int) -> Stored:
        factors = chosen.factors
        op = Requantise(
            name=name, source=value.op, multiplier=factors.multiplier, offset=factors.offset, shift=factors.shift,
            format=fmt, lo=lo, hi=hi, residual=value.residual.op if value.residual else None,
            residual_multiplier=factors.residual, terms=self.terms, ties="even" if chosen.even else "up",
            factor_bits=factors.bits,
        )  # fmt: skip
        return Stored(op=self.emit(op, step), step=step)
