"""What stands in the memories of a stage, word by word, and back: the only place that knows the order of weights in
hardware."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...quant.formats import Format
from ..activation.requantise import Constants, Factors
from ..maps.move import MoveShape
from ..memory.image import Image
from .build import StageBuild

__all__ = [
    "StageImages", "StageTensors", "factor_values", "level_values", "stage_images", "stage_tensors", "weight_lanes",
]  # fmt: skip

_LANES = (0, 5, 7, 3, 1, 2, 6, 8, 4)
"""From (O / sums, block, pe, I / simd, simd, line step, line, tap step, tap) to words of (group, line step, tap step,
channel step), each of (block, pe, line, tap, channel) lanes."""


@dataclass(frozen=True, kw_only=True)
class StageImages:
    """Memory contents of one stage; None where the stage has no such memory.

    Attributes
    ----------
    weights : a word per step of a pixel: groups, window rows, taps, channels, the last fastest
    factors : M and B, a word per output beat of a pixel; S and R as well where channels have their own
    constants : lo, hi, and S and R where all channels share them
    levels : thresholds and directions, a word per output beat of a pixel
    pad : a word per beat of a padding pixel, or of what a spatial shift brings in from outside the map
    fixed : S is built into the RTL
    """

    weights: Image | None
    factors: Image | None
    constants: Image | None
    levels: Image | None
    pad: Image | None
    fixed: bool

    MEMORIES = ("weights", "factors", "constants", "levels", "pad")

    def all(self) -> tuple[Image, ...]:
        """Those that exist."""
        return tuple(i for name in self.MEMORIES if (i := getattr(self, name)) is not None)


def stage_images(build: StageBuild, *, fixed: bool, prefix: str = "addax") -> StageImages:
    """The memory contents of ``build``. Names begin with ``prefix``, so that two accelerators can share a folder."""
    stage = build.stage
    weights = factors = constants = levels = pad = None
    padded = bool(stage.weight is not None and stage.padding) or (
        isinstance(build.window, MoveShape) and build.window.pads
    )
    if padded:
        rows = stage.pad.reshape(-1, build.x_count)
        pad = Image(
            name=f"{prefix}_{stage.name}_pad",
            width=build.x_count * stage.x.bits,
            words=tuple(_pack(row, stage.x) for row in rows),
        )
    if stage.weight is not None and stage.weight_format is not None:
        weights = Image(
            name=f"{prefix}_{stage.name}_weights",
            width=build.lanes * stage.weight_format.bits,
            words=tuple(_pack(word, stage.weight_format) for word in weight_lanes(build)),
        )
    if stage.requantise is not None and stage.offset is not None:
        op = stage.requantise
        layout = _factors(build, stage.offset)
        beats = zip(*(values.tolist() for values in (*factor_values(build), *_own_values(build))), strict=True)
        factors = Image(
            name=f"{prefix}_{stage.name}_factors", width=layout.width, words=tuple(layout.pack(*beat) for beat in beats)
        )  # fmt: skip
        shared = _constants(build)
        word = shared.pack(int(op.shifts[0]), op.lo, op.hi, int(op.residual_multipliers[0]))
        constants = Image(name=f"{prefix}_{stage.name}_constants", width=shared.width, words=(word,))
    if stage.threshold is not None:
        thresholds, falling = level_values(build)
        words = [build.levels.pack(own.tolist(), down.tolist()) for own, down in zip(thresholds, falling, strict=True)]
        levels = Image(name=f"{prefix}_{stage.name}_levels", width=build.levels.width, words=tuple(words))
    return StageImages(weights=weights, factors=factors, constants=constants, levels=levels, pad=pad, fixed=fixed)


def factor_values(build: StageBuild) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """M and B of a requantise in the array's terms, both (words, units)."""
    op = build.stage.requantise
    assert op is not None
    multiplier = _array_sign(build.stage.kind) * op.multiplier
    offset = op.offset - _taps(build) * op.multiplier
    units = build.plan.requantisers
    return multiplier.reshape(-1, units), offset.reshape(-1, units)


def _own_values(build: StageBuild) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """S and R of a requantise, both (words, units)."""
    op, units = build.stage.requantise, build.plan.requantisers
    assert op is not None
    return op.shifts.reshape(-1, units), op.residual_multipliers.reshape(-1, units)


def level_values(build: StageBuild) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Thresholds in the array's terms, (words, units, levels), and whether they are falling, (words, units)."""
    op = build.stage.threshold
    assert op is not None
    units = build.plan.requantisers
    thresholds, falling = _in_array_terms(build, op.thresholds, op.falling)
    return thresholds.reshape(-1, units, build.stage.levels), falling.reshape(-1, units)


@dataclass(frozen=True, kw_only=True, eq=False)
class StageTensors:
    """What the memories of a stage hold, in the terms of the Program; None where the stage has no such memory.

    Attributes
    ----------
    weight : (O, I, Kh, Kw)
    pad : (I,)
    activation : M, B, S, lo, hi and R of a requantise, or thresholds and directions, by the names of the fields of the
        operation
    """

    weight: NDArray[np.int64] | None
    pad: NDArray[np.int64] | None
    activation: dict[str, Any]


