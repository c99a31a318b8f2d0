"""The cycle model: when each stage is at work, from Program and Plan alone.

Every stage is a machine with a fixed rhythm: a group of output channels takes ``steps`` cycles and leaves after a known
latency. In the steady state the slowest stage sets the pace of all. For the first image the times follow forward, stage
by stage: rows complete, groups begin, beats leave; nothing waits for what comes behind.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..quant.program import Program
from .entry import entry_latency, entry_of
from .plan import StageBuild

__all__ = ["Schedule", "StageTiming", "schedule"]

Cycles = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class StageTiming:
    """Timing of one stage.

    Attributes
    ----------
    interval : cycles per image that the stage needs by itself
    busy : cycles per image in which its array works
    first_beat, last_beat : cycles after the first input beat in which the first image's beats leave its array
    """

    name: str
    lanes: int
    interval: int
    busy: int
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


def schedule(builds: tuple[StageBuild, ...], program: Program) -> Schedule:
    """Predict interval and latency.

    The interval is the largest of what any stage needs to read its ring, to write it, or to emit its beats, and of the
    input and output beats.
    """
    channels, height, width = program.input.shape
    beats = np.arange(height * width, dtype=np.int64) + entry_latency(entry_of(program))
    split = channels // builds[0].plan.simd
    interval = max(len(beats), program.classes + 1)
    timings = []
    for build in builds:
        interval = max(interval, build.interval)
        emitted = _stage(build, _split(beats, split))
        timings.append(
            StageTiming(
                name=build.stage.name, lanes=build.lanes, interval=build.interval, busy=build.window.read_cycles,
                first_beat=int(emitted[0]), last_beat=int(emitted[-1]),
            )
        )  # fmt: skip
        beats, split = _queued(emitted, build.gather), build.split
    scores = _split(beats, split)
    return Schedule(interval=interval, latency=int(scores[-1]) + 1, stages=tuple(timings))


def _spaced(ready: Cycles, gap: int) -> Cycles:
    """Earliest times that are no earlier than ``ready``, in order, and at least ``gap`` apart."""
    ramp = gap * np.arange(len(ready), dtype=np.int64)
    return np.asarray(np.maximum.accumulate(ready - ramp) + ramp)


def _queued(pushed: Cycles, gather: int) -> Cycles:
    """When beats leave a queue into which ``gather`` at a time enter as one."""
    entered = pushed if gather == 1 else pushed.reshape(-1, gather)[:, -1] + 1
    return _spaced(entered + 1, 1)


def _split(beats: Cycles, parts: int) -> Cycles:
    """When the parts of beats leave a `Narrow`, which takes a new beat with the last part of the one before."""
    if parts == 1:
        return beats
    return np.asarray((_spaced(beats, parts)[:, None] + 1 + np.arange(parts)).reshape(-1))


def _stage(build: StageBuild, arrivals: Cycles) -> Cycles:
    """When the beats of the first image enter the queue, given when its pixels can enter the ring."""
    w = build.window
    ready = np.full((w.padded_height, w.padded_width, w.chunks), -(1 << 40), np.int64)
    p = w.padding
    ready[p : p + w.height, p : p + w.width] = arrivals.reshape(w.height, w.width, w.chunks)
    written = _spaced(ready.reshape(-1), 1)
    complete = written.reshape(w.padded_height, -1)[:, -1] + 1
    last_rows = np.arange(w.out_height) * w.stride + np.full(w.out_height, max(w.kernel[0], w.stride))
    last_rows[-1] = w.used_height
    needed = complete[last_rows - 1]
    begins = _spaced(np.repeat(needed, w.out_width * w.groups), w.steps)
    beats = begins[:, None] + build.group_latency + np.arange(build.group_beats)
    return np.asarray(beats.reshape(-1))
