"""The top of a board: an accelerator between the two directions of a serial line."""

from typing import TYPE_CHECKING, Any

from amaranth.hdl import Cat, ClockDomain, Const, DomainRenamer, Instance, Module, Mux, Signal
from amaranth.lib import cdc, fifo, wiring
from amaranth.lib.wiring import In, Out

from ...common.errors import UserError
from ...common.reading import read_json
from ..bus.front_end import pins
from ..streams.convert import Narrow, Widen
from ..verilog.emit import to_verilog, without_lint
from .boards import Board
from .serial import SerialFormat
from .uart import UartReceiver, UartTransmitter, cycles_per_bit

if TYPE_CHECKING:
    from ..folder.build import Build

__all__ = ["BoardTop", "top_name", "top_verilog"]

RESET_CYCLES = 16
HEARTBEAT_BITS = 24
"""The heartbeat takes as many clock cycles as a counter of this width: 0.7 s at 25 MHz."""
SHOWN_BITS = 20
"""A byte shows for as many clock cycles as a counter of this width: 42 ms at 25 MHz."""


class BoardTop(wiring.Component):
    """Images from a serial line into an accelerator, its answers back; `serial` has the bytes and who may send when.

    ::

        uart_rx ─► receiver ─► room ─► beats ─► s_axis [accelerator] m_axis ─► bytes ─► transmitter ─► uart_tx

    Everything but the receiver is reset after configuration, by the button, and by a break on ``uart_rx``. One clock,
    that of the board.

    Members
    -------
    clk : In
    button_n : In, low resets
    uart_rx, uart_tx : the serial line, as the FPGA sees it
    led : Out, the lowest first: heartbeat; a byte came; a byte goes; since the last reset a byte was lost for want of
        room; since the last reset a byte had no stop bit (its image is short of a byte now: send a break)
    high : Out, always one

    Parameters
    ----------
    accelerator : name of the Verilog module
    bus : members that control adds to its ports, by name; nobody is on that bus
    """

    def __init__(
        self, form: SerialFormat, board: Board, *, baud: int, accelerator: str, bus: dict[str, Any] | None = None
    ):
        self.form = form
        self.board = board
        self.baud = baud
        self.accelerator = accelerator
        self.bus = bus or {}
        self.receiver = DomainRenamer("line")(UartReceiver(clock_hz=board.clock_hz, baud=baud))
        self.transmitter = UartTransmitter(clock_hz=board.clock_hz, baud=baud)
        super().__init__({
            "clk": In(1),
            "button_n": In(1, init=1),
            "uart_rx": In(1, init=1),
            "uart_tx": Out(1, init=1),
            "led": Out(len(board.leds)),
            **({"high": Out(len(board.high))} if board.high else {}),
        })  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        receiver, transmitter = self.receiver, self.transmitter
        reset = self._clocks(m)
        m.submodules.receiver = receiver
        m.submodules.transmitter = transmitter
        m.submodules.room = room = fifo.SyncFIFOBuffered(width=8, depth=self.form.room)
        m.submodules.beats = beats = Widen(bits=8, count=1, factor=self.form.beat_bytes)
        m.submodules.bytes = split = Narrow(bits=8, count=1, factor=self.form.word_bytes)
        m.submodules.accelerator = Instance(
            self.accelerator,
            i_aclk=self.clk,
            i_aresetn=~reset,
            i_s_axis_tdata=beats.o.payload.as_value(),
            i_s_axis_tvalid=beats.o.valid,
            o_s_axis_tready=beats.o.ready,
            o_m_axis_tdata=split.i.payload.as_value(),
            o_m_axis_tvalid=split.i.valid,
            i_m_axis_tready=split.i.ready,
            o_m_axis_tlast=Signal(name="last"),  # the length of an answer is known
            **self._nobody(),
        )
        m.d.comb += [
            receiver.rx.eq(self.uart_rx),
            room.w_data.eq(receiver.o.payload),
            room.w_en.eq(receiver.o.valid),
            beats.i.payload.as_value().eq(room.r_data),
            beats.i.valid.eq(room.r_rdy),
            room.r_en.eq(beats.i.ready),
            transmitter.i.payload.eq(split.o.payload.as_value()),
            transmitter.i.valid.eq(split.o.valid),
            split.o.ready.eq(transmitter.i.ready),
            self.uart_tx.eq(transmitter.tx),
        ]
        if self.board.high:
            m.d.comb += self.high.eq(-1)
        lost, bad = Signal(), Signal()
        with m.If(receiver.o.valid & ~room.w_rdy):
            m.d.sync += lost.eq(1)
        with m.If(receiver.bad):
            m.d.sync += bad.eq(1)
        beat = Signal(HEARTBEAT_BITS)
        m.d.sync += beat.eq(beat + 1)
        shown = (self._shown(m, "came", receiver.o.valid), self._shown(m, "goes", ~transmitter.i.ready))
        m.d.comb += self.led.eq(Cat(beat[-1], *shown, lost, bad))
        return m

    def _nobody(self) -> dict[str, Any]:
        """What the ports of the bus are connected to: images are taken all the same."""
        return {
            f"i_{name}" if member.flow == In else f"o_{name}":
            Const(0, member.shape) if member.flow == In else Signal(member.shape, name=name)
            for name, member in self.bus.items()
        }  # fmt: skip

    def _clocks(self, m: Module) -> Signal:
        """The clock domains; returns the reset."""
        m.domains.line = line = ClockDomain(local=True, reset_less=True)
        m.domains.sync = sync = ClockDomain(local=True)
        pressed = Signal()
        m.submodules.button = cdc.FFSynchronizer(~self.button_n, pressed, o_domain="line")
        # A reset of some cycles even where a break ends at once. A button that bounces resets more than once.
        left = Signal(range(RESET_CYCLES), init=RESET_CYCLES - 1)
        m.d.line += left.eq(Mux(pressed | self.receiver.broken, RESET_CYCLES - 1, Mux(left == 0, 0, left - 1)))
        reset = Signal(init=1)
        m.d.line += reset.eq(left != 0)
        m.d.comb += [line.clk.eq(self.clk), sync.clk.eq(self.clk), sync.rst.eq(reset)]
        return reset

    def _shown(self, m: Module, name: str, event: Any) -> Signal:
        """``event``, long enough to be seen."""
        left = Signal(SHOWN_BITS, name=f"{name}_left")
        with m.If(event):
            m.d.sync += left.eq(-1)
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)
        lit = Signal(name=name)
        m.d.comb += lit.eq(left != 0)
        return lit


