"""What the hardware of every stage has: its ports, the queue behind it, and the room in that."""

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ...bus.service import StageService
from ...streams.beats import elements
from ...streams.convert import Widen
from ...streams.queue import Queue
from .build import StageBuild
from .stage import Stage

if TYPE_CHECKING:
    from .images import StageImages

__all__ = ["StageComponent"]

Kind = TypeVar("Kind", bound=Stage)


class StageComponent(wiring.Component, Generic[Kind]):
    """A stage in hardware; every kind of stage has a subclass.

    Members
    -------
    i, .. : In streams, one for each of ``stage.inlets``: elements of what it reads, as many as it computes with at
        once, or as come where they wait in a queue
    o : Out stream, ``build.gather * build.out_count`` elements of the result format

    Parameters
    ----------
    stage : that of ``build``
    prefix : of the Verilog modules that read memory files; None builds the contents in
    service : what control needs of the stage, where there is control
    """

    def __init__(
        self, stage: Kind, build: StageBuild, images: "StageImages", *, prefix: str | None,
        service: StageService | None = None,
    ):  # fmt: skip
        self.stage = stage
        self.build = build
        self.images = images
        self.prefix = prefix
        self.service = service
        self.reload = None if service is None else service.reload
        ports = {
            name: In(stream.Signature(elements(stage.read_format(port).bits, self._comes(port))))
            for port, name in enumerate(stage.inlets)
        }
        out = stream.Signature(elements(stage.y.bits, build.gather * build.out_count))
        super().__init__({**ports, "o": Out(out)})

    def _comes(self, port: int) -> int:
        return self.build.count_of(port) if self.stage.waits(port) else self.build.takes(port)

    @property
    def sources(self) -> list[Any]:
        """The input streams."""
        return [getattr(self, name) for name in self.stage.inlets]

    def outlet(self, m: Module) -> tuple[Queue, Any]:
        """The queue behind the stage, and the stream that takes its beats in: gathered first, where the queue holds
        several at once."""
        build = self.build
        m.submodules.queue = queue = Queue(self.o.payload.shape(), depth=build.plan.queue)
        wiring.connect(m, queue.o, wiring.flipped(self.o))
        if build.gather == 1:
            return queue, queue.i
        m.submodules.gather = gather = Widen(bits=self.stage.y.bits, count=build.out_count, factor=build.gather)
        wiring.connect(m, gather.o, queue.i)
        return queue, gather.i

    def room_for(self, m: Module, queue: Queue, begin: Value) -> Value:
        """Whether ``queue`` has room for a group: claimed when it begins, given back when a beat of the queue has
        left."""
        build = self.build
        capacity = build.plan.queue * build.gather
        room = Signal(range(capacity + 1), init=capacity, name="room")
        claimed = Mux(begin, build.group_beats, 0)
        returned = Mux(queue.o.valid & queue.o.ready, build.gather, 0)
        m.d.sync += room.eq(room - claimed + returned)
        return room >= build.group_beats

    def report(self, m: Module, busy: Value) -> None:
        """Say to control, where there is control, in which cycles the stage works, starves and stalls."""
        if self.service is not None:
            self.service.report(m, busy=busy, inputs=self.sources, outputs=[self.o])
