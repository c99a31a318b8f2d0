"""What a stage is made of, before any synthesis: registers, adders, selections and memories, by block.

Every count is read off the blocks in ``hdl``: the widths of their signals, the circuits of their lanes, the shapes of
their memories. What a count costs on a family of devices is fitted, see `fit`.
"""

from collections.abc import MutableMapping

import numpy as np

from ....hdl.activation.threshold import LATENCY as THRESHOLD_LATENCY
from ....hdl.dataflow.build import StageBuild
from ....hdl.dataflow.layout import factor_values, level_values, weight_lanes
from ....hdl.lanes.counts import array_counts
from ....hdl.maps.join import JoinShape
from ....hdl.maps.move import MoveShape
from ....hdl.streams.elements import in_block_ram
from ....quant.formats import Format
from ....quant.formats import signed as signed_format
from ....quant.program import RESIDUAL_MULTIPLIER_BITS
from ...devices.memories import MemoryShape
from ..counting import (
    Columns,
    Product,
    Rom,
    Structure,
    add_clamp,
    add_counter,
    add_fifo,
    bits_of,
    columns_of,
    kept,
)
from ..structure import structure
from .windows import add_join, add_move, add_window, window_of

__all__ = ["stage_structure"]

RESIDUAL_MASK = (1 << RESIDUAL_MULTIPLIER_BITS) - 1


@structure.register
def stage_structure(build: StageBuild) -> Structure:
    """The counts of ``build``."""
    found = Structure()
    if isinstance(build.window, JoinShape):
        add_join(found, build, build.window)
    elif isinstance(build.window, MoveShape):
        add_move(found, build.window)
    else:
        add_window(found, build)
        _array(found, build)
    if build.stage.requantise is not None:
        _requantise(found, build)
    elif build.stage.threshold is not None:
        _threshold(found, build)
    _queue(found, build)
    if build.stage.residual is not None:
        _residual(found, build)
    return found


def _array(found: Structure, build: StageBuild) -> None:
    stage, plan, counts = build.stage, build.plan, found.of("lanes")
    if stage.weight is None or stage.weight_format is None:
        strobes = 3 if window_of(build).steps > 1 else 1
        counts["pool.ff"] += plan.simd * (stage.x.bits + stage.total.bits) + strobes + 1
        counts["pool_out"] += plan.simd * stage.total.bits
        if window_of(build).steps > 1:  # else there is nothing to compare with, or to add to
            counts[f"pool_{stage.kind}/{stage.total.bits}"] += plan.simd
        return
    fmt = stage.weight_format
    fold = ("weights", plan.pe, plan.simd, plan.taps, plan.lines, plan.blocks)
    columns = kept(stage, fold, lambda: columns_of((weight_lanes(build), fmt)))
    _rom(found, "weights", build.groups * window_of(build).steps, columns, block=plan.memory == "block")
    shape = build.array
    for key, count in array_counts(shape, stage.total.bits).items():
        if key != "ff_w":  # counted with their memory
            counts[f"{key.removeprefix('ff_')}.ff" if key.startswith("ff_") else key] += plan.blocks * count
    if stage.kind == "shift":
        counts["signs"] += build.lanes
    counts["strobe.ff"] += (3 if window_of(build).steps > 1 else 1) * (shape.latency - 1) + 1
    if stage.kind == "mult" and shape.structure == "star" and stage.weight_format.bits > 1:
        found.products.append(
            Product(
                where="lane", count=build.lanes, alone=shape.pin == 1, a=stage.x.bits,
                b=stage.weight_format.bits, a_signed=stage.x.signed,
                b_signed=stage.weight_format.signed,
            )
        )  # fmt: skip


def _rom(
    found: Structure, name: str, words: int, columns: "Columns", *, behind: int = 0, merged: int = 0,
    kept: int = 0, block: bool = False,
) -> None:  # fmt: skip
    """A memory that is read in turn, with its address; what is read is held in a register.

    Parameters
    ----------
    behind, merged : of further registers
    kept : see `Rom`
    """
    shape = MemoryShape(width=max(columns.varying, 1), depth=words, clocked=True, written=False, block=block)
    found.roms[name] = rom = Rom(
        name=name, shape=shape, distinct=columns.distinct, behind=columns.varying + behind,
        merged=columns.distinct + merged,
        kept=kept,
    )  # fmt: skip
    if words > 1:
        add_counter(found, rom.block, "rom", words)


