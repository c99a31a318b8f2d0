"""What makes features of the sums of a stage: a requantise, or thresholds."""

from dataclasses import dataclass
from typing import Any

from ....quant.formats import Format, format_for, unsigned
from ....quant.program import Requantise, Threshold
from ...activation.arithmetic import Scale, ShiftField, shift_bits
from ...activation.threshold import LATENCY as THRESHOLD_LATENCY
from ...activation.threshold import Levels
from ..plan import StagePlan

__all__ = ["Activation", "Requantised", "Thresholded"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Requantised:
    """A requantise behind an array.

    Attributes
    ----------
    offset : format of B in the array's terms
    residual : format of the residual that it adds, or None
    """

    op: Requantise
    offset: Format
    residual: Format | None

    unit_cost = 8
    levels = 0

    @property
    def terms(self) -> int:
        """Most powers of two in a factor; 0: any."""
        return self.op.terms

    @property
    def channelwise(self) -> bool:
        """Whether every channel has an S and R of its own."""
        return self.op.channelwise

    @property
    def shift_format(self) -> Format:
        """Format of the shift S: wide enough for the largest of all channels."""
        return unsigned(shift_bits(int(self.op.shifts.max())))

    def shift_field(self, plan: StagePlan) -> ShiftField:
        """How S stands in a memory: every channel's own one as it is, one that all share as ``plan`` says."""
        if self.channelwise or not plan.shifts:
            return ShiftField(format=self.shift_format)
        least, most = plan.shifts
        return ShiftField(least=least, format=unsigned((most - least).bit_length()) if most > least else None)

    @property
    def shared_shift(self) -> int | None:
        """S, where all channels share one."""
        return None if self.channelwise else int(self.op.shifts[0])

    @property
    def clamps(self) -> bool:
        """Whether it clamps to less than its format holds."""
        fmt = self.op.format
        return (self.op.lo, self.op.hi) != (fmt.lo, fmt.hi)

    @property
    def even(self) -> bool:
        """Whether the requantise rounds ties to the even number: 2.5 to 2; else up, to 3."""
        return self.op.ties == "even"

    @property
    def factor_bits(self) -> int:
        """Width of M."""
        return self.op.factor_bits

    @property
    def bends(self) -> bool:
        """Whether the requantise has a second slope, for sums below its knee."""
        return self.op.bends

    @property
    def aspects(self) -> dict[str, Any]:
        """What the RTL depends on, see `Stage.aspects`."""
        names = ("residual", "offset", "terms", "channelwise", "even", "factor_bits", "shift_format")
        return {name: getattr(self, name) for name in names} | ({"slopes": 2} if self.bends else {})

    def knee(self, total: Format) -> Format | None:
        """Format of the knee T0 for sums of the format ``total``: it also holds the largest sum plus one, a knee
        below which every sum lies."""
        return format_for(total.lo, total.hi + 1) if self.bends else None

    def scale(self, plan: StagePlan) -> Scale:
        """How the units multiply, as ``plan`` says: in DSP blocks, in lookup tables or by shifting."""
        return Scale(how=plan.scale, terms=self.terms, bits=self.factor_bits)

    def latency(self, plan: StagePlan) -> int:
        """Cycles from the sums that enter a requantiser to the features that leave it."""
        return self.scale(plan).latency(residual=self.residual is not None, bends=self.bends)


@dataclass(frozen=True, kw_only=True, eq=False)
class Thresholded:
    """Thresholds behind an array."""

    op: Threshold

    terms = 0
    residual = None
    shared_shift = None

    @property
    def levels(self) -> int:
        """Thresholds per channel."""
        return self.op.thresholds.shape[1]

    @property
    def unit_cost(self) -> int:
        """Lookup tables of a unit per bit of a sum, roughly two for each threshold, see `Stage.unit_cost`."""
        return 2 * self.levels

    @property
    def aspects(self) -> dict[str, Any]:
        """What the RTL depends on, see `Stage.aspects`."""
        return {"levels": self.levels}

    def layout(self, total: Format, units: int) -> Levels:
        """Layout of the memory of thresholds for ``units`` units and sums of the format ``total``."""
        return Levels(level=format_for(total.lo, total.hi + 1), count=self.levels, units=units)

    def latency(self, plan: StagePlan) -> int:
        """Cycles from the sums that enter a thresholder to the features that leave it."""
        return THRESHOLD_LATENCY


Activation = Requantised | Thresholded
