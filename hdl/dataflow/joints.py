"""What stands beside the stages of a pipeline, as contents of parts: converters and forks, the input operation, the
packet at the end."""

from collections.abc import Sequence
from dataclasses import dataclass

from ...quant.formats import Format
from ...quant.ops.ends import PIXEL
from ...quant.program import Program, Requantise, Threshold
from ..activation.entry import entry_of
from .build import StageBuild, readers_of
from .plan import Plan
from .stages import INPUT_STAGE

__all__ = ["PACKET", "PIPELINE", "End", "Entrance", "Joint", "joints_of"]

PIPELINE = "pipeline"
"""Name of the instance that holds the stages and what stands beside them."""
PACKET = "packet"
"""Name of the instance that ends the packets, and of its part."""


@dataclass(frozen=True, kw_only=True)
class Joint:
    """What leads the beats of a stage on: a converter of their width, and a fork where several read them.

    Attributes
    ----------
    bits : of an element
    have, want : elements per beat that come, and that leave
    readers : streams that leave
    """

    bits: int
    have: int
    want: int
    readers: int = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Entrance:
    """The operation that reads the pixels, on ``channels`` elements of ``x`` at once."""

    op: Requantise | Threshold
    channels: int
    x: Format = PIXEL


@dataclass(frozen=True, kw_only=True)
class End:
    """The packet that ends a classifier of ``classes`` scores; of a raw result, which passes as it is, ``score`` is
    None."""

    score: Format | None
    classes: int = 0


def joints_of(program: Program, plan: Plan, builds: Sequence[StageBuild]) -> tuple[Joint | Entrance, ...]:
    """What stands between stages: width converters and forks, and the input operation."""
    counts = {INPUT_STAGE: program.input.shape[0] * plan.pixels}
    counts |= {build.stage.name: build.gather * build.out_count for build in builds}
    found: list[Joint | Entrance] = []
    readers = readers_of(builds)
    for name, have in counts.items():
        behind = readers.get(name, [])
        if len(behind) > 1:
            found.append(Joint(bits=1, have=1, want=1, readers=len(behind)))
        for build, port in behind:
            if port == 0:
                found.append(Joint(bits=build.stage.x.bits, have=have, want=build.x_count))
    last = builds[-1]
    found.append(Joint(bits=last.stage.y.bits, have=counts[last.stage.name], want=plan.outputs))
    if (op := entry_of(program)) is not None:
        found.append(Entrance(op=op, channels=program.input.shape[0] * plan.pixels, x=program.input.format))
    return tuple(found)
