"""Where the beats of a stage leave: a queue, and the room in it."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import wiring

from ..streams.elements import Queue, Widen
from .build import StageBuild

__all__ = ["outlet", "room_for"]


def outlet(m: Module, build: StageBuild, o: Any) -> tuple[Queue, Any]:
    """The queue behind the stage ``build``, whose output is ``o``, and the stream that takes its beats in: gathered
    first, where the queue holds several at once."""
    m.submodules.queue = queue = Queue(o.payload.shape(), depth=build.plan.queue)
    wiring.connect(m, queue.o, wiring.flipped(o))
    if build.gather == 1:
        return queue, queue.i
    m.submodules.gather = gather = Widen(bits=build.stage.y.bits, count=build.out_count, factor=build.gather)
    wiring.connect(m, gather.o, queue.i)
    return queue, gather.i


def room_for(m: Module, build: StageBuild, queue: Queue, begin: Value) -> Value:
    """Whether ``queue`` has room for a group: claimed when it begins, given back when a beat of the queue has left."""
    capacity = build.plan.queue * build.gather
    room = Signal(range(capacity + 1), init=capacity, name="room")
    claimed = Mux(begin, build.group_beats, 0)
    returned = Mux(queue.o.valid & queue.o.ready, build.gather, 0)
    m.d.sync += room.eq(room - claimed + returned)
    return room >= build.group_beats
