"""The hardware of `Negate`: a kind of stage that the package does not know, what it costs, and how torch says it."""

from contextlib import contextmanager
from dataclasses import dataclass

import torch
from addax.hdl.dataflow.kinds.component import StageComponent
from addax.hdl.dataflow.kinds.rhythm import Rhythm, spaced
from addax.hdl.dataflow.kinds.stage import Stage, divisors
from addax.hdl.dataflow.stages import STAGES
from addax.hdl.streams.beats import elements
from addax.quant.lower.aten import table
from addax.reports.estimate.counting import Structure
from addax.reports.estimate.dataflow.stages import count_kind
from amaranth.hdl import Cat, Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from negate import Negate, negation
from torch import nn


@dataclass(frozen=True, kw_only=True)
class Beats:
    """A `Geometry`: a group is a beat, and every beat that comes leaves in the next cycle."""

    beats: int

    steps, latency, longest_pause, ring_bits = 1, 1, 0, 0

    @property
    def read_cycles(self):
        return self.beats

    write_cycles = read_cycles


@dataclass(frozen=True, kw_only=True, eq=False)
class NegateStage(Stage):
    """``plan.simd`` channels at once."""

    kind: str = "negate"

    @property
    def probe(self):
        return ("negate.taken",), "negate.go"

    def folds(self):
        return [{"simd": simd} for simd in divisors(self.source[0])]

    def shape(self, plan):
        channels, height, width = self.source
        if channels % plan.simd:
            raise ValueError(f"simd must divide {channels} channels, not be {plan.simd}")
        return Beats(beats=height * width * channels // plan.simd)

    def rhythm(self, build):
        return BeatByBeat(build)

    def component(self, build, images, *, prefix, service=None):
        return NegateComponent(self, build, images, prefix=prefix, service=service)


class BeatByBeat(Rhythm):
    """A beat is at work when it is taken."""

    def taken(self, arrivals):
        return spaced(arrivals, 1)

    def begins(self, came):
        return came[0]

    def due(self, port, begins, count):
        return begins


class NegateUnit(wiring.Component):
    """Beats of ``go`` cycles, negated, one cycle later."""

    def __init__(self, stage, simd):
        self.stage = stage
        super().__init__({
            "i": In(stream.Signature(elements(stage.x.bits, simd))), "go": In(1), "taken": Out(1), "valid": Out(1),
            "y": Out(simd * stage.y.bits),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        signed, bits = self.stage.x.signed, self.stage.y.bits
        values = [value.as_signed() if signed else value for value in self.i.payload]
        m.d.comb += [self.i.ready.eq(self.go), self.taken.eq(self.i.valid & self.go)]
        m.d.sync += [self.valid.eq(self.taken), self.y.eq(Cat((-value)[:bits] for value in values))]
        return m


class NegateComponent(StageComponent[NegateStage]):
    """The unit and its queue."""

    def elaborate(self, platform):
        m = Module()
        m.submodules.negate = unit = NegateUnit(self.stage, self.build.plan.simd)
        wiring.connect(m, wiring.flipped(self.i), unit.i)
        queue, entry = self.outlet(m)
        m.d.comb += [
            entry.payload.as_value().eq(unit.y), entry.valid.eq(unit.valid),
            unit.go.eq(self.room_for(m, queue, unit.taken)),
        ]  # fmt: skip
        self.report(m, unit.valid)
        return m


@count_kind.register
def counts(stage: NegateStage, found: Structure, build):
    """A register for each bit of a beat, and one for ``valid``; they are subtracted from zero."""
    found.of("lanes")["x.ff"] += build.plan.simd * stage.y.bits + 1
    found.of("lanes")[f"add/{stage.y.bits}"] += build.plan.simd


def _stage(grouping, op):
    program = grouping.program
    return NegateStage(
        name=op.name, tensor=op.name, reads=(grouping.features(op, "negates"),), x=program.format(op.source),
        source=program.shape(op.source), result=program.shape(op.name), y=program.format(op.name),
    )  # fmt: skip


@contextmanager
def built_negation():
    """`Negate` is known to all consumers and to the dataflow family for as long as this lasts."""
    with negation():
        STAGES.register(Negate, _stage)
        try:
            yield
        finally:
            STAGES.remove(Negate)


class Dark(nn.Module):
    """``-x``, in torch."""

    def forward(self, x):
        return -x


def lower_negation():
    """Lower ``-x``, in this process."""

    @table.lowers(torch.ops.aten.neg)
    def negate(lowering, call):
        return lowering.moved(
            call.node, call.source, lambda name, source: Negate(name=name, source=source), call.path, bits=False
        )
