"""The requantise: sums onto a grid of few bits, by factors and a shift per channel, with a residual joined in."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..formats import Format, signed
from .base import LATER, Bounds, Ints, Op, Shape, Tensor, per_channel

__all__ = [
    "MAX_PRODUCT_BITS", "MAX_SHIFT", "MOST_MULTIPLIER_BITS", "MULTIPLIER_BITS", "RESIDUAL_MULTIPLIER_BITS", "TIES",
    "Requantise", "factor_bound", "offset_format", "powers_of_two",
]  # fmt: skip

MULTIPLIER_BITS = 16
"""Width of the factor M of a requantise, sign included, unless it says more. The most negative number is excluded, so
that -M fits as well."""
MOST_MULTIPLIER_BITS = 32
RESIDUAL_MULTIPLIER_BITS = 32
"""Width of the factor R. M and R share one shift; with 16 bits, an R of about 1 would leave a small M few digits."""
MAX_SHIFT = 47
"""Sums of 16-bit products have some 40 bits: to bring them to 16 bits with a factor of as many digits takes so much."""
MAX_PRODUCT_BITS = 61
"""The most bits of a sum and its M together, and of a residual and R: acc * M + r * R + B then fits 63 bits."""
MAX_RESIDUAL_BITS = MAX_PRODUCT_BITS - RESIDUAL_MULTIPLIER_BITS
TIES = ("up", "even")
"""Where a requantise rounds what lies in the middle of two integers: to the larger one, or to the even one."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Requantise(Op):
    """``y[o] = clamp((acc[o] * M[o] + r * R[o] + B[o]) >> S[o], lo, hi)``; ``>>`` floors.

    Batch norm, ReLU, rescaling and a residual in one operation. It reads sums, or a tensor that changes its grid, such
    as pixels that are normalised. B holds half a step, so that the floor rounds to the nearest integer, and ties up.

    With a second slope (LeakyReLU, PReLU), N and D stand for M and B wherever ``acc[o] < T0[o]``. D is needed beside N:
    of ``z = g * acc + b`` the offset is ``b`` above the knee and ``a * b`` below it, so one B for both sides would
    leave a step of ``(M - N) * T0`` at every knee that is not at 0.

    Attributes
    ----------
    multiplier, offset : M and B, (O,)
    shift : S, 0..47: one number, or (O,) where channels differ
    lo, hi : within ``format``
    residual : name of the operation whose result is ``r``, or None
    residual_multiplier : R: one number, or (O,) where channels differ
    terms : M and R are sums of at most so many signed powers of two, so that no multiplier is needed; 0: any
    ties : one of `TIES`. ``even``: where all S[o] bits that are shifted out are 0, the sum was a tie before B's half
        came to it, and the lowest bit of what remains is cleared: 2.5 becomes 3, then 2. S is at least 1 then.
    factor_bits : width of M and N, sign included: an even number up to 32
    second : N, (O,), or None where M and B hold for all sums; None, too, when N and D equal M and B everywhere
    knee : T0, one number or (O,), within `threshold.threshold_format` of what it reads; 0 without a second slope
    second_offset : D, (O,), holding half a step as B does; None where it is B
    """

    multiplier: Ints
    offset: Ints
    shift: int | Ints
    format: Format
    lo: int
    hi: int
    residual: str | None = None
    residual_multiplier: int | Ints = 0
    terms: int = 0
    ties: str = field(default="up", metadata=LATER)
    factor_bits: int = field(default=MULTIPLIER_BITS, metadata=LATER)
    second: Ints | None = field(default=None, metadata=LATER)
    knee: int | Ints = field(default=0, metadata=LATER)
    second_offset: Ints | None = field(default=None, metadata=LATER)

    def __post_init__(self) -> None:
        # One number is said as one number, and one slope as one, so that equal operations are equal files.
        if _same(self.second_offset, self.offset):
            object.__setattr__(self, "second_offset", None)
        if self.second_offset is None and _same(self.second, self.multiplier):
            object.__setattr__(self, "second", None)
            object.__setattr__(self, "knee", 0)
        for name in ("shift", "residual_multiplier", "knee"):
            value = getattr(self, name)
            if (
                isinstance(value, np.ndarray)
                and value.size
                and value.dtype == np.int64
                and (value == value.flat[0]).all()
            ):
                object.__setattr__(self, name, int(value.flat[0]))
        super().__post_init__()

    @property
    def sources(self) -> tuple[str, ...]:
        """The sums and, where there is one, the residual."""
        return (self.source,) if self.residual is None else (self.source, self.residual)

    def bounds(self, read: Sequence[Tensor], of: Callable[[str], Bounds]) -> Bounds:
        """The bounds of the clamp, for every channel."""
        return np.full(len(self.multiplier), self.lo), np.full(len(self.multiplier), self.hi)

    @property
    def shifts(self) -> Ints:
        """S of every channel, (O,)."""
        return per_channel(self.shift, len(self.multiplier))

    @property
    def residual_multipliers(self) -> Ints:
        """R of every channel, (O,)."""
        return per_channel(self.residual_multiplier, len(self.multiplier))

    @property
    def bends(self) -> bool:
        """Whether it has a second slope, for sums below its knee."""
        return self.second is not None

    @property
    def seconds(self) -> Ints:
        """N of every channel, (O,)."""
        return self.multiplier if self.second is None else self.second

    @property
    def second_offsets(self) -> Ints:
        """D of every channel, (O,)."""
        return self.offset if self.second_offset is None else self.second_offset

    @property
    def knees(self) -> Ints:
        """T0 of every channel, (O,)."""
        return per_channel(self.knee, len(self.multiplier))

    @property
    def channelwise(self) -> bool:
        """Whether S or R differ from channel to channel."""
        return isinstance(self.shift, np.ndarray) or isinstance(self.residual_multiplier, np.ndarray)

    def infer(self, read: Sequence[Tensor]) -> Tensor:
        """The shape of the sums in ``format``."""
        shape, fmt = read[0]
        if self.ties not in TIES:
            raise ValueError(f"ties must be {' or '.join(TIES)}, not {self.ties!r}")
        if not MULTIPLIER_BITS <= self.factor_bits <= MOST_MULTIPLIER_BITS or self.factor_bits % 2:
            raise ValueError(
                f"factor_bits must be an even number in {MULTIPLIER_BITS}..{MOST_MULTIPLIER_BITS}, "
                f"not {self.factor_bits}"
            )
        self._check_constants(shape[0], offset_format(fmt, self.factor_bits))
        self._check_second(shape[0], fmt)
        if not self.format.lo <= self.lo <= self.hi <= self.format.hi:
            raise ValueError(f"clamp {self.lo}..{self.hi} leaves {self.format}")
        if self.residual is not None:
            _check_residual(read[1], shape)
        self._check_terms()
        return Tensor(shape, self.format)

    def _check_constants(self, channels: int, offset: Format) -> None:
        if self.multiplier.shape != (channels,) or self.offset.shape != (channels,):
            raise ValueError(f"M and B must be {channels} values, not {self.multiplier.shape} and {self.offset.shape}")
        for what, values in (("S", self.shifts), ("R", self.residual_multipliers)):
            if values.shape != (channels,):
                raise ValueError(f"{what} must be one value, or {channels}, not {values.shape}")
        bound, residual_bound = factor_bound(self.factor_bits), factor_bound(RESIDUAL_MULTIPLIER_BITS)
        if int(self.multiplier.min()) < -bound or int(self.multiplier.max()) > bound:
            raise ValueError(f"M must be in {-bound}..{bound}")
        joined = self.residual_multipliers
        if int(joined.min()) < -residual_bound or int(joined.max()) > residual_bound:
            raise ValueError(f"R must be in {-residual_bound}..{residual_bound}")
        if not offset.allows(self.offset):
            raise ValueError(f"B must fit {offset}, not {self.offset.min()}..{self.offset.max()}")
        least = 1 if self.ties == "even" else 0
        if not least <= int(self.shifts.min()) <= int(self.shifts.max()) <= MAX_SHIFT:
            raise ValueError(f"shift must be in {least}..{MAX_SHIFT}, not {self.shift}")

    def _check_second(self, channels: int, fmt: Format) -> None:
        if self.second is None:
            if self.second_offset is not None or not isinstance(self.knee, int) or self.knee:
                raise ValueError("a knee or an offset below it needs a second slope")
            return
        bound, offset = factor_bound(self.factor_bits), offset_format(fmt, self.factor_bits)
        for what, values in (("N", self.second), ("D", self.second_offsets), ("T0", self.knees)):
            if values.shape != (channels,):
                raise ValueError(f"{what} must be {channels} values, not {values.shape}")
        if int(self.second.min()) < -bound or int(self.second.max()) > bound:
            raise ValueError(f"N must be in {-bound}..{bound}")
        if not offset.allows(self.second_offsets):
            raise ValueError(f"D must fit {offset}, not {self.second_offsets.min()}..{self.second_offsets.max()}")
        if int(self.knees.min()) < fmt.lo or int(self.knees.max()) > fmt.hi + 1:
            raise ValueError(f"T0 must be in {fmt.lo}..{fmt.hi + 1}")

    def _check_terms(self) -> None:
        if not self.terms:
            return
        if self.terms < 0:
            raise ValueError(f"terms must be 0 or more, not {self.terms}")
        for value in (*self.multiplier.tolist(), *self.residual_multipliers.tolist(), *self.seconds.tolist()):
            if len(powers_of_two(value)) > self.terms:
                raise ValueError(f"factor {value} is no sum of {self.terms} signed powers of two")

    def check_scores(self, read: Sequence[Tensor]) -> None:
        """Raise ``ValueError`` where a sum of the accumulator's range would be clamped."""
        acc = read[0].format
        residual = read[1].format if self.residual is not None else None
        joined = [bound * self.residual_multipliers for bound in (residual.lo, residual.hi)] if residual else [0]
        sides: list[tuple[Ints, Ints, int | Ints]] = [
            (self.multiplier, self.offset, bound) for bound in (acc.lo, acc.hi)
        ]
        if self.second is not None:
            above, below = self.knees.clip(acc.lo, acc.hi), (self.knees - 1).clip(acc.lo, acc.hi)
            sides = [(self.multiplier, self.offset, bound) for bound in (above, acc.hi)]
            sides += [(self.seconds, self.second_offsets, bound) for bound in (acc.lo, below)]
        ends = [(bound * m + b + r) >> self.shifts for m, b, bound in sides for r in joined]
        # A tie that goes to the even number may be one lower.
        least = min(int(e.min()) for e in ends) - (self.ties == "even")
        if least < self.lo or max(int(e.max()) for e in ends) > self.hi:
            raise ValueError(f"scores could leave {self.lo}..{self.hi} and saturate")


