"""The dataflow family: one stage per layer, all at work at once, joined by streams."""

from typing import Any

from amaranth.hdl import Cat, ClockDomain, DomainRenamer, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ...quant.program import Program
from ..activation.entry import Entry, entry_of
from ..activation.requantise import Requantiser, fetch_in_turn
from ..activation.threshold import Thresholder
from ..blocks import STAGE
from ..bus.front_end import front_end, pins
from ..bus.reload import port_of
from ..bus.service import Service, StageService
from ..lanes.array import FoldedArray, Reduce
from ..maps.window import Window, WindowShape
from ..memory.image import Rom, Table
from ..streams.elements import Fork, Queue, adapted, elements, in_block_ram
from ..streams.packet import packet_of
from .build import StageBuild, bind, readers_of
from .control import Control
from .control_map import control_map
from .joints import PIPELINE
from .layout import StageImages, stage_images
from .move_stage import JoinComponent, MoveComponent
from .outlet import outlet, room_for
from .plan import Plan
from .stages import PIXELS

__all__ = ["Accelerator", "Pipeline", "StageComponent"]


class StageComponent(wiring.Component):
    """A stage in hardware: window, array, requantisers, queue.

    A group of output channels begins when its pixels are in the ring, its part of a residual has come, and the queue
    has room for all its beats. From there it runs without a stall to the queue, so neither the array nor the
    requantisers need an enable.

    Members
    -------
    i : In stream, ``build.x_count`` elements of the feature format
    r : In stream, with a residual, ``build.residual_count`` elements of its format
    o : Out stream, ``build.gather * build.out_count`` elements of the result format

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
        self.reload = None if service is None else service.reload
        self.inlets = ("i", "r")
        residual = build.stage.residual
        super().__init__(
            {
                "i": In(stream.Signature(elements(build.stage.x.bits, build.x_count))),
                **({"r": In(stream.Signature(elements(residual.bits, build.residual_count)))} if residual else {}),
                "o": Out(stream.Signature(elements(build.stage.y.bits, build.gather * build.out_count))),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        build, stage = self.build, self.build.stage
        assert isinstance(build.window, WindowShape)
        m.submodules.window = window = Window(build.window)
        wiring.connect(m, wiring.flipped(self.i), window.i)
        if self.images.pad is not None:
            m.submodules.pad = pad = Table(
                self.images.pad, prefix=self.prefix, write=port_of(self.reload, self.images.pad)
            )
            m.d.comb += [pad.address.eq(window.pad_address), window.pad.eq(pad.data)]
        else:
            # Only pools pad without a memory; elsewhere the value is not read, and must not show in the Verilog.
            lowest = stage.x.encode(stage.x.lo) if stage.weight is None else 0
            word = sum(lowest << (k * stage.x.bits) for k in range(build.x_count))
            m.d.comb += window.pad.eq(word)

        sums, done = self._sums(m, window)
        queue, entry = outlet(m, build, self.o)
        activation: Requantiser | Thresholder | None = None
        if not build.activates:
            m.d.comb += [entry.payload.as_value().eq(sums), entry.valid.eq(done)]
        else:
            activation = self._requantiser(m) if stage.threshold is None else self._thresholder(m)
            m.d.comb += [
                activation.sums.eq(sums),
                activation.done.eq(done),
                entry.payload.as_value().eq(activation.y),
                entry.valid.eq(activation.valid),
            ]

        arrived = self._residual(m, window, activation) if stage.residual is not None else 1
        m.d.comb += window.go.eq(room_for(m, build, queue, window.begin) & arrived)
        if self.service is not None:
            inputs = [self.i] if stage.residual is None else [self.i, self.r]
            self.service.report(m, busy=window.valid, inputs=inputs, outputs=[self.o])
        return m

    def _sums(self, m: Module, window: Window) -> tuple[Value, Value]:
        """What the arrays make of the window's steps, and when it is there."""
        build, stage = self.build, self.build.stage
        strobes = ("valid", "first", "last")
        if stage.weight is None:
            function = "sum" if stage.kind == "average" else "max"
            m.submodules.array = pool = Reduce(function=function, lanes=build.plan.simd, x=stage.x, total=stage.total)
            m.d.comb += [pool.x.eq(window.x), *(getattr(pool, name).eq(getattr(window, name)) for name in strobes)]
            return pool.sums, pool.done
        assert self.images.weights is not None
        m.submodules.weights = rom = Rom(
            self.images.weights,
            prefix=self.prefix,
            write=port_of(self.reload, self.images.weights),
            kind=build.plan.memory,
        )
        weights = fetch_in_turn(m, rom, window.valid)
        arrays = []
        blocks, own = build.plan.blocks, build.plan.simd * stage.x.bits
        for block in range(blocks):
            array = FoldedArray(build.array, total=stage.total)
            m.submodules["array" if blocks == 1 else f"array{block}"] = array
            taps = [
                window.x.word_select(tap * blocks + block, own) for tap in range(build.plan.lines * build.plan.taps)
            ]
            m.d.comb += [
                array.x.eq(Cat(taps)),
                array.w.eq(weights.word_select(block, len(array.w))),
                *(getattr(array, name).eq(getattr(window, name)) for name in strobes),
            ]
            arrays.append(array)
        return Cat(array.sums for array in arrays), arrays[0].done

    def _residual(self, m: Module, window: Window, requantiser: Any) -> Value:
        """Keep the residual until the requantisers take it; whether all of the next group's is there."""
        build, stage = self.build, self.build.stage
        assert stage.residual is not None
        bits, have = stage.residual.bits, build.residual_count
        wide = build.residual_gather * have
        # A beat is taken long after the group that needs it has begun, so one cycle more in the queue is not seen.
        depth, block = build.plan.residual, in_block_ram(wide * bits, build.plan.residual)
        m.submodules.residual = queue = Queue(elements(bits, wide), depth=depth, block=block)
        source = adapted(m, "residual", wiring.flipped(self.r), bits=bits, have=have, want=wide)
        wiring.connect(m, source, queue.i)
        parts = adapted(m, "residual", queue.o, bits=bits, have=wide, want=build.out_count)
        m.d.comb += [requantiser.r.eq(parts.payload.as_value()), parts.ready.eq(requantiser.taking)]
        # Counted in beats of the requantisers: those that have come and that no group has claimed.
        split = build.residual_split
        there = Signal(range((build.plan.residual + 2) * split + 1), name="residual_there")
        come = Mux(queue.i.valid & queue.i.ready, split, 0)
        m.d.sync += there.eq(there + come - Mux(window.begin, build.group_beats, 0))
        return there >= build.group_beats

    def _requantiser(self, m: Module) -> Requantiser:
        build, stage = self.build, self.build.stage
        assert stage.requantise is not None and stage.offset is not None
        assert self.images.factors is not None and self.images.constants is not None
        m.submodules.requantise = requantiser = Requantiser(
            pe=build.sums, units=build.plan.requantisers, total=stage.total, offset=stage.offset, result=stage.y,
            factors=self.images.factors, constants=self.images.constants,
            shift=stage.shared_shift if self.images.fixed else None, prefix=self.prefix, residual=stage.residual,
            places=1 if stage.kind == "xnor" else 0,  # a binary array counts: acc = 2 * count - K
            reload=self.reload, scale=build.scale, channelwise=stage.channelwise, even=stage.even,
            shift_format=stage.shift_format,
        )  # fmt: skip
        return requantiser

    def _thresholder(self, m: Module) -> Thresholder:
        build, stage = self.build, self.build.stage
        assert self.images.levels is not None
        m.submodules.threshold = thresholder = Thresholder(
            pe=build.sums, total=stage.total, levels=build.levels, result=stage.y, image=self.images.levels,
            prefix=self.prefix, reload=self.reload,
        )  # fmt: skip
        return thresholder


