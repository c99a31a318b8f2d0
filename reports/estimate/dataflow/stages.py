"""What a stage is made of, before any synthesis: registers, adders, selections and memories, by block.

Every count is read off the blocks in ``hdl``: the widths of their signals, the circuits of their lanes, the shapes of
their memories. What a count costs on a family of devices is fitted, see `fit`.
"""

from collections.abc import MutableMapping
from functools import singledispatch

import numpy as np

from ....common.errors import UserError
from ....hdl.activation.arithmetic import Scale
from ....hdl.activation.threshold import Levels
from ....hdl.dataflow.build import StageBuild
from ....hdl.dataflow.kinds.activation import Requantised, Thresholded
from ....hdl.dataflow.kinds.cut import CutStage
from ....hdl.dataflow.kinds.join import JoinStage
from ....hdl.dataflow.kinds.layer import LayerStage
from ....hdl.dataflow.kinds.move import MoveStage
from ....hdl.dataflow.kinds.pool import PoolStage
from ....hdl.dataflow.kinds.stage import Stage
from ....hdl.dataflow.kinds.sums import WindowStage
from ....hdl.dataflow.layout import factor_values, level_values, second_values, weight_lanes
from ....hdl.lanes.counts import array_counts
from ....hdl.maps.direct import DirectShape
from ....hdl.streams.queue import in_block_ram
from ....quant.formats import Format
from ....quant.formats import signed as signed_format
from ....quant.program import RESIDUAL_MULTIPLIER_BITS
from ...devices.memories import MemoryShape
from ..counting import (
    Columns,
    Product,
    RomCount,
    Structure,
    add_clamp,
    add_counter,
    add_fifo,
    bits_of,
    columns_of,
    kept,
)
from ..structure import structure
from .constants import add_constants
from .windows import add_cut, add_join, add_move, add_window

__all__ = ["count_kind", "stage_structure"]

RESIDUAL_MASK = (1 << RESIDUAL_MULTIPLIER_BITS) - 1


@structure.register
def stage_structure(build: StageBuild) -> Structure:
    """The counts of ``build``: what its kind says, and the queue behind it, or the registers in its place."""
    found = Structure()
    count_kind(build.stage, found, build)
    _queue(found, build)
    if build.stage.residual is not None:
        _residual(found, build)
    return found


@singledispatch
def count_kind(stage: Stage, found: Structure, build: StageBuild) -> None:
    """Add what a kind of stage has in front of its queue, by its type; other kinds register theirs.

    Raises
    ------
    UserError
        for a kind that nobody has registered.
    """
    raise UserError(f"nothing is known of stages of {type(stage).__name__} to estimate them by; use --synth")


@count_kind.register
def _join(stage: JoinStage, found: Structure, build: StageBuild) -> None:
    add_join(found, build, stage.shape(build.plan))


@count_kind.register
def _cut(stage: CutStage, found: Structure, build: StageBuild) -> None:
    add_cut(found, stage.shape(build.plan))


@count_kind.register
def _move(stage: MoveStage, found: Structure, build: StageBuild) -> None:
    add_move(found, stage.shape(build.plan))


@count_kind.register
def _pool(stage: PoolStage, found: Structure, build: StageBuild) -> None:
    w, plan, counts = stage.shape(build.plan), build.plan, found.of("lanes")
    add_window(found, w)
    strobes = 3 if w.steps > 1 else 1
    counts["pool.ff"] += plan.simd * (stage.x.bits + stage.total.bits) + strobes + 1
    counts["pool_out"] += plan.simd * stage.total.bits
    if w.steps > 1:  # else there is nothing to compare with, or to add to
        counts[f"pool_{stage.kind}/{stage.total.bits}"] += plan.simd
    _activation(found, stage, build)


@count_kind.register
def _layer(stage: LayerStage, found: Structure, build: StageBuild) -> None:
    if build.plan.reach:
        add_constants(found, stage, build)
        if isinstance(build.window, DirectShape):
            return
    w = stage.shape(build.plan)
    rows = stage.pad.reshape(-1, build.x_count)
    add_window(found, w, outside=columns_of((rows, stage.x)) if w.padding and w.chunks > 1 else None)
    if not build.plan.reach:
        _array(found, stage, build)
        _activation(found, stage, build)


def _activation(found: Structure, stage: WindowStage, build: StageBuild) -> None:
    if isinstance(stage.activation, Requantised):
        _requantise(found, stage, stage.activation, build)
    elif isinstance(stage.activation, Thresholded):
        _threshold(found, stage, stage.activation, build)