def _held(found: Structure, build: StageBuild, latency: int) -> None:
    counts = found.of("activation")
    sums = build.sums * build.stage.total.bits
    beats = build.group_beats
    counts["held.ff"] += sums + bits_of(beats + 1) + latency - 1
    counts["held"] += sums  # also where they are taken at once
    if beats > 1:
        counts[f"counter/{bits_of(beats + 1)}"] += 1


def _requantise(found: Structure, build: StageBuild) -> None:
    stage, counts = build.stage, found.of("activation")
    assert stage.offset is not None and stage.requantise is not None
    residual, op = stage.residual, stage.requantise
    shift = int(op.shifts.min())
    _held(found, build, build.scale.latency(residual=residual is not None))
    both, b, rows = kept(stage, ("factors", build.plan.requantisers), lambda: _factor_columns(build))
    words = stage.result[0] // build.plan.requantisers
    _rom(found, "factors", words, both, behind=b.varying, merged=b.distinct, kept=b.distinct)
    units, acc = build.plan.requantisers, stage.total.bits
    places = 1 if stage.kind == "xnor" else 0
    operand = acc + places + (0 if stage.total.signed else 1)
    product = operand + build.scale.bits
    wide = stage.offset.bits + 1
    joined = wide
    counts["m_operand.ff"] += units * acc
    counts["product.ff"] += units * (product - places)
    constant = " constant" if words == 1 else ""
    counts[f"wide{constant}/{min(wide, product + 1)}"] += units
    if build.scale.how == "dsp":
        found.products.append(
            Product(
                where="requantise", count=units, a=operand - places, b=build.scale.bits, a_signed=True, b_signed=True,
                rows=rows, constant=words == 1, inputs=acc + both.distinct,
            )
        )  # fmt: skip
    else:
        _soft_product(counts, build, operand, units)
    if residual is not None:
        r = residual.bits + (0 if residual.signed else 1)
        r_product = r + RESIDUAL_MULTIPLIER_BITS
        joined = max(r_product, wide) + 1
        counts["wide.ff"] += units * min(wide, product + 1)
        counts["joined.ff"] += units * max(joined - shift, 1)
        counts["r_operand.ff"] += units * residual.bits
        counts["r_product.ff"] += units * r_product
        counts["r_waiting.ff"] += units * r_product
        counts[f"joined/{joined}"] += units
        if build.scale.how == "dsp":
            found.products.append(
                Product(
                    where="residual", count=units, a=RESIDUAL_MULTIPLIER_BITS, b=r, a_signed=True, b_signed=True,
                    rows=units * int(np.bitwise_or.reduce(op.residual_multipliers & RESIDUAL_MASK)).bit_count(),
                    constant=not stage.channelwise,
                )
            )  # fmt: skip
        else:
            _soft_product(counts, build, r, 2 * units)  # of twice the bits
    left = max(joined - shift, 1)
    if stage.channelwise:
        _own_shifts(counts, build, joined, units)
    # What is shifted out is not kept: neither behind the shift nor of the sum in front of it.
    counts["shifted.ff"] += units * left
    if residual is None:
        counts["wide.ff"] += units * left
    counts["summed"] += units * (left if residual is None else wide)
    add_clamp(counts, stage.y, left, joined, units)
    counts["y.ff"] += units * min(stage.y.bits, left)
    counts["requantisers"] += units


def _own_shifts(counts: MutableMapping[str, int], build: StageBuild, joined: int, units: int) -> None:
    """Shifts that are data, roughly: no stage like that took part in the fit. As many selections in a row as bits of S
    ever change, and S waits for the sum."""
    assert build.stage.requantise is not None
    shifts = build.stage.requantise.shifts
    changing = int(np.bitwise_or.reduce(shifts) ^ np.bitwise_and.reduce(shifts)).bit_count()
    counts["held"] += units * changing * joined
    counts["m_operand.ff"] += units * changing * (2 + build.scale.multiplier.latency)


