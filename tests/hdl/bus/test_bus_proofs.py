# amaranth: UnusedElaboratable=no
"""The handshakes of both buses, proved for any master at any time, not up to a bound, by reachability.

A model of the master's side is written here; the register file behind is anything that answers in the next cycle.
"""

import pytest
from addax.hdl.bus.axi_lite import AxiLite
from addax.hdl.bus.wishbone import Wishbone
from amaranth.hdl import Assert, Assume, Cat, Module, Mux, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from prove import reached_violation

BITS = 3
"""Of an address: no front end looks at what it says."""
OKAY, SLVERR, DECERR = 0, 2, 3


def held(m, valid, ready, payload, check):
    """What is offered stays until it is taken."""
    stalled, before = Signal(), Signal(len(payload))
    m.d.sync += [stalled.eq(valid & ~ready), before.eq(Mux(valid & ~ready, payload, 0))]
    with m.If(stalled):
        m.d.comb += check(valid & (payload == before))


def answering(m, dut):
    """A register file that says whatever it likes, one cycle after it was asked."""
    said = Signal(34)
    m.d.sync += dut.response.valid.eq(dut.request.valid)
    m.d.comb += Cat(dut.response.data, dut.response.refused, dut.response.absent).eq(said)
    return said


class AxiContract(wiring.Component):
    """Every write that came, address and data, in either order, is asked for once and answered once, with what the
    register file said; so is every read. An answer waits for its ready, and comes soon."""

    def __init__(self, dut):
        self.dut = dut
        pins = {name: member for name, member in AxiLite.pins(BITS).items() if member.flow == In}
        super().__init__({**pins, "says": In(34)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        for name, member in AxiLite.pins(BITS).items():
            if member.flow == In:
                m.d.comb += getattr(dut, name).eq(getattr(self, name))
        m.d.comb += [answering(m, dut).eq(self.says), Assume(~ResetSignal())]
        held(m, self.awvalid, dut.awready, self.awaddr, Assume)
        held(m, self.wvalid, dut.wready, Cat(self.wdata, self.wstrb), Assume)
        held(m, self.arvalid, dut.arready, self.araddr, Assume)
        held(m, dut.bvalid, self.bready, dut.bresp, Assert)
        held(m, dut.rvalid, self.rready, Cat(dut.rdata, dut.rresp), Assert)

        code = Mux(self.says[33], DECERR, Mux(self.says[32], SLVERR, OKAY))
        writing = dut.request.valid & dut.request.write
        reading = dut.request.valid & ~dut.request.write
        address, data = Signal(), Signal()  # a write's parts that have come and are not answered
        where, what = Signal(BITS), Signal(36)
        self._side(m, [(self.awvalid & dut.awready, address), (self.wvalid & dut.wready, data)],
                   writing, dut.bvalid, self.bready, dut.bresp, code, "write")  # fmt: skip
        with m.If(self.awvalid & dut.awready):
            m.d.sync += where.eq(self.awaddr)
        with m.If(self.wvalid & dut.wready):
            m.d.sync += what.eq(Cat(self.wdata, self.wstrb))
        with m.If(writing):
            m.d.comb += Assert((dut.request.address == where) & (Cat(dut.request.data, dut.request.strobe) == what))

        read, whence = Signal(), Signal(BITS)
        self._side(m, [(self.arvalid & dut.arready, read)],
                   reading, dut.rvalid, self.rready, Cat(dut.rdata, dut.rresp),
                   Cat(self.says[:32], code), "read")  # fmt: skip
        with m.If(self.arvalid & dut.arready):
            m.d.sync += whence.eq(self.araddr)
        with m.If(reading):
            m.d.comb += Assert(dut.request.address == whence)
        return m

    def _side(self, m, arrivals, asks, valid, ready, answer, said, name):
        """One outstanding transaction: its parts come once each, it is asked for once, and answered once."""
        complete = Cat(came for _, came in arrivals).all()
        asked, answered = Signal(name=f"{name}_asked"), Signal(name=f"{name}_answered")
        given = Signal(len(answer), name=f"{name}_given")
        due = Signal(name=f"{name}_due")
        done = valid & ready
        for arrives, came in arrivals:
            m.d.comb += [Assert(~(arrives & came))]
            m.d.sync += came.eq((came | arrives) & ~done)
        m.d.comb += [Assert(~asks | (complete & ~asked)), Assert(valid == answered)]
        m.d.sync += [due.eq(asks), asked.eq((asked | asks) & ~done), answered.eq((answered | due) & ~done)]
        with m.If(due):
            m.d.sync += given.eq(said)
        with m.If(valid):
            m.d.comb += Assert(answer == given)
        # Another request goes first at most once: two cycles without a request, then it is there.
        waited = Signal(2, name=f"{name}_waited")
        m.d.sync += waited.eq(Mux(complete & ~asked & ~asks, waited + 1, 0))
        m.d.comb += Assert(waited < 2)


def test_axi_lite(tmp_path):
    found = reached_violation(AxiContract(AxiLite(BITS)), tmp_path)
    assert found is None, found


class Forgetful(AxiLite):
    """Takes back an answer that is not taken at once."""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        with m.If(self.bvalid & ~self.bready):
            m.d.sync += self.bvalid.eq(0)
        return m


class Hasty(AxiLite):
    """Answers a write whose data has not come."""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        with m.If(self.awvalid & self.awready & ~self.wvalid):
            m.d.sync += self.bvalid.eq(1)
        return m


class Starving(AxiLite):
    """Takes the next read while an answer still waits."""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        m.d.comb += self.arready.eq(1)
        return m


@pytest.mark.parametrize("broken", [Forgetful, Hasty, Starving])
def test_an_axi_slave_that_breaks_the_rules_is_found(tmp_path, broken):
    """Protects the proof."""
    assert reached_violation(AxiContract(broken(BITS)), tmp_path) is not None


class WishboneContract(wiring.Component):
    """A cycle of any master, held until it is answered or given up, is asked for once and answered in the next cycle
    with what the register file said; nothing is answered that was not asked."""

    def __init__(self, dut):
        self.dut = dut
        pins = {name: member for name, member in Wishbone.pins(BITS).items() if member.flow == In}
        super().__init__({**pins, "says": In(34)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        for name, member in Wishbone.pins(BITS).items():
            if member.flow == In:
                m.d.comb += getattr(dut, name).eq(getattr(self, name))
        m.d.comb += [answering(m, dut).eq(self.says), Assume(~ResetSignal())]
        selected, answered = self.cyc_i & self.stb_i, dut.ack_o | dut.err_o
        payload = Cat(self.we_i, self.adr_i, self.sel_i, self.dat_i)
        waiting, before = Signal(), Signal(len(payload))
        m.d.sync += [waiting.eq(selected & ~answered), before.eq(payload)]
        with m.If(waiting & selected):
            m.d.comb += Assume(payload == before)
        due = Signal()  # the register file was asked in the cycle before
        m.d.sync += due.eq(dut.request.valid)
        m.d.comb += [
            Assert(~(dut.ack_o & dut.err_o)),
            Assert(answered == (selected & due)),
            Assert(dut.request.valid == (selected & ~due)),
        ]
        with m.If(dut.request.valid):
            asked = Cat(dut.request.write, dut.request.address, dut.request.strobe, dut.request.data)
            m.d.comb += Assert(asked == payload)
        with m.If(answered):
            m.d.comb += [Assert(dut.err_o == self.says[32:].any()), Assert(dut.dat_o == self.says[:32])]
        return m


def test_wishbone(tmp_path):
    found = reached_violation(WishboneContract(Wishbone(BITS)), tmp_path)
    assert found is None, found


def test_a_wishbone_slave_that_asks_twice_is_found(tmp_path):
    """Protects the proof."""

    class Twice(Wishbone):
        def elaborate(self, platform):
            m = super().elaborate(platform)
            m.d.comb += self.request.valid.eq(self.cyc_i & self.stb_i)
            return m

    assert reached_violation(WishboneContract(Twice(BITS)), tmp_path) is not None