def _array(found: Structure, stage: LayerStage, build: StageBuild) -> None:
    plan, counts, steps = build.plan, found.of("lanes"), build.window.steps
    fmt = stage.weight_format
    fold = ("weights", plan.pe, plan.simd, plan.taps, plan.lines, plan.blocks)
    columns = kept(stage, fold, lambda: columns_of((weight_lanes(stage, build), fmt)))
    _rom(found, "weights", build.groups * steps, columns, block=plan.memory == "block")
    shape = stage.array(plan, build.fabric)
    for key, count in array_counts(shape, stage.total.bits).items():
        if key != "ff_w":  # counted with their memory
            counts[f"{key.removeprefix('ff_')}.ff" if key.startswith("ff_") else key] += plan.blocks * count
    if stage.kind == "shift":
        counts["signs"] += build.lanes
    counts["strobe.ff"] += (3 if steps > 1 else 1) * (shape.latency - 1) + 1
    if stage.kind == "mult" and shape.structure == "star" and fmt.bits > 1:
        found.products.append(
            Product(
                where="lane", count=build.lanes, alone=shape.pin == 1, a=stage.x.bits, b=fmt.bits,
                a_signed=stage.x.signed, b_signed=fmt.signed,
            )
        )  # fmt: skip


def _rom(
    found: Structure, name: str, words: int, columns: "Columns", further: "Columns | None" = None, *, kept: int = 0,
    block: bool = False,
) -> None:  # fmt: skip
    """A memory that is read in turn, with its address; what is read is held in a register.

    Parameters
    ----------
    further : columns of its words that have another register behind that one
    kept : see `RomCount`
    """
    shape = MemoryShape(width=max(columns.varying, 1), depth=words, clocked=True, written=False, block=block)
    found.roms[name] = rom = RomCount(
        name=name, shape=shape, distinct=columns.distinct, kept=kept,
        behind=columns.varying + (further.varying if further else 0),
        merged=columns.distinct + (further.distinct if further else 0),
    )  # fmt: skip
    if words > 1:
        add_counter(found, rom.block, "rom", words)


def _held(found: Structure, build: StageBuild, latency: int) -> None:
    counts = found.of("activation")
    sums = build.sums * build.stage.carried.bits
    beats = build.group_beats
    counts["held.ff"] += sums + bits_of(beats + 1) + latency - 1
    counts["held"] += sums  # also where they are taken at once
    if beats > 1:
        counts[f"counter/{bits_of(beats + 1)}"] += 1


def _requantise(found: Structure, stage: WindowStage, made: Requantised, build: StageBuild) -> None:
    counts = found.of("activation")
    residual, op, scale = made.residual, made.op, made.scale(build.plan)
    shift = int(op.shifts.min())
    _held(found, build, made.latency(build.plan))
    both, b, rows = kept(stage, ("factors", build.plan.requantisers), lambda: _factor_columns(made, build))
    words = stage.result[0] // build.plan.requantisers
    _rom(found, "factors", words, both, b, kept=b.distinct, block=build.plan.factors == "block")
    units, acc = build.plan.requantisers, stage.total.bits
    places = 1 if stage.kind == "xnor" else 0
    operand = acc + places + (0 if stage.total.signed else 1)
    product = operand + scale.bits
    wide = made.offset.bits + 1
    joined = wide
    counts["m_operand.ff"] += units * acc
    counts["product.ff"] += units * (product - places + _halves(scale, product))
    constant = " constant" if words == 1 else ""
    counts[f"wide{constant}/{min(wide, product + 1)}"] += units
    if scale.how in ("dsp", "halves"):
        found.products.append(
            Product(
                where="requantise", count=units, a=operand - places, b=scale.bits, a_signed=True, b_signed=True,
                rows=rows, halves=scale.how == "halves", constant=words == 1, inputs=acc + both.distinct,
            )
        )  # fmt: skip
    else:
        _soft_product(counts, scale, operand, units)
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
        if scale.how in ("dsp", "halves"):
            found.products.append(
                Product(
                    where="residual", count=units, a=RESIDUAL_MULTIPLIER_BITS, b=r, a_signed=True, b_signed=True,
                    rows=units * int(np.bitwise_or.reduce(op.residual_multipliers & RESIDUAL_MASK)).bit_count(),
                    constant=not made.channelwise,
                )
            )  # fmt: skip
        else:
            _soft_product(counts, scale, r, 2 * units)  # of twice the bits
    left = max(joined - shift, 1)
    if made.bends:
        _second_slope(counts, made, b, acc, units)
    if made.channelwise:
        _own_shifts(counts, made, scale, joined, units)
    # What is shifted out is not kept: neither behind the shift nor of the sum in front of it.
    counts["shifted.ff"] += units * left
    if residual is None:
        counts["wide.ff"] += units * left
    counts["summed"] += units * (left if residual is None else wide)
    add_clamp(counts, stage.y, left, joined, units)
    counts["y.ff"] += units * min(stage.y.bits, left)
    counts["requantisers"] += units