def top_name(build: "Build") -> str:
    """Name of the Verilog module that `top_verilog` makes."""
    return f"{build.prefix}_top"


def top_verilog(build: "Build", board: Board, *, baud: int) -> str:
    """The top of ``build`` on ``board``, to be read beside the build's own Verilog.

    Raises
    ------
    ValueError
        when the clock of ``board`` cannot make ``baud``.
    """
    if not build.design.interface.handshake:
        raise UserError(f"{build.path} has no handshake (--stream none), so a serial line cannot wait for it")
    cycles_per_bit(board.clock_hz, baud)  # first, since Amaranth complains of components that are not used
    top = BoardTop(SerialFormat.of(build), board, baud=baud, accelerator=build.prefix, bus=_bus(build))
    text = without_lint(to_verilog(top, top_name(build)))
    return f"// {build.prefix} on {board.name}, {baud} baud: see docs/board.md.\n{text}"


def _bus(build: "Build") -> dict[str, Any]:
    """What control adds to the ports of ``build``."""
    if build.plan.control == "none":
        return {}
    registers = read_json(build.path / "registers.json", "register map")
    bits = registers.get("address_bits") if isinstance(registers, dict) else None
    if type(bits) is not int or not 1 <= bits <= 32:
        raise UserError(f"{build.path} is a broken BUILD folder: its register map has address_bits {bits!r}")
    return pins(build.plan.control, bits)
