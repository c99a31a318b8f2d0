"""The dataflow family: one stage per layer, all at work at once, joined by streams."""

from typing import Any

from amaranth.hdl import ClockDomain, DomainRenamer, Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ...quant.formats import Format
from ...quant.program import Program
from ..activation.entry import Entry, entry_of
from ..bus.front_end import front_end, pins
from ..bus.service import Service
from ..streams.beats import element_bits, elements
from ..streams.convert import adapted
from ..streams.fork import Fork
from ..streams.packet import packet_of
from .blocks import STAGE
from .build import bind, readers_of
from .control import Control
from .control_map import control_map
from .joints import PIPELINE
from .kinds.images import stage_images
from .plan import Plan
from .stages import INPUT_STAGE

__all__ = ["Accelerator", "Pipeline"]


class Pipeline(wiring.Component):
    """A whole network: pixels in, packets of scores and class, or of the raw result, out.

    Members
    -------
    i : In stream, the channels of a pixel in whole bytes each, ``plan.pixels`` of them, the first lowest
    o : Out stream of ``value`` and ``last``, as `Packet` or `RawPacket` says; without handshake its ready is not read

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
            "i": In(stream.Signature(elements(element_bits(program.input.format), self.channels))),
            "o": Out(self.packet.o.signature),
        })  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        x = self.program.input.format
        source, bits = self._bare(m, x), x.bits
        if (op := entry_of(self.program)) is not None:
            m.submodules.entry = entry = Entry(op, channels=self.channels, x=x)
            wiring.connect(m, source, entry.i)
            source, bits = entry.o, op.format.bits
        readers = readers_of(self.builds)
        waiting = self._hand_on(m, INPUT_STAGE, source, readers)
        counts, widths = {INPUT_STAGE: self.channels}, {INPUT_STAGE: bits}
        for build, images in zip(self.builds, self.images, strict=True):
            name, reads = build.stage.name, build.stage.reads
            service = None if self.service is None else self.service.stages[name]
            component = build.stage.component(build, images, prefix=self.prefix, service=service)
            m.submodules[STAGE + name] = component
            for port, made in enumerate(reads):
                source = waiting[name, port]
                if not build.stage.waits(port):  # what waits is gathered and split where it does
                    source = adapted(
                        m, STAGE + name, source, bits=widths[made], have=counts[made], want=build.takes(port)
                    )  # fmt: skip
                wiring.connect(m, source, component.sources[port])
            counts[name], widths[name] = build.gather * build.out_count, build.stage.y.bits
            waiting |= self._hand_on(m, name, component.o, readers)
        last = self.builds[-1].stage.name
        want = self.plan.outputs
        source = adapted(m, "packet", waiting["packet", 0], bits=widths[last], have=counts[last], want=want)
        m.submodules.packet = self.packet
        wiring.connect(m, source, self.packet.i)
        if self.plan.stream == "none":
            m.d.comb += [self.o.valid.eq(self.packet.o.valid), self.o.payload.eq(self.packet.o.payload)]
            m.d.comb += self.packet.o.ready.eq(1)
        else:
            wiring.connect(m, self.packet.o, wiring.flipped(self.o))
        return m

    def _bare(self, m: Module, x: Format) -> Any:
        """The input without what fills the bytes of its elements."""
        if x.bits == element_bits(x):
            return wiring.flipped(self.i)
        bare = stream.Signature(elements(x.bits, self.channels)).create(path=("bare",))
        m.d.comb += [bare.valid.eq(self.i.valid), self.i.ready.eq(bare.ready)]
        m.d.comb += [one.eq(whole) for one, whole in zip(bare.payload, self.i.payload, strict=True)]
        return bare

    def _hand_on(self, m: Module, name: str, source: Any, readers: Any) -> dict[tuple[str, int], Any]:
        """What each reader of ``name`` gets, by its name and which of its ``reads`` it is."""
        wanted = [(build.stage.name, port) for build, port in readers.get(name, ())] or [("packet", 0)]
        if len(wanted) == 1:
            return {wanted[0]: source}
        m.submodules[f"fork_{STAGE}{name}" if name else "fork"] = fork = Fork(source.payload.shape(), count=len(wanted))
        wiring.connect(m, source, fork.i)
        return {who: getattr(fork, f"o{k}") for k, who in enumerate(wanted)}


class Accelerator(wiring.Component):
    """A `Pipeline` behind AXI4-Stream, or behind streams without handshake.

    Takes pixels row by row, one per beat, channel 0 lowest. Gives one packet per image: a beat per class
    score, then the class, or the raw result, with ``m_axis_tlast`` on the last beat. Stops for ``m_axis_tready`` and
    stops its source with ``s_axis_tready``, at any time, without losing a beat. In a Plan without handshake neither
    exists: a beat of either side is there for the cycle of its valid, and answers come a fixed time after their images.

    Members
    -------
    aclk, aresetn : In; reset is synchronous and active low, two cycles or more
    s_axis_tdata, s_axis_tvalid, s_axis_tready : pixels
    m_axis_tdata, m_axis_tvalid, m_axis_tready, m_axis_tlast : scores and class, or the raw result
    s_axil_*, or wb_* : with control in the Plan, see `AxiLite` and `Wishbone`
    """

    def __init__(self, pipeline: Pipeline):
        self.pipeline = pipeline
        self.handshake = pipeline.plan.stream != "none"
        service = pipeline.service
        added = {} if service is None else pins(pipeline.plan.control, service.map.address_bits)
        super().__init__({
            "aclk": In(1),
            "aresetn": In(1),
            "s_axis_tdata": In(element_bits(pipeline.program.input.format) * pipeline.channels),
            "s_axis_tvalid": In(1),
            **({"s_axis_tready": Out(1)} if self.handshake else {}),
            "m_axis_tdata": Out(pipeline.packet.width),
            "m_axis_tvalid": Out(1),
            **({"m_axis_tready": In(1)} if self.handshake else {}),
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
            *([self.s_axis_tready.eq(ready)] if self.handshake else []),
            self.m_axis_tdata.eq(inner.o.payload.value),
            self.m_axis_tlast.eq(inner.o.payload.last),
            self.m_axis_tvalid.eq(inner.o.valid),
            *([inner.o.ready.eq(self.m_axis_tready)] if self.handshake else []),
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
