"""Boards that a build can be put on: the device, its pins, and the constraints that place and route reads."""

from dataclasses import dataclass, replace
from pathlib import Path

from ...common.errors import UserError
from ...common.templates import render

__all__ = ["Board", "board", "board_names", "constraints"]


@dataclass(frozen=True, kw_only=True)
class Board:
    """A board with an ECP5 and a serial port.

    Attributes
    ----------
    device : name of the device in the catalogue of `reports`
    package, speed : as nextpnr calls them
    clock, clock_mhz : pin and frequency of the oscillator
    uart_rx, uart_tx : pins of the serial line, as the FPGA sees them: it listens on ``uart_rx``
    button_n : pin of a button that pulls it low
    leds : pins, the first is LED 0
    high : pins that must stay high for the board to work
    sysconfig : how the device loads itself
    source : where the pins stand
    """

    name: str
    device: str
    package: str
    speed: int
    clock: str
    clock_mhz: float
    uart_rx: str
    uart_tx: str
    button_n: str
    leds: tuple[str, ...]
    high: tuple[str, ...] = ()
    sysconfig: str
    source: str

    def __post_init__(self) -> None:
        if not self.clock_mhz > 0:
            raise ValueError(f"clock_mhz of a board must be positive, not {self.clock_mhz!r}")
        pins = (self.clock, self.uart_rx, self.uart_tx, self.button_n, *self.leds, *self.high)
        if doubled := sorted({pin for pin in pins if pins.count(pin) > 1}):
            raise ValueError(f"pins of a board must differ, not {', '.join(doubled)} twice")

    @property
    def clock_hz(self) -> int:
        """Frequency of the oscillator in Hz."""
        return round(self.clock_mhz * 1e6)


_ULX3S = Board(
    name="ulx3s-85f", device="ecp5-85k", package="CABGA381", speed=6,
    clock="G2", clock_mhz=25.0,
    # The board names its lines after the USB bridge: ftdi_txd comes from the PC, ftdi_rxd goes to it.
    uart_rx="M1", uart_tx="L4",
    button_n="D6",
    leds=("B2", "C2", "C1", "D2", "D1", "E2", "E1", "H3"),
    # wifi_gpio0: low, the radio module beside the FPGA begins to load the board anew.
    high=("L2",),
    sysconfig="CONFIG_IOVOLTAGE=3.3 COMPRESS_CONFIG=ON MCCLK_FREQ=62 MASTER_SPI_PORT=ENABLE SLAVE_SPI_PORT=DISABLE "
    "SLAVE_PARALLEL_PORT=DISABLE",
    # The pins used here are the same in the file of the later boards, emard/ulx3s-misc constraints/ulx3s_v316.lpf.
    source="github.com/emard/ulx3s, doc/constraints/ulx3s_v20.lpf",
)  # fmt: skip
_BOARDS = {
    made.name: made
    for made in (
        _ULX3S,
        replace(_ULX3S, name="ulx3s-45f", device="ecp5-45k"),
        replace(_ULX3S, name="ulx3s-25f", device="ecp5-25k"),
    )
}


def board_names() -> tuple[str, ...]:
    """Names of all boards."""
    return tuple(_BOARDS)


def board(name: str) -> Board:
    """The board called ``name``.

    Raises
    ------
    UserError
        for an unknown name.
    """
    if name not in _BOARDS:
        raise UserError(f"unknown board {name!r}; known: {', '.join(board_names())}")
    return _BOARDS[name]


def constraints(board: Board) -> str:
    """The pins of `BoardTop` on ``board``, as an LPF file."""
    return render(Path(__file__).with_name("board.lpf.j2"), board=board)
