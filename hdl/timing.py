"""What a family predicts of an accelerator's speed: cycles per image, the first answer, and when each stage works."""

from dataclasses import dataclass
from typing import Any

__all__ = ["Schedule", "StageTiming"]


@dataclass(frozen=True, kw_only=True)
class StageTiming:
    """Timing of one stage.

    Attributes
    ----------
    interval : cycles per image that the stage needs by itself
    busy : cycles per image in which its array works
    begin, end : cycles after the first input beat between which its array is at the first image, the end excluded, when
        nothing behind holds it up
    first_beat, last_beat : cycles after the first input beat in which the first image's beats leave its array
    """

    name: str
    lanes: int
    interval: int
    busy: int
    begin: int
    end: int
    first_beat: int
    last_beat: int


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Timing of a whole accelerator without stalls.

    Attributes
    ----------
    interval : cycles per image in the steady state
    latency : cycles from the first input beat to the last output beat of the first image, when the accelerator has
        idled long enough to have written the padding in front of it
    """

    interval: int
    latency: int
    stages: tuple[StageTiming, ...]

    @property
    def lanes(self) -> int:
        """Lanes of all stages."""
        return sum(stage.lanes for stage in self.stages)

    @property
    def bottleneck(self) -> StageTiming:
        """The slowest stage; among equals the one with most lanes."""
        return max(self.stages, key=lambda stage: (stage.interval, stage.lanes))

    def lane_utilization(self, cycles_per_image: int) -> float:
        """Busy lane-cycles of the bottleneck over its lanes times ``cycles_per_image``."""
        return self.bottleneck.busy / cycles_per_image

    def watchdog(self, stall: float = 0.0) -> int:
        """Cycles without any output after which a simulation has hung, at a share ``stall`` of stalled cycles."""
        return int(4 * (self.latency + self.interval) / (1 - stall) ** 2) + 1000

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "interval": self.interval,
            "latency": self.latency,
            "lanes": self.lanes,
            "bottleneck": self.bottleneck.name,
            "stages": [vars(stage) for stage in self.stages],
        }
