"""How deep the queues must be: computed from the stages' rhythms, not found by simulation.

A pipeline whose parts have fixed rhythms and bounded queues is a marked graph. It runs by itself at least as early as
any schedule that respects its queues (Commoner, Holt, Even, Pnueli, 1971; Reiter, 1968). So it is enough to write down
one schedule at full pace: what waits in a queue under it is how deep that queue must be. For a residual it is the
schedule in which everything before the join happens as late as possible; there a queue with one entry less would
delay the join. The streams of a concatenation wait in queues of the same kind: all but the slowest, which comes as late
as possible, so that the join takes its beats as they come.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ....quant.program import Program
from ..build import StageBuild, connected, queue_depth, readers_of
from ..plan import StagePlan
from ..schedule import Flow, flow, latest, main_way

__all__ = ["with_queues"]

IMAGES = 4
"""Images in a row that show the steady state."""


def with_queues(
    builds: Sequence[StageBuild], program: Program, *, pixels: int = 1, outputs: int = 1
) -> tuple[StagePlan, ...]:
    """The plans of ``builds`` with queues deep enough that no stage waits for another one's padding or for what it
    joins."""
    channels = program.input.shape[0] * pixels

    def joined(plans: Sequence[StagePlan]) -> tuple[StageBuild, ...]:
        pairs = zip((build.stage for build in builds), plans, strict=True)
        return connected(pairs, channels=channels, outputs=outputs, fabric=builds[0].fabric)

    whole = joined([build.plan for build in builds])
    readers = readers_of(whole)
    plans = []
    for build in whole:
        pauses = [reader.window.longest_pause for reader, port in readers.get(build.stage.name, ()) if port == 0]
        plans.append(replace(build.plan, queue=queue_depth(build, pause=max(pauses, default=1))))
    if not any(len(build.stage.reads) > 1 or build.stage.joined for build in whole):
        return tuple(plans)
    builds = joined(plans)
    times = _meeting(builds, program, pixels)
    return tuple(
        replace(
            plan,
            residual=0 if build.stage.residual is None else _depth(build, times, 1),
            joins=tuple(_depth(build, times, port) for port in range(build.stage.joined)),
            rows=max(plan.rows, _rows(build, times)),
        )
        for plan, build in zip(plans, builds, strict=True)
    )


def _meeting(builds: tuple[StageBuild, ...], program: Program, pixels: int) -> Flow:
    """Times at full pace of what meets.

    What waits for another leaves the stage it comes from at the latest that the way through the layers allows; a stage
    on its own way works as soon as it can.
    """
    times = flow(builds, program, pixels=pixels, images=IMAGES)
    late = latest(builds, program, times, pixels=pixels)
    way = main_way(builds, times)
    return flow(builds, program, pixels=pixels, images=IMAGES, fixed=late, stands=way)


def _rows(build: StageBuild, times: Flow) -> int:
    """Rows of the ring: what a fork hands on early, since another reader needs it, waits there."""
    name = build.stage.name
    held = build.rhythm.rows_held(times.begins[name], times.came[name, 0])
    return -(-held // build.plan.lines) * build.plan.lines


def _depth(build: StageBuild, times: Flow, port: int) -> int:
    """The most beats that wait at once: a beat can enter one cycle after the one whose place it takes has left.

    One for a residual need not enter before a group needs it while a fork keeps it.
    """
    key = build.stage.name, port
    entered, begins = times.came[key], times.begins[build.stage.name]
    if key in times.held and build.rhythm.leaves_waiting:
        due = build.rhythm.due(port, begins, len(entered))
        entered = np.maximum(entered, np.minimum(times.held[key], due))
    taken = build.rhythm.left(port, entered, begins)
    # entry n needs taken[n - depth] < entered[n]
    gone = np.searchsorted(taken, entered, side="left")
    return max(int((np.arange(len(entered)) + 1 - gone).max()), 1)
