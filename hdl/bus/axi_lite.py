"""AXI4-Lite in front of a register file."""

from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib.wiring import In, Out

from .bus import Bus
from .register_map import WORD
from .registers import BYTES

__all__ = ["AxiLite"]


class AxiLite(Bus):
    """One write and one read at a time; address and data of a write may come in either order.

    A write that is complete goes before a read. ``bvalid`` comes two cycles after the later of address and data,
    ``rvalid`` two cycles after the address, one later when a write was first. ``SLVERR`` is what a register refuses,
    ``DECERR`` an address without one. ``awprot`` and ``arprot`` are not looked at.
    """

    PREFIX = "s_axil_"

    @staticmethod
    def pins(address_bits: int) -> dict[str, Any]:
        """The bus itself."""
        return {
            "awaddr": In(address_bits), "awprot": In(3), "awvalid": In(1), "awready": Out(1),
            "wdata": In(WORD), "wstrb": In(BYTES), "wvalid": In(1), "wready": Out(1),
            "bresp": Out(2), "bvalid": Out(1), "bready": In(1),
            "araddr": In(address_bits), "arprot": In(3), "arvalid": In(1), "arready": Out(1),
            "rdata": Out(WORD), "rresp": Out(2), "rvalid": Out(1), "rready": In(1),
        }  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        request, response = self.request, self.response
        # What has been taken stays until the handshake of the response: that makes it one at a time.
        address, data, read = Signal(), Signal(), Signal()
        write_asked, read_asked = Signal(), Signal()
        write_address, read_address = Signal.like(self.awaddr), Signal.like(self.araddr)
        m.d.comb += [self.awready.eq(~address), self.wready.eq(~data), self.arready.eq(~read)]
        with m.If(self.awvalid & self.awready):
            m.d.sync += [address.eq(1), write_address.eq(self.awaddr)]
        with m.If(self.wvalid & self.wready):
            m.d.sync += [data.eq(1), request.data.eq(self.wdata), request.strobe.eq(self.wstrb)]
        with m.If(self.arvalid & self.arready):
            m.d.sync += [read.eq(1), read_address.eq(self.araddr)]

        m.d.comb += request.address.eq(read_address)
        with m.If(address & data & ~write_asked):
            m.d.comb += [request.valid.eq(1), request.write.eq(1), request.address.eq(write_address)]
            m.d.sync += write_asked.eq(1)
        with m.Elif(read & ~read_asked):
            m.d.comb += request.valid.eq(1)
            m.d.sync += read_asked.eq(1)

        wrote = Signal()
        m.d.sync += wrote.eq(request.write)
        code = Cat(response.absent, response.refused | response.absent)
        with m.If(response.valid & wrote):
            m.d.sync += [self.bvalid.eq(1), self.bresp.eq(code)]
        with m.If(response.valid & ~wrote):
            m.d.sync += [self.rvalid.eq(1), self.rresp.eq(code), self.rdata.eq(response.data)]
        with m.If(self.bvalid & self.bready):
            m.d.sync += [self.bvalid.eq(0), address.eq(0), data.eq(0), write_asked.eq(0)]
        with m.If(self.rvalid & self.rready):
            m.d.sync += [self.rvalid.eq(0), read.eq(0), read_asked.eq(0)]
        return m
