"""The top of an engine: an AXI4 master, control registers behind their bus, an interrupt."""

from typing import Any

from amaranth.hdl import ClockDomain, Const, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..bus.front_end import front_end, pins
from ..streams.delay import later
from .activity import ACTIVITY_BITS
from .control import EngineControl, engine_map
from .engine import ERROR_BITS, Engine
from .plan import EnginePlan
from .transfer.axi import PREFIX, read_pins, tied_pins, write_pins

__all__ = ["EngineTop"]


class EngineTop(wiring.Component):
    """An `Engine` with the ports of a block in a system.

    Members
    -------
    aclk, aresetn : In; reset is synchronous and active low, two cycles or more, while nothing is on its way
    m_axi_* : an AXI4 master of ``plan.memory_bits``
    s_axil_*, or wb_* : control, see `engine_map`; without it ``start``, ``base`` and ``first`` as `Engine` has them,
        and neither the memory nor the time of a run is bounded
    busy : Out, a run has begun and has not ended
    error : Out, of the last run, of `ERRORS`
    irq : Out, a run has ended; without control for one cycle
    activity : Out, while ``busy``: what the array does in this cycle, of `CycleUse`; for counters and logic analysers
    closed : Out, the array issues the last of its work on a descriptor
    """

    def __init__(self, plan: EnginePlan):
        self.plan = plan
        self.axi = {**read_pins(plan), **write_pins(plan)}
        self.tied = tied_pins(plan)
        added: dict[str, Any] = {"start": In(1), "base": In(32), "first": In(8)}
        if plan.control != "none":
            added = pins(plan.control, engine_map(plan).address_bits)
        super().__init__({
            "aclk": In(1), "aresetn": In(1), "busy": Out(1), "irq": Out(1), "error": Out(ERROR_BITS),
            "activity": Out(ACTIVITY_BITS), "closed": Out(1), **added,
            **{f"{PREFIX}{name}": member for name, member in self.axi.items()},
            **{f"{PREFIX}{name}": Out(width) for name, (width, _) in self.tied.items()},
        })  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.domains.sync = domain = ClockDomain(local=True)
        m.submodules.engine = engine = Engine(self.plan)
        m.d.comb += [
            domain.clk.eq(self.aclk), domain.rst.eq(~self.aresetn), self.busy.eq(engine.busy),
            self.error.eq(engine.error), self.activity.eq(engine.activity), self.closed.eq(engine.closed),
        ]  # fmt: skip
        for name, member in self.axi.items():
            inner, outer = getattr(engine, name), getattr(self, f"{PREFIX}{name}")
            m.d.comb += outer.eq(inner) if member.flow == Out else inner.eq(outer)
        for name, (width, value) in self.tied.items():
            m.d.comb += getattr(self, f"{PREFIX}{name}").eq(Const(value, width))
        if self.plan.control == "none":
            m.d.comb += [
                engine.start.eq(self.start), engine.base.eq(self.base), engine.first.eq(self.first),
                self.irq.eq(later(m, engine.busy, name="was_busy") & ~engine.busy),
            ]  # fmt: skip
            return m
        self._control(m, engine)
        return m

    def _control(self, m: Module, engine: Engine) -> None:
        bus, bits = self.plan.control, engine_map(self.plan).address_bits
        m.submodules.front = front = front_end(bus, bits)
        m.submodules.control = control = EngineControl(self.plan)
        wiring.connect(m, front.request, control.request)
        wiring.connect(m, front.response, control.response)
        for name, member in pins(bus, bits).items():
            outside, inside = getattr(self, name), getattr(front, name.removeprefix(front.PREFIX))
            m.d.comb += inside.eq(outside) if member.flow == In else outside.eq(inside)
        m.d.comb += [
            engine.start.eq(control.start), engine.base.eq(control.base), engine.first.eq(control.first),
            engine.words.eq(control.words), engine.kept.eq(control.kept), engine.late.eq(control.late),
            control.busy.eq(engine.busy), control.error.eq(engine.error), self.irq.eq(control.irq),
        ]  # fmt: skip
        if self.plan.counters:
            m.d.comb += [
                control.activity.eq(engine.activity), control.closed.eq(engine.closed),
                control.read.eq(engine.rvalid & engine.rready), control.write.eq(engine.wvalid & engine.wready),
            ]  # fmt: skip