class Pipeline(wiring.Component):
    """A whole network: pixels in, packets of scores and class, or of the raw result, out.

    Members
    -------
    i : In stream, the channels of a pixel as bytes, ``plan.pixels`` of them, the first lowest
    o : Out stream of ``value`` and ``last``, as `Packet` or `RawPacket` says

    Attributes
    ----------
    service : what control needs of it; None in a Plan without control
    """

    def __init__(self, program: Program, plan: Plan, *, prefix: str | None = None):
        self.program = program
        self.plan = plan
        self.prefix = prefix
        self.builds = bind(program, plan)
        self.images = tuple(
            stage_images(build, fixed=plan.fixed_weights, prefix=prefix or "addax") for build in self.builds
        )
        self.service: Service | None = None
        if plan.control != "none":
            images = [image for stage in self.images for image in stage.all()]
            self.service = Service(control_map(program, self.builds, plan, images))
        self.channels = program.input.shape[0] * plan.pixels
        self.packet = packet_of(program, plan.outputs)
        super().__init__({
            "i": In(stream.Signature(elements(8, self.channels))),
            "o": Out(self.packet.o.signature),
        })  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        source, bits = wiring.flipped(self.i), 8
        if (op := entry_of(self.program)) is not None:
            m.submodules.entry = entry = Entry(op, channels=self.channels)
            wiring.connect(m, source, entry.i)
            source, bits = entry.o, op.format.bits
        readers = readers_of(self.builds)
        waiting = self._hand_on(m, PIXELS, source, readers)
        counts, widths = {PIXELS: self.channels}, {PIXELS: bits}
        for build, images in zip(self.builds, self.images, strict=True):
            name, reads = build.stage.name, build.stage.reads
            service = None if self.service is None else self.service.stages[name]
            kind = JoinComponent if build.stage.joins else MoveComponent if build.stage.moves else StageComponent
            m.submodules[STAGE + name] = component = kind(build, images, prefix=self.prefix, service=service)
            for port, made in enumerate(reads):
                source = waiting[name, port]
                if not port and not build.stage.joins:  # what waits is gathered and split where it does
                    source = adapted(
                        m, STAGE + name, source, bits=widths[made], have=counts[made], want=build.x_count
                    )  # fmt: skip
                wiring.connect(m, source, getattr(component, component.inlets[port]))
            counts[name], widths[name] = build.gather * build.out_count, build.stage.y.bits
            waiting |= self._hand_on(m, name, component.o, readers)
        last = self.builds[-1].stage.name
        want = self.plan.outputs
        source = adapted(m, "packet", waiting["packet", 0], bits=widths[last], have=counts[last], want=want)
        m.submodules.packet = self.packet
        wiring.connect(m, source, self.packet.i)
        wiring.connect(m, self.packet.o, wiring.flipped(self.o))
        return m

    def _hand_on(self, m: Module, name: str, source: Any, readers: Any) -> dict[tuple[str, int], Any]:
        """What each reader of ``name`` gets, by its name and which of its ``reads`` it is."""
        wanted = [(build.stage.name, port) for build, port in readers.get(name, ())] or [("packet", 0)]
        if len(wanted) == 1:
            return {wanted[0]: source}
        m.submodules[f"fork_{STAGE}{name}" if name else "fork"] = fork = Fork(source.payload.shape(), count=len(wanted))
        wiring.connect(m, source, fork.i)
        return {who: getattr(fork, f"o{k}") for k, who in enumerate(wanted)}


