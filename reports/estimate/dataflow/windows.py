"""What stands in front of lanes, counted: windows, moves, slices and joins."""

from ....hdl.dataflow.build import StageBuild
from ....hdl.maps.cut import CutShape
from ....hdl.maps.join import JoinShape
from ....hdl.maps.move import MoveShape
from ....hdl.maps.window_shape import WindowShape
from ...devices.memories import MemoryShape
from ..counting import Columns, Structure, add_counter, add_fifo, bits_of

__all__ = ["add_cut", "add_join", "add_move", "add_window"]


def add_window(found: Structure, w: WindowShape, *, outside: Columns | None = None) -> None:
    """A window: ring, counters of both sides, and what leads to the lanes.

    Parameters
    ----------
    outside : columns of the memory of what is read outside the map, where there is one
    """
    counts = found.of("window")
    word = w.simd * w.bits
    depth = w.rows // w.lines * w.bank_row
    cropped = w.used_height < w.padded_height
    add_counter(found, "window", "window", w.padded_width, w.chunks, w.taps, w.lines)
    if w.padding or cropped:
        add_counter(found, "window", "window", w.padded_height)
    add_counter(
        found,
        "window",
        "window",
        w.segment_chunks,
        w.kernel[1] // w.taps,
        w.kernel[0] // w.lines,
        w.groups,
        w.out_width,
    )
    if w.extent[0] != w.strides[0] or w.lines > 1:
        add_counter(found, "window", "window", w.out_height)
    add_counter(found, "window", "window", *w.spacing)
    _pointers(found, w, depth)
    counts["window.ff"] += bits_of(w.rows + 1)
    counts[f"level/{bits_of(w.rows + 1)}"] += 1
    if w.segments > 1:
        counts["window.ff"] += bits_of(w.chunks)
        counts[f"segment/{bits_of(w.chunks)}"] += 1
        add_counter(found, "window", "window", w.groups // w.segments)
    _operands(found, w, word, bits_of(depth))
    if w.padding:
        counts["paddings"] += 1
        counts["padded"] += word
        for side in (w.padded_width, w.padded_height):
            counts[f"side/{bits_of(side)}"] += 1
        if w.chunks > 1 and outside is not None:
            counts["pad_table"] += outside.distinct * w.chunks
    counts["window"] += 1
    ring = MemoryShape(width=word, depth=depth, clocked=True, written=True, collides=w.overlaps)
    found.rings.extend([("window", ring)] * (w.taps * w.lines))


def add_move(found: Structure, s: MoveShape) -> None:
    """A ring in banks, counters of its two sides, and the register behind choice and padding."""
    counts, depth = found.of("window"), s.rows * s.bank_row
    add_counter(found, "window", "window", s.bank_row, s.out_beats, s.factor, s.width, s.factor, s.height)
    lines = {down for bank in s.banks for down, _ in bank.offsets}
    counts["window.ff"] += (1 + len(lines)) * bits_of(depth) + bits_of(s.rows + 1) + bits_of(max(2, s.bank_row))
    counts[f"pointer/{bits_of(depth)}"] += 1 + len(lines)
    counts[f"level/{bits_of(s.rows + 1)}"] += 1
    counts["x.ff"] += s.simd * s.bits
    counts["narrow"] += s.simd * s.bits
    found.rings.extend(
        ("window", MemoryShape(width=len(bank.lanes) * s.bits, depth=depth, clocked=True, written=True))
        for bank in s.banks
    )


def add_cut(found: Structure, s: CutShape) -> None:
    """Counters up to the axis that is cut, and whether a place on it passes."""
    sizes = list(s.sizes.items())
    while sizes and sizes[0][0] != s.axis:
        sizes.pop(0)
    if len(s.passing) == s.sizes[s.axis]:
        return  # parts of every beat: wires
    add_counter(found, "window", "window", *(n for _, n in sizes))
    found.of("window")["narrow"] += len(s.passing)


def add_join(found: Structure, build: StageBuild, s: JoinShape) -> None:
    """Queues of the streams, what splits their beats, and whose turn it is; where it is not known yet in what beats the
    streams come, in its own."""
    for port, depth in enumerate(build.plan.joins):
        takes = build.takes(port)
        wants = build.wants(port, build.counts[port]) if build.counts else takes
        add_fifo(found, "queue", wants * s.bits, depth)
        if wants > takes:
            found.of("window")["gather.ff"] += wants * s.bits + bits_of(wants // takes + 1)
            found.of("window")["narrow"] += wants * s.bits
    add_counter(found, "window", "window", sum(s.beats))
    found.of("window")["narrow"] += build.out_count * s.bits * (len(s.parts) - 1)


def _pointers(found: Structure, w: WindowShape, depth: int) -> None:
    """Addresses; bits below what they step by are zero, and some follow others."""
    counts = found.of("window")
    address = bits_of(depth)
    row = max(address - _zeros(w.bank_row), 0)
    rows = 1 + 1 + (w.kernel[0] > w.lines)  # the row that is written; the window's first row, and the one that is read
    base = 0 if w.padded_width == 1 and w.lines == 1 else max(address - _zeros(w.chunks), 0)
    pixel = 0
    if w.out_width > 1:
        step = w.chunks if w.taps > 1 else w.strides[1] * w.chunks
        pixel = max(bits_of(max(2, w.bank_row)) - _zeros(step), 0)
    offset = bits_of(max(2, w.bank_row)) if w.row_steps > 1 else 0
    at_once = w.taps == w.kernel[1]  # then the offset is the count of channels
    # Where the next row of the window and the next window begin, a row ahead.
    ahead = (w.kernel[0] > w.lines and w.row_steps > 1) + (w.lines == 1 and w.row_reads * w.steps > 1)
    counts["window.ff"] += (rows + ahead) * row + base + pixel + (0 if at_once else offset)
    # Where a pointer stands next: a sum, and around the end of the ring.
    steps = 1 if w.extent[0] == w.strides[0] or w.lines > 1 else 2
    counts[f"pointer/{row}"] += 1 + (w.kernel[0] > w.lines) + steps
    counts[f"base/{base}"] += w.chunks > 1 or w.padded_width > 1
    counts[f"offset/{offset}"] += offset > 0 and not at_once
    counts[f"pixel/{pixel}"] += pixel > 0
    counts[f"address/{address}"] += w.lines * (pixel > 0 or offset > 0) + (w.chunks > 1)
    if pixel and offset:
        counts["three"] += w.lines * address


def _zeros(value: int) -> int:
    """How many of the lowest bits are zero in all multiples of ``value``."""
    return (value & -value).bit_length() - 1


def _rotation(found: Structure, ways: int, bits: int) -> None:
    """``bits`` of which each comes from one of ``ways`` places. Samples have two and three; more are counted in threes,
    as a table that chooses replaces as many of its places by one."""
    known = min(ways, 3)
    found.of("window")[f"rotate{known}"] += bits if ways == known else bits * (ways - 1) // 2


def _operands(found: Structure, w: WindowShape, word: int, address: int) -> None:
    """From the banks to the array: rotations, and strobes that keep step."""
    counts = found.of("window")
    banks = w.taps * w.lines
    strobes = 3 if w.steps > 1 else 1
    counts["window.ff"] += strobes * w.latency
    column_turns = w.taps > 1 and w.strides[1] % (w.taps * w.spacing[1]) != 0 and w.out_width > 1
    row_turns = w.lines > 1 and (w.strides[0] % w.row_unit != 0 or w.spacing[0] > 1)
    # Banks that always hold the same taps share an address.
    addresses = (w.taps if column_turns else 1) * (w.lines if row_turns else 1)
    counts["window.ff"] += addresses * address
    if w.taps > 1:
        counts["rotated.ff"] += banks * word
        if column_turns:
            counts["window.ff"] += 3 * bits_of(w.taps) + bits_of(w.spacing[1])
            _rotation(found, w.taps, banks * word)
            counts[f"beyond/{address}"] += banks
    if w.lines > 1:
        counts["rotated.ff"] += banks * word
        if row_turns:
            counts["window.ff"] += bits_of(w.lines) * (3 + (w.taps > 1)) + bits_of(w.spacing[0])
            _rotation(found, w.lines, banks * word)
            counts[f"turned/{address}"] += w.lines - 1