def _soft_product(counts: MutableMapping[str, int], build: StageBuild, operand: int, units: int) -> None:
    """Products of requantisers without multiplier blocks, roughly: no stage like that took part in the fit."""
    scale = build.scale.multiplier
    bits = scale.bits
    if scale.scale == "pow2":
        counts[f"add/{operand + bits}"] += units * (2 * scale.terms - 1)
        counts["held"] += units * scale.terms * (operand + bits) * (bits - 1).bit_length() // 2
        counts["product.ff"] += units * (scale.terms - 1) * (operand + bits)
        return
    rows = bits // 2
    while rows:
        counts[f"add/{operand + bits // rows}"] += units * rows
        rows //= 2
    counts["product.ff"] += units * (bits // 4) * (operand + 4)


def _threshold(found: Structure, build: StageBuild) -> None:
    stage, counts, layout = build.stage, found.of("activation"), build.levels
    _held(found, build, THRESHOLD_LATENCY)
    units = build.plan.requantisers
    columns, down = kept(stage, ("levels", units), lambda: _level_columns(build))
    _rom(found, "levels", stage.result[0] // units, columns, behind=down.varying, merged=down.distinct)
    counts["operand.ff"] += units * stage.total.bits
    counts["reached.ff"] += units * layout.count
    counts[f"reached/{stage.total.bits}"] += units * layout.count
    counts["y.ff"] += units * stage.y.bits
    counts["count"] += units * layout.count * stage.y.bits
    counts["thresholders"] += units


def _queue(found: Structure, build: StageBuild) -> None:
    counts, plan = found.of("queue"), build.plan
    beat = build.out_count * build.stage.y.bits
    if build.gather > 1:
        counts["gather.ff"] += build.gather * beat + bits_of(build.gather + 1)
        counts[f"gather/{bits_of(build.gather + 1)}"] += 1
    add_fifo(found, "queue", build.gather * beat, plan.queue)
    capacity = plan.queue * build.gather
    counts["room.ff"] += bits_of(capacity + 1)
    counts[f"room/{bits_of(capacity + 1)}"] += 1


def _residual(found: Structure, build: StageBuild) -> None:
    counts, stage = found.of("queue"), build.stage
    assert stage.residual is not None
    bits = stage.residual.bits
    wide = build.residual_gather * build.residual_count * bits
    if build.residual_gather > 1:
        counts["gather.ff"] += wide + bits_of(build.residual_gather + 1)
        counts[f"gather/{bits_of(build.residual_gather + 1)}"] += 1
    block = in_block_ram(wide, build.plan.residual)
    registered = not block and build.residual_split == 1
    add_fifo(found, "queue", wide, build.plan.residual, block=block, registered=registered)
    if registered:  # by the operands of the requantisers, which are counted with the memory
        found.of("activation")["r_operand.ff"] -= wide
    if build.residual_split > 1:
        counts["gather.ff"] += wide + bits_of(build.residual_split + 1)
        counts["narrow"] += wide
    there = bits_of((build.plan.residual + 2) * build.residual_split + 1)
    counts["room.ff"] += there
    counts[f"room/{there}"] += 1


def _factor_columns(build: StageBuild) -> tuple[Columns, Columns, int]:
    """Of M and B together, and of B; and how many bits of the units' M are ever set."""
    assert build.stage.offset is not None
    multiplier, offset = factor_values(build)
    b = (offset, build.stage.offset)
    used = np.bitwise_or.reduce(multiplier & ((1 << build.scale.bits) - 1), axis=0)
    rows = int(np.bitwise_count(used).sum())
    return columns_of((multiplier, signed_format(build.scale.bits)), b), columns_of(b), rows


def _level_columns(build: StageBuild) -> tuple[Columns, Columns]:
    """Of levels and directions together, and of directions."""
    levels, falling = level_values(build)
    down = (falling, Format(bits=1, signed=False))
    return columns_of((levels.reshape(len(levels), -1), build.levels.level), down), columns_of(down)
