"""What a stage is made of, before any synthesis: registers, adders, selections and memories, by block.

Every count is read off the blocks in ``hdl``: the widths of their signals, the circuits of their lanes, the shapes of
their memories. What a count costs on a family of devices is fitted, see `fit`.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from math import lcm
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from ..hdl.counts import array_counts
from ..hdl.join import JoinShape
from ..hdl.layout import factor_values, level_values, weight_lanes
from ..hdl.move import MoveShape
from ..hdl.plan import StageBuild
from ..hdl.stages import Stage
from ..hdl.streams import in_block_ram
from ..hdl.threshold import LATENCY as THRESHOLD_LATENCY
from ..hdl.window import WindowShape
from ..quant.formats import Format
from ..quant.formats import signed as signed_format
from ..quant.program import MULTIPLIER_BITS, RESIDUAL_MULTIPLIER_BITS
from .memories import MemoryShape

Found = TypeVar("Found")
__all__ = ["Product", "Rom", "Structure", "joint_structure", "packet_structure", "structure"]

MERGED = 1 << 16
"""Bits of a memory up to which it is worth a look which of its columns are the same."""


@dataclass(frozen=True, kw_only=True)
class Rom:
    """A memory of constants.

    Attributes
    ----------
    name : ``weights``, ``factors`` or ``levels``
    shape : of what is left of it once bits that never change are gone
    distinct : columns of bits that differ from each other
    behind : flip-flops that hold what was read, where every column has its own
    merged : the same where equal columns share one
    kept : what is left of them where multiplier blocks take in registers
    """

    name: str
    shape: MemoryShape
    distinct: int
    behind: int
    merged: int
    kept: int


@dataclass(frozen=True, kw_only=True)
class Product:
    """Multiplications of ``count`` pairs of words.

    Attributes
    ----------
    where : ``lane``, ``requantise`` or ``residual``
    alone : of lanes, whether a row has only one
    """

    where: str
    count: int
    alone: bool = False
    a: int
    b: int
    a_signed: bool
    b_signed: bool


@dataclass(frozen=True, kw_only=True)
class Structure:
    """Counts of a stage.

    Attributes
    ----------
    counts : by name
    roms : memories of constants that are read by a clock
    rings : banks of the window's ring
    queues : memories that are read without a clock
    products : multiplications that may become DSP blocks: in lanes, in requantisers
    """

    counts: Counter[str] = field(default_factory=Counter)
    roms: dict[str, Rom] = field(default_factory=dict)
    rings: list[MemoryShape] = field(default_factory=list)
    queues: list[MemoryShape] = field(default_factory=list)
    products: list[Product] = field(default_factory=list)


def structure(build: StageBuild) -> Structure:
    """The counts of ``build``."""
    found = Structure()
    if isinstance(build.window, JoinShape):
        _join(found, build, build.window)
    elif isinstance(build.window, MoveShape):
        _move(found, build.window)
    else:
        _window(found, build)
        _array(found, build)
    if build.stage.requantise is not None:
        _requantise(found, build)
    elif build.stage.threshold is not None:
        _threshold(found, build)
    _queue(found, build)
    if build.stage.residual is not None:
        _residual(found, build)
    return found


def packet_structure(score: Format, classes: int) -> Structure:
    """The counts of the packet that ends a classifier: the best score so far, its class, and which one is coming."""
    found = Structure()
    counts = found.counts
    counts["packet.ff"] += score.bits + bits_of(max(2, classes))
    counts[f"pool_max/{score.bits}"] += 1
    counts["pool_out"] += score.bits
    _counter(found, "packet", classes + 1)
    return found


def joint_structure(*, bits: int, have: int, want: int, readers: int = 1) -> Structure:
    """The counts of what stands between a stage that gives beats of ``have`` elements and one that takes ``want``."""
    found = Structure()
    counts = found.counts
    whole = lcm(have, want)
    if whole > have:
        counts["gather.ff"] += whole * bits + bits_of(whole // have + 1)
        counts[f"gather/{bits_of(whole // have + 1)}"] += 1
    if whole > want:
        counts["gather.ff"] += whole * bits + bits_of(whole // want + 1)
        counts["narrow"] += whole * bits
    if readers > 1:
        counts["gather.ff"] += readers
        counts["forks"] += readers
    return found


def _window_of(build: StageBuild) -> WindowShape:
    """Of a stage that has one."""
    assert isinstance(build.window, WindowShape)
    return build.window


def bits_of(values: int) -> int:
    """Bits of a register that holds 0 .. values - 1."""
    return (values - 1).bit_length()


def _counter(found: Structure, block: str, *ends: int) -> None:
    """Counters that run around: a register, an increment and a comparison each."""
    for end in ends:
        if end > 1:
            found.counts[f"{block}.ff"] += bits_of(end)
            found.counts[f"counter/{bits_of(end)}"] += 1


def _window(found: Structure, build: StageBuild) -> None:
    w, counts = _window_of(build), found.counts
    word = w.simd * w.bits
    depth = w.rows // w.lines * w.bank_row
    cropped = w.used_height < w.padded_height
    _counter(found, "window", w.padded_width, w.chunks, w.taps, w.lines)
    if w.padding or cropped:
        _counter(found, "window", w.padded_height)
    _counter(found, "window", w.segment_chunks, w.kernel[1] // w.taps, w.kernel[0] // w.lines, w.groups, w.out_width)
    if w.kernel[0] != w.stride or w.lines > 1:
        _counter(found, "window", w.out_height)
    _pointers(found, build, depth)
    counts["window.ff"] += bits_of(w.rows + 1)
    counts[f"level/{bits_of(w.rows + 1)}"] += 1
    if w.segments > 1:
        counts["window.ff"] += bits_of(w.chunks)
        counts[f"segment/{bits_of(w.chunks)}"] += 1
        _counter(found, "window", w.groups // w.segments)
    _operands(found, build, word, bits_of(depth))
    if w.padding:
        counts["paddings"] += 1
        counts["padded"] += word
        for side in (w.padded_width, w.padded_height):
            counts[f"side/{bits_of(side)}"] += 1
        if w.chunks > 1 and build.stage.weight is not None:
            rows = build.stage.pad.reshape(-1, build.x_count)
            counts["pad_table"] += _columns((rows, build.stage.x)).distinct * w.chunks
    counts["window"] += 1
    ring = MemoryShape(width=word, depth=depth, clocked=True, written=True)
    found.rings.extend([ring] * (w.taps * w.lines))


def _move(found: Structure, s: MoveShape) -> None:
    """A ring in banks, counters of its two sides, and the register behind choice and padding."""
    counts, depth = found.counts, s.rows * s.bank_row
    _counter(found, "window", s.bank_row, s.out_beats, s.factor, s.width, s.factor, s.height)
    lines = {down for bank in s.banks for down, _ in bank.offsets}
    counts["window.ff"] += (1 + len(lines)) * bits_of(depth) + bits_of(s.rows + 1) + bits_of(max(2, s.bank_row))
    counts[f"pointer/{bits_of(depth)}"] += 1 + len(lines)
    counts[f"level/{bits_of(s.rows + 1)}"] += 1
    counts["x.ff"] += s.simd * s.bits
    counts["narrow"] += s.simd * s.bits
    found.rings.extend(
        MemoryShape(width=len(bank.lanes) * s.bits, depth=depth, clocked=True, written=True) for bank in s.banks
    )


def _join(found: Structure, build: StageBuild, s: JoinShape) -> None:
    """Queues of the streams, what splits their beats, and whose turn it is; where it is not known yet in what beats the
    streams come, in its own."""
    for port, depth in enumerate(build.plan.joins):
        takes = build.takes(port)
        wants = build.wants(port, build.join_counts[port]) if build.join_counts else takes
        _fifo(found, wants * s.bits, depth)
        if wants > takes:
            found.counts["gather.ff"] += wants * s.bits + bits_of(wants // takes + 1)
            found.counts["narrow"] += wants * s.bits
    _counter(found, "window", sum(s.beats))
    found.counts["narrow"] += build.out_count * s.bits * (len(s.parts) - 1)


def _pointers(found: Structure, build: StageBuild, depth: int) -> None:
    """Addresses; bits below what they step by are zero, and some follow others."""
    w, counts = _window_of(build), found.counts
    address = bits_of(depth)
    row = max(address - _zeros(w.bank_row), 0)
    rows = 1 + 1 + (w.kernel[0] > w.lines)  # the row that is written; the window's first row, and the one that is read
    base = 0 if w.padded_width == 1 and w.lines == 1 else max(address - _zeros(w.chunks), 0)
    pixel = 0
    if w.out_width > 1:
        step = w.chunks if w.taps > 1 else w.stride * w.chunks
        pixel = max(bits_of(max(2, w.bank_row)) - _zeros(step), 0)
    offset = bits_of(max(2, w.bank_row)) if w.row_steps > 1 else 0
    counts["window.ff"] += rows * row + base + pixel + offset
    # Where a pointer stands next: a sum, and around the end of the ring.
    steps = 1 if w.kernel[0] == w.stride or w.lines > 1 else 2
    counts[f"pointer/{row}"] += 1 + (w.kernel[0] > w.lines) + steps
    counts[f"base/{base}"] += w.chunks > 1 or w.padded_width > 1
    counts[f"offset/{offset}"] += offset > 0
    counts[f"pixel/{pixel}"] += pixel > 0
    counts[f"address/{address}"] += w.lines * (pixel > 0 or offset > 0) + (w.chunks > 1)
    if pixel and offset:
        counts["three"] += w.lines * address


def _zeros(value: int) -> int:
    """How many of the lowest bits are zero in all multiples of ``value``."""
    return (value & -value).bit_length() - 1


def _operands(found: Structure, build: StageBuild, word: int, address: int) -> None:
    """From the banks to the array: rotations, and strobes that keep step."""
    w, counts = _window_of(build), found.counts
    banks = w.taps * w.lines
    strobes = 3 if w.steps > 1 else 1
    counts["window.ff"] += strobes * w.latency
    row_turns = w.lines > 1 and w.stride % w.lines != 0
    if w.taps > 1:
        turns = w.stride % w.taps != 0 and w.out_width > 1
        counts["rotated.ff"] += banks * word
        if turns:
            counts["window.ff"] += 2 * bits_of(w.taps)
            counts[f"rotate{w.taps}"] += banks * word
            counts[f"beyond/{address}"] += banks
    if w.lines > 1:
        counts["rotated.ff"] += banks * word
        if row_turns:
            counts["window.ff"] += bits_of(w.lines) * (2 + (w.taps > 1))
            counts[f"rotate{w.lines}"] += banks * word
            counts[f"turned/{address}"] += w.lines - 1


def _array(found: Structure, build: StageBuild) -> None:
    stage, plan, counts = build.stage, build.plan, found.counts
    if stage.weight is None or stage.weight_format is None:
        strobes = 3 if _window_of(build).steps > 1 else 1
        counts["pool.ff"] += plan.simd * (stage.x.bits + stage.total.bits) + strobes + 1
        counts["pool_out"] += plan.simd * stage.total.bits
        if _window_of(build).steps > 1:  # else there is nothing to compare with, or to add to
            counts[f"pool_{stage.kind}/{stage.total.bits}"] += plan.simd
        return
    fmt = stage.weight_format
    fold = ("weights", plan.pe, plan.simd, plan.taps, plan.lines, plan.blocks)
    columns = _kept(build, fold, lambda: _columns((weight_lanes(build), fmt)))
    _rom(found, "weights", build.groups * _window_of(build).steps, columns, block=plan.memory == "block")
    shape = build.array
    for key, count in array_counts(shape, stage.total.bits).items():
        if key != "ff_w":  # counted with their memory
            counts[f"{key.removeprefix('ff_')}.ff" if key.startswith("ff_") else key] += plan.blocks * count
    if stage.kind == "shift":
        counts["signs"] += build.lanes
    counts["strobe.ff"] += (3 if _window_of(build).steps > 1 else 1) * (shape.latency - 1) + 1
    if stage.kind == "mult" and shape.structure == "star" and stage.weight_format.bits > 1:
        found.products.append(
            Product(
                where="lane", count=build.lanes, alone=shape.pin == 1, a=stage.x.bits,
                b=stage.weight_format.bits, a_signed=stage.x.signed,
                b_signed=stage.weight_format.signed,
            )
        )  # fmt: skip


def _rom(
    found: Structure, name: str, words: int, columns: "_Columns", *, behind: int = 0, merged: int = 0,
    kept: int = 0, block: bool = False,
) -> None:  # fmt: skip
    """A memory that is read in turn, with its address; what is read is held in a register.

    Parameters
    ----------
    behind, merged : of further registers
    kept : see `Rom`
    """
    shape = MemoryShape(width=max(columns.varying, 1), depth=words, clocked=True, written=False, block=block)
    found.roms[name] = Rom(
        name=name, shape=shape, distinct=columns.distinct, behind=columns.varying + behind,
        merged=columns.distinct + merged,
        kept=kept,
    )  # fmt: skip
    if words > 1:
        _counter(found, "rom", words)


def _held(found: Structure, build: StageBuild, latency: int) -> None:
    counts = found.counts
    sums = build.sums * build.stage.total.bits
    beats = build.group_beats
    counts["held.ff"] += sums + bits_of(beats + 1) + latency - 1
    if beats > 1:
        counts["held"] += sums
        counts[f"counter/{bits_of(beats + 1)}"] += 1


def _requantise(found: Structure, build: StageBuild) -> None:
    stage, counts = build.stage, found.counts
    assert stage.offset is not None and stage.requantise is not None
    residual = stage.residual
    _held(found, build, build.scale.latency(residual=residual is not None))
    both, b = _kept(build, ("factors", build.plan.requantisers), lambda: _factor_columns(build))
    words = stage.result[0] // build.plan.requantisers
    _rom(found, "factors", words, both, behind=b.varying, merged=b.distinct, kept=b.distinct)
    units, acc = build.plan.requantisers, stage.total.bits
    places = 1 if stage.kind == "xnor" else 0
    operand = acc + places + (0 if stage.total.signed else 1)
    product = operand + MULTIPLIER_BITS
    wide = stage.offset.bits + 1
    joined = wide
    counts["m_operand.ff"] += units * acc
    counts["product.ff"] += units * (product - places)
    constant = " constant" if stage.result[0] == units else ""
    counts[f"wide{constant}/{min(wide, product + 1)}"] += units
    if build.scale.how == "dsp":
        found.products.append(
            Product(
                where="requantise", count=units, a=operand - places, b=MULTIPLIER_BITS, a_signed=True, b_signed=True
            )
        )
    else:
        _soft_product(counts, build, operand, units)
    if residual is not None:
        r = residual.bits + (0 if residual.signed else 1)
        r_product = r + RESIDUAL_MULTIPLIER_BITS
        joined = max(r_product, wide) + 1
        counts["wide.ff"] += units * min(wide, product + 1)
        counts["joined.ff"] += units * max(joined - stage.requantise.shift, 1)
        counts["r_operand.ff"] += units * residual.bits
        counts["r_product.ff"] += units * r_product
        counts["r_waiting.ff"] += units * r_product
        counts[f"joined/{joined}"] += units
        if build.scale.how == "dsp":
            found.products.append(
                Product(where="residual", count=units, a=RESIDUAL_MULTIPLIER_BITS, b=r, a_signed=True, b_signed=True)
            )
        else:
            _soft_product(counts, build, r, 2 * units)  # of twice the bits
    left = max(joined - stage.requantise.shift, 1)
    # What is shifted out is not kept: neither behind the shift nor of the sum in front of it.
    counts["shifted.ff"] += units * left
    if residual is None:
        counts["wide.ff"] += units * left
    # All bits of the sum are compared, also those that are the sign; for the lower end 0 the sign is enough.
    counts[f"clamp/{joined}"] += units * (1 + (stage.requantise.lo != 0))
    counts["clamped"] += units * min(stage.y.bits, left)
    counts["y.ff"] += units * min(stage.y.bits, left)
    counts["requantisers"] += units


def _soft_product(counts: Counter[str], build: StageBuild, operand: int, units: int) -> None:
    """Products of requantisers without multiplier blocks, roughly: no stage like that took part in the fit."""
    scale = build.scale.multiplier
    if scale.scale == "pow2":
        counts[f"add/{operand + MULTIPLIER_BITS}"] += units * (2 * scale.terms - 1)
        counts["held"] += units * scale.terms * (operand + MULTIPLIER_BITS) * (MULTIPLIER_BITS - 1).bit_length() // 2
        counts["product.ff"] += units * (scale.terms - 1) * (operand + MULTIPLIER_BITS)
        return
    rows = MULTIPLIER_BITS // 2
    while rows:
        counts[f"add/{operand + MULTIPLIER_BITS // rows}"] += units * rows
        rows //= 2
    counts["product.ff"] += units * (MULTIPLIER_BITS // 4) * (operand + 4)


def _threshold(found: Structure, build: StageBuild) -> None:
    stage, counts, layout = build.stage, found.counts, build.levels
    _held(found, build, THRESHOLD_LATENCY)
    units = build.plan.requantisers
    columns, down = _kept(build, ("levels", units), lambda: _level_columns(build))
    _rom(found, "levels", stage.result[0] // units, columns, behind=down.varying, merged=down.distinct)
    counts["operand.ff"] += units * stage.total.bits
    counts["reached.ff"] += units * layout.count
    counts[f"reached/{stage.total.bits}"] += units * layout.count
    counts["y.ff"] += units * stage.y.bits
    counts["count"] += units * layout.count * stage.y.bits
    counts["thresholders"] += units


def _queue(found: Structure, build: StageBuild) -> None:
    counts, plan = found.counts, build.plan
    beat = build.out_count * build.stage.y.bits
    if build.gather > 1:
        counts["gather.ff"] += build.gather * beat + bits_of(build.gather + 1)
        counts[f"gather/{bits_of(build.gather + 1)}"] += 1
    _fifo(found, build.gather * beat, plan.queue)
    capacity = plan.queue * build.gather
    counts["room.ff"] += bits_of(capacity + 1)
    counts[f"room/{bits_of(capacity + 1)}"] += 1


def _fifo(found: Structure, width: int, depth: int, *, block: bool = False) -> None:
    counts = found.counts
    if block:  # its last beat stands in the register of the block RAM
        depth -= 1
        found.rings.append(MemoryShape(width=width, depth=depth, clocked=True, written=True))
    else:
        found.queues.append(MemoryShape(width=width, depth=depth, clocked=False, written=True))
    counts["fifo.ff"] += 2 * bits_of(depth) + bits_of(depth + 1)
    counts[f"fifo/{bits_of(depth)}"] += 2
    counts[f"fifo_level/{bits_of(depth + 1)}"] += 1


def _residual(found: Structure, build: StageBuild) -> None:
    counts, stage = found.counts, build.stage
    assert stage.residual is not None
    bits = stage.residual.bits
    wide = build.residual_gather * build.residual_count * bits
    if build.residual_gather > 1:
        counts["gather.ff"] += wide + bits_of(build.residual_gather + 1)
        counts[f"gather/{bits_of(build.residual_gather + 1)}"] += 1
    _fifo(found, wide, build.plan.residual, block=in_block_ram(wide, build.plan.residual))
    if build.residual_split > 1:
        counts["gather.ff"] += wide + bits_of(build.residual_split + 1)
        counts["narrow"] += wide
    there = bits_of((build.plan.residual + 2) * build.residual_split + 1)
    counts["room.ff"] += there
    counts[f"room/{there}"] += 1


_KEPT: WeakKeyDictionary[Stage, dict[Any, Any]] = WeakKeyDictionary()


def _kept(build: StageBuild, key: tuple[Any, ...], make: Callable[[], Found]) -> Found:
    """What ``make`` gives, made once for every stage and ``key``: contents do not change with the rest of a fold."""
    known = _KEPT.setdefault(build.stage, {})
    if key not in known:
        known[key] = make()
    found: Found = known[key]
    return found


@dataclass(frozen=True)
class _Columns:
    """Of the bits of a memory's word: how many change at all, and how many of those differ from each other."""

    varying: int
    distinct: int