class Accelerator(wiring.Component):
    """A `Pipeline` behind AXI4-Stream.

    Takes pixels row by row, one per beat, channel 0 in the lowest byte. Gives one packet per image: a beat per class
    score, then the class, or the raw result, with ``m_axis_tlast`` on the last beat. Stops for ``m_axis_tready`` and
    stops its source with ``s_axis_tready``, at any time, without losing a beat.

    Members
    -------
    aclk, aresetn : In; reset is synchronous and active low, two cycles or more
    s_axis_tdata, s_axis_tvalid, s_axis_tready : pixels
    m_axis_tdata, m_axis_tvalid, m_axis_tready, m_axis_tlast : scores and class, or the raw result
    s_axil_*, or wb_* : with control in the Plan, see `AxiLite` and `Wishbone`
    """

    def __init__(self, pipeline: Pipeline):
        self.pipeline = pipeline
        service = pipeline.service
        added = {} if service is None else pins(pipeline.plan.control, service.map.address_bits)
        super().__init__({
            "aclk": In(1),
            "aresetn": In(1),
            "s_axis_tdata": In(8 * pipeline.channels),
            "s_axis_tvalid": In(1),
            "s_axis_tready": Out(1),
            "m_axis_tdata": Out(pipeline.packet.width),
            "m_axis_tvalid": Out(1),
            "m_axis_tready": In(1),
            "m_axis_tlast": Out(1),
            **added,
        })  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.domains.sync = domain = ClockDomain(local=True)
        inner = self.pipeline
        valid, ready = self.s_axis_tvalid, inner.i.ready
        if inner.service is None:
            m.submodules[PIPELINE] = inner
        else:
            control = self._control(m, inner.service)
            valid, ready = valid & control.accept, ready & control.accept
            m.domains.work = work = ClockDomain(local=True)
            m.d.comb += [work.clk.eq(self.aclk), work.rst.eq(~self.aresetn | control.restart)]
            m.submodules[PIPELINE] = DomainRenamer("work")(inner)
        m.d.comb += [
            domain.clk.eq(self.aclk),
            domain.rst.eq(~self.aresetn),
            inner.i.payload.as_value().eq(self.s_axis_tdata),
            inner.i.valid.eq(valid),
            self.s_axis_tready.eq(ready),
            self.m_axis_tdata.eq(inner.o.payload.value),
            self.m_axis_tlast.eq(inner.o.payload.last),
            self.m_axis_tvalid.eq(inner.o.valid),
            inner.o.ready.eq(self.m_axis_tready),
        ]
        return m

    def _control(self, m: Module, service: Service) -> Control:
        """Registers behind their bus, watching the ports."""
        _, height, width = self.pipeline.program.input.shape
        bus, bits = self.pipeline.plan.control, service.map.address_bits
        m.submodules.front = front = front_end(bus, bits)
        m.submodules.control = control = Control(service, beats=height * width // self.pipeline.plan.pixels)
        wiring.connect(m, front.request, control.request)
        wiring.connect(m, front.response, control.response)
        for name, member in pins(bus, bits).items():
            outside, inside = getattr(self, name), getattr(front, name.removeprefix(front.PREFIX))
            m.d.comb += inside.eq(outside) if member.flow == In else outside.eq(inside)
        m.d.comb += [
            control.in_valid.eq(self.s_axis_tvalid),
            control.in_ready.eq(self.s_axis_tready),
            control.out_valid.eq(self.m_axis_tvalid),
            control.out_ready.eq(self.m_axis_tready),
            control.out_last.eq(self.m_axis_tlast),
        ]
        return control
