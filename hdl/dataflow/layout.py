"""What stands in the memories of a stage, word by word, and back: the only place that knows the order of weights in
hardware."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...quant.formats import Format
from ..activation.requantise import Constants, FactorLayout
from ..activation.threshold import Levels
from ..memory.image import Image
from .kinds.activation import Activation, Requantised, Thresholded
from .kinds.build import StageBuild

if TYPE_CHECKING:  # these say what stands in their memories by what is here
    from .kinds.layer import LayerStage

__all__ = [
    "activation_images", "activation_values", "factor_values", "level_values", "pad_image", "pad_values",
    "second_values", "weight_image", "weight_lanes", "weight_values",
]  # fmt: skip

_LANES = (0, 5, 7, 3, 1, 2, 6, 8, 4)
"""From (O / sums, block, pe, I / simd, simd, line step, line, tap step, tap) to words of (group, line step, tap step,
channel step), each of (block, pe, line, tap, channel) lanes."""


def pad_image(build: StageBuild, pad: NDArray[np.int64], prefix: str) -> Image:
    """What is read outside the map, (C,): a word per beat of a pixel."""
    x = build.stage.x
    rows = pad.reshape(-1, build.x_count)
    return Image(name=f"{prefix}pad", width=build.x_count * x.bits, words=tuple(_pack(row, x) for row in rows))


def pad_values(build: StageBuild, image: Image) -> NDArray[np.int64]:
    """The inverse of `pad_image`."""
    return _unpacked(image.words, build.stage.x, build.x_count).reshape(-1)


def weight_image(stage: "LayerStage", build: StageBuild, prefix: str) -> Image:
    """A word per step of a pixel: groups, window rows, taps, channels, the last fastest."""
    fmt = stage.weight_format
    words = tuple(_pack(word, fmt) for word in weight_lanes(stage, build))
    return Image(name=f"{prefix}weights", width=build.lanes * fmt.bits, words=words)


def activation_images(made: Activation | None, build: StageBuild, prefix: str) -> dict[str, Image]:
    """Memories of what makes features of sums.

    ``factors``: M and B, a word per output beat of a pixel, S and R as well where channels have their own, T0, N and D
    where there is a second slope;
    ``constants``: lo, hi, and S and R where all channels share them; or ``levels``: thresholds and directions, a word
    per output beat of a pixel.
    """
    if isinstance(made, Thresholded):
        levels = _levels(made, build)
        thresholds, falling = level_values(made, build)
        words = [levels.pack(own.tolist(), down.tolist()) for own, down in zip(thresholds, falling, strict=True)]
        return {"levels": Image(name=f"{prefix}levels", width=levels.width, words=tuple(words))}
    if made is None:
        return {}
    op = made.op
    layout = _factors(made, build)
    values = [*factor_values(made, build), *_own_values(made, build)]
    if made.bends:
        values.append(np.stack(second_values(made, build), 1))
    beats = zip(*(part.tolist() for part in values), strict=True)
    factors = Image(name=f"{prefix}factors", width=layout.width, words=tuple(layout.pack(*beat) for beat in beats))
    shared = _constants(made, build)
    word = shared.pack(int(op.shifts[0]), op.lo, op.hi, int(op.residual_multipliers[0]))
    return {"factors": factors, "constants": Image(name=f"{prefix}constants", width=shared.width, words=(word,))}


def factor_values(made: Requantised, build: StageBuild) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """M and B of a requantise in the array's terms, both (words, units)."""
    op = made.op
    return _affine(build, *((op.seconds, op.second_offsets) if _turned(build) else (op.multiplier, op.offset)))


