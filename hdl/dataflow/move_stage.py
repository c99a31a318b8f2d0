"""Stages that compute nothing: a move of pixels, or a join of streams, with queues."""

from typing import Any

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..bus.reload import port_of
from ..bus.service import StageService
from ..maps.join import Join, JoinShape
from ..maps.move import Move, MoveShape
from ..memory.image import Table
from ..streams.elements import Queue, adapted, elements
from .build import StageBuild
from .layout import StageImages
from .outlet import outlet, room_for

__all__ = ["JoinComponent", "MoveComponent"]


class MoveComponent(wiring.Component):
    """A move in hardware: its ring, what comes in from outside the map, and a queue.

    A beat is read when its rows are in the ring and the queue has room for it. From there nothing stalls.

    Members
    -------
    i : In stream, ``build.x_count`` elements
    o : Out stream, ``build.gather * build.out_count`` elements

    Parameters
    ----------
    prefix : of the Verilog modules that read memory files; None builds the contents in
    service : what control needs of the stage, where there is control
    """

    def __init__(
        self, build: StageBuild, images: StageImages, *, prefix: str | None, service: StageService | None = None
    ):  # fmt: skip
        self.build = build
        self.images = images
        self.prefix = prefix
        self.service = service
        self.inlets = ("i",)
        bits = build.stage.x.bits
        super().__init__({
            "i": In(stream.Signature(elements(bits, build.x_count))),
            "o": Out(stream.Signature(elements(bits, build.gather * build.out_count))),
        })  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        build, service = self.build, self.service
        assert isinstance(build.window, MoveShape)
        m.submodules.move = move = Move(build.window)
        wiring.connect(m, wiring.flipped(self.i), move.i)
        if self.images.pad is not None:
            write = None if service is None else port_of(service.reload, self.images.pad)
            m.submodules.pad = pad = Table(self.images.pad, prefix=self.prefix, write=write)
            m.d.comb += [pad.address.eq(move.pad_address), move.pad.eq(pad.data)]
        queue, entry = outlet(m, build, self.o)
        m.d.comb += [
            entry.payload.as_value().eq(move.y),
            entry.valid.eq(move.valid),
            move.go.eq(room_for(m, build, queue, move.begin)),
        ]
        if service is not None:
            service.report(m, busy=move.valid, inputs=[self.i], outputs=[self.o])
        return m


class JoinComponent(wiring.Component):
    """A concatenation in hardware: a queue for every stream, the join, and a queue behind it.

    Members
    -------
    i, i1, .. : In streams, ``build.join_counts`` elements
    o : Out stream, ``build.gather * build.out_count`` elements

    Parameters
    ----------
    service : what control needs of the stage, where there is control
    """

    def __init__(
        self, build: StageBuild, images: StageImages, *, prefix: str | None = None, service: StageService | None = None
    ):  # fmt: skip
        self.build = build
        self.service = service
        self.inlets = tuple(f"i{k}" if k else "i" for k in range(len(build.stage.parts)))
        bits = build.stage.x.bits
        super().__init__({
            **{
                name: In(stream.Signature(elements(bits, count)))
                for name, count in zip(self.inlets, build.join_counts, strict=True)
            },
            "o": Out(stream.Signature(elements(bits, build.gather * build.out_count))),
        })  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        build = self.build
        assert isinstance(build.window, JoinShape)
        # First, so that in the Verilog it is this stage's `o` that has the plain names, which a trace binds to.
        _, entry = outlet(m, build, self.o)
        m.submodules.join = join = Join(build.window)
        inputs = [getattr(self, name) for name in self.inlets]
        bits = build.stage.x.bits
        for k, (port, depth) in enumerate(zip(inputs, build.plan.joins, strict=True)):
            # What a fork hands on is taken at once; it is split behind the queue, when its turn has come.
            have = build.join_counts[k]
            wide = build.wants(k, have)
            m.submodules[f"wait{k}"] = queue = Queue(elements(bits, wide), depth=depth)
            whole = adapted(m, f"{k}", wiring.flipped(port), bits=bits, have=have, want=wide)
            wiring.connect(m, whole, queue.i)
            parts = adapted(m, f"{k}", queue.o, bits=bits, have=wide, want=build.takes(k))
            wiring.connect(m, parts, getattr(join, f"i{k}"))
        wiring.connect(m, join.o, entry)
        if self.service is not None:
            self.service.report(m, busy=join.o.valid & join.o.ready, inputs=inputs, outputs=[self.o])
        return m
