"""The dataflow family: one stage per layer, all at work at once, joined by streams."""

from typing import Any

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..quant.program import Program
from .lanes import FoldedArray, Reduce
from .layout import StageImages, stage_images
from .memory import Rom, Table
from .packet import Packet
from .plan import Plan, StageBuild, bind
from .requantise import Requantiser, fetch_in_turn
from .streams import Conversion, Queue, Rewidth, elements
from .window import Window

__all__ = ["Accelerator", "StageComponent"]


class StageComponent(wiring.Component):
    """A stage in hardware: window, array, requantisers, queue.

    A group of output channels begins when its pixels are in the ring and the queue has room for all its beats. From
    there it runs without a stall to the queue, so neither the array nor the requantisers need an enable.

    Members
    -------
    i : In stream, simd elements of the feature format
    o : Out stream, ``build.out_count`` elements of the result format

    Parameters
    ----------
    prefix : of the Verilog modules that read memory files; None builds the contents in
    """

    def __init__(self, build: StageBuild, images: StageImages, *, prefix: str | None):
        self.build = build
        self.images = images
        self.prefix = prefix
        super().__init__({
            "i": In(stream.Signature(elements(build.stage.x.bits, build.plan.simd))),
            "o": Out(stream.Signature(elements(build.stage.y.bits, build.out_count))),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        build, stage = self.build, self.build.stage
        m.submodules.window = window = Window(build.window)
        wiring.connect(m, wiring.flipped(self.i), window.i)
        if self.images.pad is not None:
            m.submodules.pad = pad = Table(self.images.pad, prefix=self.prefix)
            m.d.comb += [pad.address.eq(window.pad_address), window.pad.eq(pad.data)]
        else:
            word = sum(stage.x.encode(int(stage.pad[0])) << (k * stage.x.bits) for k in range(build.plan.simd))
            m.d.comb += window.pad.eq(word)

        array = self._array(m, window)
        m.d.comb += [
            array.x.eq(window.x),
            array.valid.eq(window.valid),
            array.first.eq(window.first),
            array.last.eq(window.last),
        ]
        m.submodules.queue = queue = Queue(self.o.payload.shape(), depth=build.plan.queue)
        wiring.connect(m, queue.o, wiring.flipped(self.o))
        if stage.requantise is None:
            m.d.comb += [queue.i.payload.as_value().eq(array.sums), queue.i.valid.eq(array.done)]
        else:
            requantiser = self._requantiser(m)
            m.d.comb += [
                requantiser.sums.eq(array.sums),
                requantiser.done.eq(array.done),
                queue.i.payload.as_value().eq(requantiser.y),
                queue.i.valid.eq(requantiser.valid),
            ]

        room = Signal(range(build.plan.queue + 1), init=build.plan.queue)
        m.d.comb += window.go.eq(room >= build.group_beats)
        claimed = Mux(window.begin, build.group_beats, 0)
        m.d.sync += room.eq(room - claimed + (queue.o.valid & queue.o.ready))
        return m

    def _array(self, m: Module, window: Window) -> FoldedArray | Reduce:
        build, stage = self.build, self.build.stage
        if stage.weight is None:
            function = "sum" if stage.kind == "average" else "max"
            m.submodules.array = pool = Reduce(
                function=function, lanes=build.plan.simd, x=stage.x, total=stage.total
            )
            return pool
        assert stage.weight_format is not None and self.images.weights is not None
        m.submodules.array = array = FoldedArray(
            kernel=stage.kind, pe=build.plan.pe, lanes=build.plan.simd * build.plan.taps, x=stage.x,
            w=stage.weight_format, total=stage.total,
        )  # fmt: skip
        m.submodules.weights = rom = Rom(self.images.weights, prefix=self.prefix)
        m.d.comb += array.w.eq(fetch_in_turn(m, rom, window.valid))
        return array

    def _requantiser(self, m: Module) -> Requantiser:
        build, stage = self.build, self.build.stage
        assert stage.requantise is not None and stage.offset is not None
        assert self.images.factors is not None and self.images.constants is not None
        m.submodules.requantise = requantiser = Requantiser(
            pe=build.sums, units=build.plan.requantisers, total=stage.total, offset=stage.offset, result=stage.y,
            factors=self.images.factors, constants=self.images.constants,
            shift=stage.requantise.shift if self.images.fixed else None, prefix=self.prefix,
        )  # fmt: skip
        return requantiser


class Accelerator(wiring.Component):
    """A whole network behind AXI4-Stream.

    Takes pixels row by row, one per beat, channel 0 in the lowest byte. Gives one packet per image: a beat per class
    score, then the class, with ``m_axis_tlast`` on it. Stops for ``m_axis_tready`` and stops its source with
    ``s_axis_tready``, at any time, without losing a beat.

    Members
    -------
    aclk, aresetn : In; reset is synchronous and active low
    s_axis_tdata, s_axis_tvalid, s_axis_tready : pixels
    m_axis_tdata, m_axis_tvalid, m_axis_tready, m_axis_tlast : scores and class

    Attributes
    ----------
    interval : cycles per image in the steady state without stalls
    """

    def __init__(self, program: Program, plan: Plan, *, prefix: str | None = None):
        self.program = program
        self.plan = plan
        self.prefix = prefix
        self.builds = bind(program, plan)
        self.packet_width = -(-program.score_format.bits // 8) * 8
        super().__init__({
            "aclk": In(1),
            "aresetn": In(1),
            "s_axis_tdata": In(8 * program.input.shape[0]),
            "s_axis_tvalid": In(1),
            "s_axis_tready": Out(1),
            "m_axis_tdata": Out(self.packet_width),
            "m_axis_tvalid": Out(1),
            "m_axis_tready": In(1),
            "m_axis_tlast": Out(1),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.domains.sync = domain = ClockDomain(local=True)
        m.d.comb += [domain.clk.eq(self.aclk), domain.rst.eq(~self.aresetn)]

        pixels = stream.Interface(stream.Signature(elements(8, self.program.input.shape[0])))
        m.d.comb += [
            pixels.payload.as_value().eq(self.s_axis_tdata),
            pixels.valid.eq(self.s_axis_tvalid),
            self.s_axis_tready.eq(pixels.ready),
        ]
        source, bits, count = pixels, 8, self.program.input.shape[0]
        for build in self.builds:
            name = build.stage.name
            source = _rewidth(m, name, source, bits, count, build.plan.simd)
            images = stage_images(build, fixed=self.plan.fixed_weights)
            m.submodules[name] = component = StageComponent(build, images, prefix=self.prefix)
            wiring.connect(m, source, component.i)
            source, bits, count = component.o, build.stage.y.bits, build.out_count
        source = _rewidth(m, "packet", source, bits, count, 1)
        m.submodules.packet = packet = Packet(score=self.program.score_format, classes=self.program.classes)
        wiring.connect(m, source, packet.i)
        m.d.comb += [
            self.m_axis_tdata.eq(packet.o.payload.value),
            self.m_axis_tlast.eq(packet.o.payload.last),
            self.m_axis_tvalid.eq(packet.o.valid),
            packet.o.ready.eq(self.m_axis_tready),
        ]
        return m


def _rewidth(m: Module, name: str, source: Any, bits: int, count_i: int, count_o: int) -> Any:
    if count_i == count_o:
        return source
    conversion = Conversion(count_i=count_i, count_o=count_o)
    m.submodules[f"to_{name}"] = converter = Rewidth(conversion, bits=bits)
    wiring.connect(m, source, converter.i)
    return converter.o