def _halves(scale: Scale, product: int) -> int:
    """Registers of both halves of a product of so many bits, in front of their sum."""
    return product + scale.bits if scale.how == "halves" else 0


def _second_slope(
    counts: MutableMapping[str, int], made: Requantised, b: Columns, acc: int, units: int
) -> None:  # fmt: skip
    """The comparison with the knee and the choice of a side, roughly: no stage like that took part in the fit. One rank
    holds the sum and both sides."""
    counts[f"reached/{acc}"] += units
    counts["reached.ff"] += units
    counts["narrow"] += units * made.factor_bits + b.varying
    counts["m_operand.ff"] += units * (acc + 2 * made.factor_bits) + 2 * b.varying


def _own_shifts(
    counts: MutableMapping[str, int], made: Requantised, scale: Scale, joined: int, units: int
) -> None:  # fmt: skip
    """Shifts that are data, roughly: no stage like that took part in the fit. As many selections in a row as bits of S
    ever change, and S waits for the sum."""
    shifts = made.op.shifts
    changing = int(np.bitwise_or.reduce(shifts) ^ np.bitwise_and.reduce(shifts)).bit_count()
    counts["held"] += units * changing * joined
    counts["m_operand.ff"] += units * changing * (2 + scale.multiplier.latency)


def _soft_product(counts: MutableMapping[str, int], how: Scale, operand: int, units: int) -> None:
    """Products of requantisers without multiplier blocks, roughly: no stage like that took part in the fit."""
    scale = how.multiplier
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


def _threshold(found: Structure, stage: WindowStage, made: Thresholded, build: StageBuild) -> None:
    units, counts = build.plan.requantisers, found.of("activation")
    layout = made.layout(stage.total, units)
    _held(found, build, made.latency(build.plan))
    columns, down = kept(stage, ("levels", units), lambda: _level_columns(layout, made, build))
    _rom(found, "levels", stage.result[0] // units, columns, down, block=build.plan.factors == "block")
    counts["operand.ff"] += units * stage.total.bits
    counts["reached.ff"] += units * layout.count
    counts[f"reached/{stage.total.bits}"] += units * layout.count
    counts["y.ff"] += units * stage.y.bits
    counts["count"] += units * layout.count * stage.y.bits
    counts["thresholders"] += units


def _queue(found: Structure, build: StageBuild) -> None:
    counts, plan = found.of("queue"), build.plan
    beat = build.out_count * build.stage.y.bits
    if not build.handshake:
        found.of("lanes")["tree.ff"] += beat + 1
        return
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
    wide = build.waiting_gather(1) * build.count_of(1) * bits
    if build.waiting_gather(1) > 1:
        counts["gather.ff"] += wide + bits_of(build.waiting_gather(1) + 1)
        counts[f"gather/{bits_of(build.waiting_gather(1) + 1)}"] += 1
    block = in_block_ram(wide, build.plan.residual)
    registered = not block and build.waiting_split(1) == 1
    add_fifo(found, "queue", wide, build.plan.residual, block=block, registered=registered)
    if registered:  # by the operands of the requantisers, which are counted with the memory
        found.of("activation")["r_operand.ff"] -= wide
    if build.waiting_split(1) > 1:
        counts["gather.ff"] += wide + bits_of(build.waiting_split(1) + 1)
        counts["narrow"] += wide
    there = bits_of((build.plan.residual + 2) * build.waiting_split(1) + 1)
    counts["room.ff"] += there
    counts[f"room/{there}"] += 1


def _factor_columns(made: Requantised, build: StageBuild) -> tuple[Columns, Columns, int]:
    """Columns of the memory of factors, columns of B alone, and how many bits of the units' M are ever set."""
    multiplier, offset = factor_values(made, build)
    b, bits = (offset, made.offset), made.factor_bits
    used = np.bitwise_or.reduce(multiplier & ((1 << bits) - 1), axis=0)
    rows = int(np.bitwise_count(used).sum())
    words = [(multiplier, signed_format(bits)), b]
    if made.bends:
        knee, second, lower = second_values(made, build)
        fmt = made.knee(build.stage.carried)
        assert fmt is not None
        words += [(knee, fmt), (second, signed_format(bits)), (lower, made.offset)]
    return columns_of(*words), columns_of(b), rows


def _level_columns(layout: Levels, made: Thresholded, build: StageBuild) -> tuple[Columns, Columns]:
    """Columns of the memory of thresholds, levels and directions together, and columns of the directions alone."""
    levels, falling = level_values(made, build)
    down = (falling, Format(bits=1, signed=False))
    return columns_of((levels.reshape(len(levels), -1), layout.level), down), columns_of(down)
