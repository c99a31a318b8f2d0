"""What stands in the memories of a stage, word by word. The only place that knows the order of weights in hardware."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..quant.formats import Format
from .memory import Image
from .plan import StageBuild
from .requantise import Constants, Factors

__all__ = ["StageImages", "stage_images"]


@dataclass(frozen=True, kw_only=True)
class StageImages:
    """Memory contents of one stage; None where the stage has no such memory.

    Attributes
    ----------
    weights : a word per step of a pixel: groups, window rows, taps, channels, the last fastest
    factors : M and B, a word per output beat of a pixel
    constants : S, lo and hi
    pad : a word per beat of a padding pixel
    fixed : S is built into the RTL
    """

    weights: Image | None
    factors: Image | None
    constants: Image | None
    pad: Image | None
    fixed: bool

    def all(self) -> tuple[Image, ...]:
        """Those that exist."""
        return tuple(i for i in (self.weights, self.factors, self.constants, self.pad) if i is not None)


def stage_images(build: StageBuild, *, fixed: bool, prefix: str = "addax") -> StageImages:
    """The memory contents of ``build``. Names begin with ``prefix``, so that two accelerators can share a folder."""
    stage = build.stage
    weights = factors = constants = pad = None
    if stage.weight is not None and stage.weight_format is not None:
        weights = Image(
            name=f"{prefix}_{stage.name}_weights",
            width=build.lanes * stage.weight_format.bits,
            words=_weight_words(build, stage.weight, stage.weight_format),
        )
        if stage.padding:
            rows = stage.pad.reshape(-1, build.plan.simd)
            pad = Image(
                name=f"{prefix}_{stage.name}_pad",
                width=build.plan.simd * stage.x.bits,
                words=tuple(_pack(row, stage.x) for row in rows),
            )
    if stage.requantise is not None and stage.offset is not None:
        op = stage.requantise
        # The array of an adder kernel gives the sum of |x - w|, which is minus the accumulator of the Program.
        multiplier = -op.multiplier if stage.kind == "adder" else op.multiplier
        layout = Factors(offset=stage.offset, units=build.plan.requantisers)
        beats = zip(
            multiplier.reshape(-1, layout.units).tolist(), op.offset.reshape(-1, layout.units).tolist(), strict=True
        )
        factors = Image(
            name=f"{prefix}_{stage.name}_factors",
            width=layout.width,
            words=tuple(layout.pack(ms, bs) for ms, bs in beats),
        )
        shared = Constants(result=stage.y)
        constants = Image(
            name=f"{prefix}_{stage.name}_constants", width=shared.width, words=(shared.pack(op.shift, op.lo, op.hi),)
        )
    return StageImages(weights=weights, factors=factors, constants=constants, pad=pad, fixed=fixed)


def _weight_words(build: StageBuild, weight: NDArray[np.int64], fmt: Format) -> tuple[int, ...]:
    """(O, I, Kh, Kw) to one word per (group, ky, tap step, channel step) of (pe, tap, channel) lanes."""
    outputs, inputs, kh, kw = weight.shape
    pe, simd, taps = build.plan.pe, build.plan.simd, build.plan.taps
    split = weight.reshape(outputs // pe, pe, inputs // simd, simd, kh, kw // taps, taps)
    # to (group, ky, tap step, channel step, pe, tap, channel)
    ordered = split.transpose(0, 4, 5, 2, 1, 6, 3).reshape(-1, pe * taps * simd)
    return tuple(_pack(word, fmt) for word in ordered)


def _pack(values: NDArray[np.int64], fmt: Format) -> int:
    word = 0
    for value in reversed(values.tolist()):
        word = word << fmt.bits | fmt.encode(value)
    return word
