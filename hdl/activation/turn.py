"""What stands around units behind an array: sums that wait for their turn, words of a memory that come with them."""

from amaranth.hdl import Module, Mux, Signal, Value

from ..memory.image import Rom
from ..streams.delay import later

__all__ = ["fetch_in_turn", "hold_in_turn"]


def hold_in_turn(
    m: Module, sums: Value, done: Value, *, beats: int, width: int, latency: int
) -> tuple[Value, Value, Value, Value]:
    """Keep the sums that come with ``done``; bring them to the lowest ``width`` bits part by part, in ``beats`` cycles.

    Returns
    -------
    what is held; whether its lowest part is taken in the next cycle; whether it is taken now; the same
    ``latency - 1`` cycles later, when it leaves
    """
    held = Signal(len(sums), name="held")
    left = Signal(range(beats + 1), name="left")
    with m.If(done):
        m.d.sync += [held.eq(sums), left.eq(beats)]
    with m.Elif(left != 0):
        m.d.sync += [held.eq(held >> width), left.eq(left - 1)]
    coming = done | (left > 1)
    taking = leaving = left != 0
    for k in range(latency - 1):
        leaving = later(m, leaving, name=f"busy{k + 1}")
    return held, coming, taking, leaving


def fetch_in_turn(m: Module, rom: Rom, coming: Value) -> Value:
    """Read ``rom`` from the first word to the last and around, a word in each cycle with ``coming``.

    The word is there in the next cycle, in which it is taken, and stays until another comes.
    """
    depth = rom.image.depth
    if depth == 1:
        return rom.data
    address = Signal(range(depth), name="address")
    m.d.comb += [rom.address.eq(address), rom.enable.eq(coming)]
    with m.If(coming):
        m.d.sync += address.eq(Mux(address == depth - 1, 0, address + 1))
    return rom.data
