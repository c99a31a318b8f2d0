"""A family outside of the package, the smallest there can be: images leave through one register as they came."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from addax.common.errors import UserError
from addax.hdl.family import DUT, Layer, Outlet, Part, WorkSignals
from addax.hdl.interface import Interface
from addax.hdl.timing import Schedule, StageTiming
from addax.quant.program import Input, MaxPool, Program
from amaranth.hdl import ClockDomain, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

INNER, NAME, INSTANCE = "wires", "same", "held"


def identity(shape=(2, 3, 4)):
    """A Program whose result is its input: a pool of single pixels."""
    return Program(ops=(Input(name="pixels", shape=shape), MaxPool(name=NAME, source="pixels", size=1, stride=1)))


@dataclass(frozen=True, kw_only=True)
class Wires:
    """The content of the one part: a register of so many bytes."""

    channels: int


class Register(wiring.Component):
    """Takes a beat when it is empty or hands one on."""

    def __init__(self, wires):
        beat = stream.Signature(8 * wires.channels)
        super().__init__({"i": In(beat), "o": Out(beat)})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.i.ready.eq(~self.o.valid | self.o.ready)
        with m.If(self.i.ready):
            m.d.sync += [self.o.valid.eq(self.i.valid), self.o.payload.eq(self.i.payload)]
        return m


class Inside(wiring.Component):
    """What holds the parts."""

    def __init__(self, wires):
        self.register = Register(wires)
        super().__init__(self.register.signature)

    def elaborate(self, platform):
        m = Module()
        m.submodules[INSTANCE] = self.register
        wiring.connect(m, wiring.flipped(self.i), self.register.i)
        wiring.connect(m, self.register.o, wiring.flipped(self.o))
        return m


class Top(wiring.Component):
    """The register between the streams of the harness; counts beats for ``tlast``."""

    def __init__(self, interface):
        self.interface = interface
        super().__init__({
            "aclk": In(1), "aresetn": In(1), "s_axis_tdata": In(interface.data_in), "s_axis_tvalid": In(1),
            "s_axis_tready": Out(1), "m_axis_tdata": Out(interface.data_out), "m_axis_tvalid": Out(1),
            "m_axis_tready": In(1), "m_axis_tlast": Out(1),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        m.domains.sync = domain = ClockDomain(local=True)
        m.submodules[INNER] = inside = Inside(Wires(channels=self.interface.data_in // 8))
        beat = Signal(range(max(2, self.interface.beats)))
        last = beat == self.interface.beats - 1
        m.d.comb += [
            domain.clk.eq(self.aclk), domain.rst.eq(~self.aresetn),
            inside.i.payload.eq(self.s_axis_tdata), inside.i.valid.eq(self.s_axis_tvalid),
            self.s_axis_tready.eq(inside.i.ready),
            self.m_axis_tdata.eq(inside.o.payload), self.m_axis_tvalid.eq(inside.o.valid),
            inside.o.ready.eq(self.m_axis_tready), self.m_axis_tlast.eq(last),
        ]  # fmt: skip
        with m.If(inside.o.valid & inside.o.ready):
            m.d.sync += beat.eq(Mux(last, 0, beat + 1))
        return m


@dataclass(frozen=True, kw_only=True)
class PassThroughPlan:
    """A `family.Envelope`."""

    device: str
    clock_mhz: float = 50.0
    family: str = "passthrough"
    fixed_weights: bool = False
    fabric: str = "generic"
    control: str = "none"

    def to_json(self):
        return asdict(self)


@dataclass(frozen=True)
class WireBlocks:
    """A `blocks.BlockOf`: what holds a beat is a queue, and what says whether it does is control."""

    key: str = "passthrough 1"

    def counts(self, instance):
        return instance == INSTANCE

    def cell(self, name, *, register):
        return "queues" if "payload" in name else "control"

    def net(self, name):
        return self.cell(name, register=True)


class PassThroughDesign:
    """A `family.Design`."""

    settle, memories, rom_kinds, registers, inner, ends, between = 0, (), frozenset(), None, INNER, (), ()
    block_of = WireBlocks()

    def __init__(self, program):
        channels, _, _ = program.input.shape
        self.interface = Interface(program=program, elements=channels)
        beats, at = self.interface.beats, f"{DUT}.{INNER}.{INSTANCE}."
        timing = StageTiming(
            name=NAME, lanes=0, interval=beats, busy=beats, begin=0, end=beats, first_beat=1, last_beat=beats
        )
        self.schedule = Schedule(interval=beats, latency=beats, stages=(timing,))
        self.parts = (Part(name=NAME, instance=INSTANCE, content=Wires(channels=channels)),)
        self.layers = (Layer(name=NAME, kind=NAME, result=program.input.shape),)
        outlet = Outlet(
            stage=NAME, tensor=NAME, shape=program.input.shape, bits=8, signed=False, count=channels, path=f"{at}o"
        )
        self.outlets = (outlet,)
        self.work = (
            WorkSignals(
                name=NAME, begin=f"{at}i__valid && {at}i__ready", go=f"{at}i__ready", groups=beats, steps=1,
                blocked="waits for room", starved="waits for input",
            ),
        )  # fmt: skip

    def component(self):
        return Top(self.interface)

    def check_fits(self, program):
        raise UserError("wires hold no weights")

    def holding(self, memories: Mapping):
        return self.interface.program

    def alternatives(self, cost=None):
        return {NAME: {"chosen": None, "slower": None, "faster": None}}


class PassThrough:
    """A `family.Family`."""

    name = "passthrough"

    def plan(self, program, request):
        return PassThroughPlan(device=request.device, clock_mhz=request.clock_mhz)

    def plan_from_json(self, value):
        return PassThroughPlan(**value)

    def completed(self, value, program, request):
        return PassThroughPlan(**{"device": request.device, "clock_mhz": request.clock_mhz, **value})

    def alike(self, program, plan, like, *, structures=None):
        return plan

    def bind(self, program, plan, *, prefix="addax"):
        if program.shape(program.output) != program.input.shape:
            raise UserError("wires change nothing: the result must have the shape of the input")
        return PassThroughDesign(program)