def second_values(
    made: Requantised, build: StageBuild
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """T0, N and D of a requantise in the array's terms, all (words, units): what holds below the knee there.

    The array of an adder kernel gives ``s = -acc``: there ``acc >= T0`` is ``s < 1 - T0``, so both sides change places.
    """
    op = made.op
    knees, _ = _in_array_terms(build, op.knees[:, None], np.zeros(len(op.knees), np.int64))
    lower = (op.multiplier, op.offset) if _turned(build) else (op.seconds, op.second_offsets)
    return knees.reshape(-1, build.plan.requantisers), *_affine(build, *lower)


def _turned(build: StageBuild) -> bool:
    """Whether the array gives sums that fall where those of the Program rise."""
    return _array_sign(build.stage.kind) < 0


def _affine(
    build: StageBuild, factor: NDArray[np.int64], offset: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """A factor and an offset in the array's terms, both (words, units)."""
    units = build.plan.requantisers
    own = offset - _taps(build) * factor
    return (_array_sign(build.stage.kind) * factor).reshape(-1, units), own.reshape(-1, units)


def _own_values(made: Requantised, build: StageBuild) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """S and R of a requantise, both (words, units)."""
    op, units = made.op, build.plan.requantisers
    return op.shifts.reshape(-1, units), op.residual_multipliers.reshape(-1, units)


def level_values(made: Thresholded, build: StageBuild) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Thresholds in the array's terms, (words, units, levels), and whether they are falling, (words, units)."""
    op, units = made.op, build.plan.requantisers
    thresholds, falling = _in_array_terms(build, op.thresholds, op.falling)
    return thresholds.reshape(-1, units, made.levels), falling.reshape(-1, units)


def activation_values(made: Activation, build: StageBuild, images: Mapping[str, Image]) -> dict[str, Any]:
    """The inverse of `activation_images`: M, B, S, lo, hi and R of a requantise, or thresholds and directions, by the
    names of the fields of the operation."""
    if isinstance(made, Thresholded):
        levels = _levels(made, build)
        found = [levels.unpack(word) for word in images["levels"].words]
        thresholds = np.array([own for word, _ in found for own in word], np.int64)
        falling = np.array([down for _, word in found for down in word], np.int64)
        thresholds, falling = _in_program_terms(build, thresholds, falling)
        return {"thresholds": thresholds, "falling": falling}
    layout = _factors(made, build)
    beats = [layout.unpack(word) for word in images["factors"].words]
    multiplier, offset, own_shift, own_factor = (
        np.array([beat[k] for beat in beats], np.int64).reshape(-1) for k in range(4)
    )
    multiplier = _array_sign(build.stage.kind) * multiplier
    values: dict[str, Any] = {"multiplier": multiplier, "offset": offset + _taps(build) * multiplier}
    if made.bends:
        values = _with_second(made, build, values, [layout.unpack_second(word) for word in images["factors"].words])
    shift, lo, hi, factor = _constants(made, build).unpack(images["constants"].words[0])
    values |= {"lo": lo, "hi": hi}
    if made.channelwise:
        return values | {"shift": own_shift, "residual_multiplier": own_factor}
    return values | {"shift": shift} | ({} if made.residual is None else {"residual_multiplier": factor})


def _with_second(
    made: Requantised, build: StageBuild, first: dict[str, Any], words: Sequence[Sequence[Sequence[int]]]
) -> dict[str, Any]:
    """``first``, M and B of what an array calls above its knee, and T0, N and D, in the terms of the Program."""
    knee, second, offset = (np.array([word[k] for word in words], np.int64).reshape(-1) for k in range(3))
    second = _array_sign(build.stage.kind) * second
    below = {"multiplier": second, "offset": offset + _taps(build) * second}
    above, below = (below, first) if _turned(build) else (first, below)
    own = _in_program_terms(build, knee[:, None], np.zeros(len(knee), np.int64))[0][:, 0]
    # Of two knees with one meaning for a binary kernel, that which a Program can always have.
    own = own - (build.stage.kind == "xnor") * (own != made.op.knees)
    return {**above, "second": below["multiplier"], "second_offset": below["offset"], "knee": own}


def _levels(made: Thresholded, build: StageBuild) -> Levels:
    return made.layout(build.stage.carried, build.plan.requantisers)


def _factors(made: Requantised, build: StageBuild) -> FactorLayout:
    own, scale = made.channelwise, made.scale(build.plan)
    return FactorLayout(
        offset=made.offset, units=build.plan.requantisers, scale=scale, shift=made.shift_format if own else None,
        residual=scale.residual if own and made.residual is not None else None, knee=made.knee(build.stage.carried),
    )  # fmt: skip


def _constants(made: Requantised, build: StageBuild) -> Constants:
    shared = not made.channelwise
    return Constants(
        result=build.stage.y,
        residual=made.scale(build.plan).residual if shared and made.residual is not None else None,
        shift=made.shift_field(build.plan) if shared else None,
    )


def _taps(build: StageBuild) -> int:
    """K where the array counts equal pairs instead of adding signs (``acc = 2 * count - K``), else 0."""
    return build.window.steps * build.lanes // build.sums if build.stage.kind == "xnor" else 0


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
    total = build.stage.carried
    return thresholds.clip(total.lo, total.hi + 1), falling


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


def weight_lanes(stage: "LayerStage", build: StageBuild) -> NDArray[np.int64]:
    """(words, lanes): the weights in the order in which they are read."""
    weight = stage.weight
    return weight.reshape(_split(build, weight.shape)).transpose(_LANES).reshape(-1, build.lanes)


def weight_values(stage: "LayerStage", build: StageBuild, words: Sequence[int]) -> NDArray[np.int64]:
    """The inverse of `weight_image`: the weights of the stage that stand in ``words``, (O, I / groups, Kh, Kw)."""
    shape = stage.weight.shape
    split = _split(build, shape)
    ordered = _unpacked(words, stage.weight_format, build.lanes).reshape([split[axis] for axis in _LANES])
    return ordered.transpose(np.argsort(_LANES)).reshape(shape)


def _pack(values: NDArray[np.int64], fmt: Format) -> int:
    word = 0
    for value in reversed(values.tolist()):
        word = word << fmt.bits | fmt.encode(value)
    return word


def _unpacked(words: Sequence[int], fmt: Format, count: int) -> NDArray[np.int64]:
    """(words, count)."""
    mask = (1 << fmt.bits) - 1
    return np.array([[fmt.decode(word >> (k * fmt.bits) & mask) for k in range(count)] for word in words], np.int64)