def stage_tensors(build: StageBuild, images: StageImages) -> StageTensors:
    """What ``images``, of the memories of ``build``, hold: the inverse of `stage_images`."""
    stage = build.stage
    weight = pad = None
    activation: dict[str, Any] = {}
    if images.weights is not None and stage.weight_format is not None:
        weight = _weight_of(build, images.weights.words, stage.weight_format)
    if images.pad is not None:
        pad = _unpacked(images.pad.words, stage.x, build.x_count).reshape(-1)
    if images.factors is not None and stage.offset is not None:
        layout = _factors(build, stage.offset)
        beats = [layout.unpack(word) for word in images.factors.words]
        multiplier, offset, own_shift, own_factor = (
            np.array([beat[k] for beat in beats], np.int64).reshape(-1) for k in range(4)
        )
        multiplier = _array_sign(stage.kind) * multiplier
        activation = {"multiplier": multiplier, "offset": offset + _taps(build) * multiplier}
        if stage.channelwise:
            activation |= {"shift": own_shift, "residual_multiplier": own_factor}
    if images.constants is not None:
        shift, lo, hi, factor = _constants(build).unpack(images.constants.words[0])
        activation |= {"lo": lo, "hi": hi}
        if not stage.channelwise:
            activation["shift"] = shift
            if stage.residual is not None:
                activation["residual_multiplier"] = factor
    if images.levels is not None:
        found = [build.levels.unpack(word) for word in images.levels.words]
        thresholds = np.array([own for word, _ in found for own in word], np.int64)
        falling = np.array([down for _, word in found for down in word], np.int64)
        thresholds, falling = _in_program_terms(build, thresholds, falling)
        activation = {"thresholds": thresholds, "falling": falling}
    return StageTensors(weight=weight, pad=pad, activation=activation)


def _factors(build: StageBuild, offset: Format) -> Factors:
    stage, own = build.stage, build.stage.channelwise
    return Factors(
        offset=offset, units=build.plan.requantisers, scale=build.scale, shift=stage.shift_format if own else None,
        residual=build.scale.residual if own and stage.residual is not None else None,
    )  # fmt: skip


def _constants(build: StageBuild) -> Constants:
    stage, shared = build.stage, not build.stage.channelwise
    return Constants(
        result=stage.y, residual=build.scale.residual if shared and stage.residual is not None else None,
        shift=stage.shift_format if shared else None,
    )  # fmt: skip


def _taps(build: StageBuild) -> int:
    """K where the array counts equal pairs instead of adding signs (``acc = 2 * count - K``), else 0."""
    return build.window.steps * build.array.pin if build.stage.kind == "xnor" else 0


def _in_array_terms(
    build: StageBuild, thresholds: NDArray[np.int64], falling: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Thresholds for the sums that the array gives.

    ``2 * count - K >= T`` is ``count >= ceil((T + K) / 2)``. The array of an adder kernel gives ``s = -acc``, and
    ``acc >= T`` is ``not s >= 1 - T``: thresholds change their order and their direction.
    """
    if build.stage.kind == "xnor":
        thresholds = (thresholds + _taps(build) + 1) // 2
    elif build.stage.kind == "adder":
        thresholds, falling = (1 - thresholds)[:, ::-1], 1 - falling
    # What no sum of these widths can reach, or all reach, is said by the ends.
    return thresholds.clip(build.stage.total.lo, build.stage.total.hi + 1), falling


def _in_program_terms(
    build: StageBuild, thresholds: NDArray[np.int64], falling: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The inverse; of two thresholds with one meaning for a binary kernel, whose sums are all even or all odd, that
    which a sum can have."""
    if build.stage.kind == "xnor":
        return 2 * thresholds - _taps(build), falling
    if build.stage.kind == "adder":
        return (1 - thresholds)[:, ::-1], 1 - falling
    return thresholds, falling


def _array_sign(kind: str) -> int:
    """The array of an adder kernel gives the sum of |x - w|, which is minus the accumulator of the Program."""
    return -1 if kind == "adder" else 1


def _split(build: StageBuild, shape: tuple[int, ...]) -> tuple[int, ...]:
    """(O, I, Kh, Kw) as what `_LANES` permutes."""
    outputs, inputs, kh, kw = shape
    plan = build.plan
    return (
        outputs // build.sums, plan.blocks, plan.pe, inputs // plan.simd, plan.simd,
        kh // plan.lines, plan.lines, kw // plan.taps, plan.taps,
    )  # fmt: skip


def weight_lanes(build: StageBuild) -> NDArray[np.int64]:
    """(words, lanes): the weights in the order in which they are read."""
    weight = build.stage.weight
    assert weight is not None
    return weight.reshape(_split(build, weight.shape)).transpose(_LANES).reshape(-1, build.lanes)


def _weight_of(build: StageBuild, words: tuple[int, ...], fmt: Format) -> NDArray[np.int64]:
    assert build.stage.weight is not None
    shape = build.stage.weight.shape
    split = _split(build, shape)
    ordered = _unpacked(words, fmt, build.lanes).reshape([split[axis] for axis in _LANES])
    return ordered.transpose(np.argsort(_LANES)).reshape(shape)


def _pack(values: NDArray[np.int64], fmt: Format) -> int:
    word = 0
    for value in reversed(values.tolist()):
        word = word << fmt.bits | fmt.encode(value)
    return word


def _unpacked(words: tuple[int, ...], fmt: Format, count: int) -> NDArray[np.int64]:
    """(words, count)."""
    mask = (1 << fmt.bits) - 1
    return np.array([[fmt.decode(word >> (k * fmt.bits) & mask) for k in range(count)] for word in words], np.int64)
