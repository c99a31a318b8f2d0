"""The hardware of layers and pools: a window, what computes behind it, an activation, a queue."""

from abc import abstractmethod
from typing import Any, TypeVar

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import wiring

from ...activation.requantise import Requantiser
from ...activation.threshold import Thresholder
from ...bus.reload import port_of
from ...maps.window import WindowBuffer
from ...memory.image import Table
from ...streams.beats import elements
from ...streams.convert import adapted
from ...streams.queue import Queue, in_block_ram
from .activation import Requantised, Thresholded
from .component import StageComponent
from .sums import WindowStage

__all__ = ["WindowComponent"]

Windowed = TypeVar("Windowed", bound=WindowStage)


class WindowComponent(StageComponent[Windowed]):
    """A stage with a window in hardware.

    A group of output channels begins when its pixels are in the ring, its part of a residual has come, and the queue
    has room for all its beats. From there it runs without a stall to the queue, so neither the array nor the
    requantisers need an enable.
    """

    @abstractmethod
    def outside(self, m: Module, window: WindowBuffer) -> Value | int:
        """What stands outside the map, where no memory says it."""

    @abstractmethod
    def array(self, m: Module, window: WindowBuffer) -> tuple[Value, Value]:
        """What is made of the window's steps, and when it is there."""

    def buffer(self) -> Any:
        """What keeps pixels until their windows are complete."""
        return WindowBuffer(self.stage.shape(self.build.plan))

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        stage = self.stage
        m.submodules.window = window = self.buffer()
        wiring.connect(m, wiring.flipped(self.i), window.i)
        if (image := self.images.get("pad")) is not None:
            m.submodules.pad = pad = Table(image, prefix=self.prefix, write=port_of(self.reload, image))
            m.d.comb += [pad.address.eq(window.pad_address), window.pad.eq(pad.data)]
        elif isinstance(window, WindowBuffer):
            m.d.comb += window.pad.eq(self.outside(m, window))

        sums, done = self.array(m, window)
        queue, entry = self.outlet(m)
        activation = self._activation(m)
        if activation is None:
            m.d.comb += [entry.payload.as_value().eq(sums), entry.valid.eq(done)]
        else:
            m.d.comb += [
                activation.sums.eq(sums),
                activation.done.eq(done),
                entry.payload.as_value().eq(activation.y),
                entry.valid.eq(activation.valid),
            ]

        arrived = self._residual(m, window, activation) if stage.residual is not None else 1
        m.d.comb += window.go.eq(self.room_for(m, queue, window.begin) & arrived)
        self.report(m, window.valid)
        return m

    def _residual(self, m: Module, window: WindowBuffer, requantiser: Any) -> Value:
        """Keep the residual until the requantisers take it; whether all of the next group's is there."""
        build, residual = self.build, self.stage.residual
        assert residual is not None
        bits, have = residual.bits, build.count_of(1)
        wide = build.wants(1, have)
        # A beat is taken long after the group that needs it has begun, so one cycle more in the queue is not seen.
        depth, block = build.plan.residual, in_block_ram(wide * bits, build.plan.residual)
        m.submodules.residual = queue = Queue(elements(bits, wide), depth=depth, block=block)
        source = adapted(m, "residual", wiring.flipped(self.r), bits=bits, have=have, want=wide)
        wiring.connect(m, source, queue.i)
        parts = adapted(m, "residual", queue.o, bits=bits, have=wide, want=build.out_count)
        m.d.comb += [requantiser.r.eq(parts.payload.as_value()), parts.ready.eq(requantiser.taking)]
        # Counted in beats of the requantisers: those that have come and that no group has claimed.
        split = build.waiting_split(1)
        there = Signal(range((build.plan.residual + 2) * split + 1), name="residual_there")
        come = Mux(queue.i.valid & queue.i.ready, split, 0)
        m.d.sync += there.eq(there + come - Mux(window.begin, build.group_beats, 0))
        return there >= build.group_beats

    def _activation(self, m: Module) -> Requantiser | Thresholder | None:
        match self.stage.activation:
            case Requantised() as made:
                return self._requantiser(m, made)
            case Thresholded() as made:
                return self._thresholder(m, made)
        return None

    def _requantiser(self, m: Module, made: Requantised) -> Requantiser:
        build, stage = self.build, self.stage
        m.submodules.requantise = requantiser = Requantiser(
            pe=build.sums, units=build.plan.requantisers, total=stage.total, offset=made.offset, result=stage.y,
            factors=self.images["factors"], constants=self.images["constants"],
            shift=made.shared_shift if self.images.fixed else None, prefix=self.prefix, residual=made.residual,
            places=1 if stage.kind == "xnor" else 0,  # a binary array counts: acc = 2 * count - K
            reload=self.reload, scale=made.scale(build.plan), channelwise=made.channelwise, even=made.even,
            shifts=made.shift_field(build.plan), knee=made.knee(stage.total), memory=build.plan.factors,
            clamps=build.plan.clamps,
        )  # fmt: skip
        return requantiser

    def _thresholder(self, m: Module, made: Thresholded) -> Thresholder:
        build, stage = self.build, self.stage
        m.submodules.threshold = thresholder = Thresholder(
            pe=build.sums, total=stage.total, levels=made.layout(stage.total, build.plan.requantisers),
            result=stage.y, image=self.images["levels"], prefix=self.prefix, reload=self.reload,
            memory=build.plan.factors,
        )  # fmt: skip
        return thresholder
