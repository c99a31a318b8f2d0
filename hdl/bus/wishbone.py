"""Wishbone B4, classic cycles, in front of a register file."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib.wiring import In, Out

from .bus import Bus
from .register_map import WORD
from .registers import BYTES

__all__ = ["Wishbone"]


class Wishbone(Bus):
    """Standard single cycles: ``ack_o`` or ``err_o`` in the cycle after ``cyc_i & stb_i``, for one cycle.

    Classic and not pipelined, since every core that speaks Wishbone speaks it, and a register file gains nothing from
    more. ``err_o`` for what a register refuses and for an address without one. ``adr_i`` counts bytes, so that offsets
    are those of the map; its lowest two bits are not looked at. A cycle that ends before its answer gets none, though
    its write is done.
    """

    PREFIX = "wb_"

    @staticmethod
    def pins(address_bits: int) -> dict[str, Any]:
        """The bus itself."""
        return {
            "cyc_i": In(1), "stb_i": In(1), "we_i": In(1), "adr_i": In(address_bits), "sel_i": In(BYTES),
            "dat_i": In(WORD), "dat_o": Out(WORD), "ack_o": Out(1), "err_o": Out(1),
        }  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        request, response = self.request, self.response
        selected, error = Signal(), Signal()
        m.d.comb += [
            selected.eq(self.cyc_i & self.stb_i),
            # In the cycle of the answer the strobe is still that of the access it answers.
            request.valid.eq(selected & ~response.valid),
            request.write.eq(self.we_i),
            request.address.eq(self.adr_i),
            request.data.eq(self.dat_i),
            request.strobe.eq(self.sel_i),
            error.eq(response.refused | response.absent),
            self.dat_o.eq(response.data),
            self.ack_o.eq(selected & response.valid & ~error),
            self.err_o.eq(selected & response.valid & error),
        ]
        return m