def _columns(*parts: tuple[NDArray[np.int64], Format]) -> _Columns:
    """The columns of a memory whose words hold ``parts``: numbers (words, count) and their format."""
    varying = 0
    marks: list[NDArray[np.uint64]] = []
    small = sum(values.size * fmt.bits for values, fmt in parts) <= MERGED
    for values, fmt in parts:
        words = values & ((1 << fmt.bits) - 1)
        changing = np.bitwise_or.reduce(words, axis=0) & ~np.bitwise_and.reduce(words, axis=0)
        number, place = np.nonzero((changing[:, None] >> np.arange(fmt.bits)) & 1)
        varying += len(number)
        if small:
            columns = ((words[:, number] >> place) & 1).astype(np.uint64)
            marks.append(_marks(len(words)) @ columns)
    return _Columns(varying, len(np.unique(np.concatenate(marks))) if small else varying)


def _factor_columns(build: StageBuild) -> tuple[_Columns, _Columns]:
    """Of M and B together, and of B."""
    assert build.stage.offset is not None
    multiplier, offset = factor_values(build)
    b = (offset, build.stage.offset)
    return _columns((multiplier, signed_format(MULTIPLIER_BITS)), b), _columns(b)


def _level_columns(build: StageBuild) -> tuple[_Columns, _Columns]:
    """Of levels and directions together, and of directions."""
    levels, falling = level_values(build)
    down = (falling, Format(bits=1, signed=False))
    return _columns((levels.reshape(len(levels), -1), build.levels.level), down), _columns(down)


@cache
def _marks(words: int) -> NDArray[np.uint64]:
    """A random number for each word: columns are the same where the sums of those that they select are."""
    return np.random.default_rng(0).integers(1, 1 << 63, words, dtype=np.uint64)