def _same(one: object, other: object) -> bool:
    """Whether two fields, of whatever type they came, are equal arrays."""
    return isinstance(one, np.ndarray) and isinstance(other, np.ndarray) and np.array_equal(one, other)


def _check_residual(residual: Tensor, shape: Shape) -> None:
    if residual.format.bits > MAX_RESIDUAL_BITS:
        raise ValueError(f"a residual of {residual.format} is too wide; the limit is {MAX_RESIDUAL_BITS} bits")
    if residual.shape != shape:
        raise ValueError(f"residual of shape {residual.shape} does not fit {shape}")


def factor_bound(bits: int) -> int:
    """Largest magnitude of a factor of ``bits`` bits; the same on both sides of 0."""
    return (1 << (bits - 1)) - 1


def offset_format(accumulator: Format, factor_bits: int = MULTIPLIER_BITS) -> Format:
    """Format of B: as wide as the product that it is added to.

    Raises
    ------
    ValueError
        for sums so wide that their requantise would not fit 64-bit integers, in which the golden model computes.
    """
    most = MAX_PRODUCT_BITS - factor_bits
    if accumulator.bits > most:
        raise ValueError(f"sums of {accumulator.bits} bits are too wide to requantise; the limit is {most}")
    return signed(accumulator.bits + factor_bits)


def powers_of_two(value: int) -> tuple[int, ...]:
    """The fewest signed powers of two whose sum is ``value`` (its non-adjacent form), smallest first."""
    found = []
    place = 0
    while value:
        if value & 1:
            digit = 2 - (value & 3)
            found.append(digit << place)
            value -= digit
        value >>= 1
        place += 1
    return tuple(found)
