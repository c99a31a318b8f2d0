"""Stages that take the maximum or the sum of a window, channel by channel."""

from dataclasses import dataclass

from amaranth.hdl import Module, Value

from ...bus.service import StageService
from ...lanes.pool import PoolArray
from ...maps.window import WindowBuffer
from ..plan import StagePlan
from .build import StageBuild
from .images import StageImages
from .stage import divisors
from .sums import WindowStage
from .window_component import WindowComponent

__all__ = ["AVERAGE", "MAX", "PoolStage"]

AVERAGE, MAX = "average", "max"
"""Kinds of pools."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PoolStage(WindowStage):
    """A pool: `MAX`, whose features leave as they are, or `AVERAGE`, sums for a requantise or thresholds. A tensor that
    only changes its grid is an average of one pixel."""

    def folds(self) -> list[dict[str, int]]:
        """Any number of channels at once."""
        return [{"simd": simd} for simd in divisors(self.source[0])]

    def chunks(self, plan: StagePlan) -> int:
        """A group is ``plan.simd`` channels."""
        return 1

    def segments(self, plan: StagePlan) -> int:
        """Parts of the channels that are read one after the other: one for each group of ``plan.simd`` channels."""
        return self.source[0] // plan.simd

    def array_latency(self, plan: StagePlan, fabric: str) -> int:
        """Cycles from the operands of a pool to its results."""
        return PoolArray.latency

    def check(self, plan: StagePlan) -> None:
        """Nothing is folded but channels."""
        self.check_ones(plan, "pool", ("pe", "taps", "lines", "blocks"))

    def component(
        self, build: StageBuild, images: StageImages, *, prefix: str | None, service: StageService | None = None
    ) -> "PoolComponent":
        """Window and pool."""
        return PoolComponent(self, build, images, prefix=prefix, service=service)


class PoolComponent(WindowComponent[PoolStage]):
    """A pool in hardware."""

    def outside(self, m: Module, window: WindowBuffer) -> Value | int:
        """The lowest feature, which wins no maximum."""
        x = self.stage.x
        return sum(x.encode(x.lo) << (k * x.bits) for k in range(self.build.x_count))

    def array(self, m: Module, window: WindowBuffer) -> tuple[Value, Value]:
        """All channels of a group side by side."""
        stage = self.stage
        function = "max" if stage.kind == MAX else "sum"
        lanes = self.build.plan.simd
        m.submodules.array = pool = PoolArray(function=function, lanes=lanes, x=stage.x, total=stage.total)
        strobes = ("valid", "first", "last")
        m.d.comb += [pool.x.eq(window.x), *(getattr(pool, name).eq(getattr(window, name)) for name in strobes)]
        return pool.sums, pool.done
