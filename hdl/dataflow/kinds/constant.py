"""Layers whose weights are part of the circuit: where they are fixed and everything is computed at once."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from amaranth.hdl import Module, Value
from amaranth.lib import wiring

from ....quant.ops.convolution import word_values
from ...constant.array import ConstantArray
from ...constant.circuit import ConstantLayer, Levelled, Scaled
from ...maps.direct import DirectWindow
from ...maps.window import WindowBuffer
from ...streams.delay import later
from ..plan import StagePlan
from .activation import Requantised, Thresholded
from .rhythm import Cycles, Rhythm, spaced
from .window_component import WindowComponent

if TYPE_CHECKING:
    from .layer import LayerStage

__all__ = ["DEFAULT_REACH", "ConstantComponent", "DirectRhythm", "constant_layer", "no_constants", "reach_at"]

DEFAULT_REACH = 3
"""Levels between two ranks of registers where no clock is known."""
LEVEL_NS = 1.8
"""What a level takes, an addition of a dozen bits and the way to the next, where the device is not known."""
REGISTER_NS = 0.8
"""What leaving a register and entering the next takes."""
MOST_WEIGHTS = 8192
"""Weights of a layer up to which its circuit is sought."""


def reach_at(clock_mhz: float, level_ns: float | None = None) -> int:
    """Levels of sums between two ranks of registers that a clock allows, at least one.

    Parameters
    ----------
    level_ns : what a level takes; None where the device is not known
    """
    return max(1, int((1e3 / clock_mhz - REGISTER_NS) / (LEVEL_NS if level_ns is None else level_ns)))


def no_constants(stage: "LayerStage", plan: StagePlan) -> str:
    """Why a layer under ``plan`` is no circuit of constants; empty where it can be one."""
    made = stage.activation
    if not stage.fixed:
        return "its weights are not fixed"
    if stage.groups > 1 or any(words > 1 for words in stage.rom_words(plan).values()):
        return "not all of it is computed at once"
    if stage.weight.size > MOST_WEIGHTS:
        return f"it has {stage.weight.size} weights, more than {MOST_WEIGHTS}"
    if isinstance(made, Requantised) and (made.residual is not None or made.bends or made.even):
        what = "adds a residual" if made.residual is not None else "has two slopes" if made.bends else "rounds to even"
        return f"its requantise {what}"
    return ""


def constant_layer(stage: "LayerStage") -> ConstantLayer:
    """What the circuit of a layer computes, its features in the order in which a window gives them."""
    values = word_values(stage.kind, stage.weight, stage.weight_format)
    rows = values.transpose(0, 2, 3, 1).reshape(len(values), -1)
    match stage.activation:
        case Requantised(op=op):
            made: Scaled | Levelled = Scaled(
                multipliers=tuple(op.multiplier.tolist()), offsets=tuple(op.offset.tolist()),
                shifts=tuple(op.shifts.tolist()), lo=op.lo, hi=op.hi,
            )  # fmt: skip
        case Thresholded(op=levels):
            made = Levelled(
                thresholds=tuple(map(tuple, levels.thresholds.tolist())),
                falling=tuple(bool(down) for down in levels.falling),
            )
        case _:
            raise ValueError(f"layer {stage.name!r} has nothing behind its sums")
    return ConstantLayer(
        kernel=stage.kind, x=stage.x, y=stage.y, weights=tuple(map(tuple, rows.tolist())), activation=made
    )


class DirectRhythm(Rhythm):
    """A group for each beat, in the cycle in which it comes."""

    def taken(self, arrivals: Cycles) -> Cycles:
        """When beats are taken: as they come."""
        return arrivals

    def begins(self, came: Sequence[Cycles]) -> Cycles:
        """When groups begin."""
        return spaced(came[0], 1)

    def due(self, port: int, begins: Cycles, count: int) -> Cycles:
        """Until when beats must be taken."""
        return begins


class ConstantComponent(WindowComponent["LayerStage"]):
    """A layer in hardware whose circuit holds its weights and what makes features of its sums.

    Without handshake its results leave through a rank of registers, in the cycle in which they would leave a queue.
    """

    def elaborate(self, platform: Any) -> Module:
        if self.build.handshake:
            return super().elaborate(platform)
        m = Module()
        m.submodules.window = window = self.buffer()
        wiring.connect(m, wiring.flipped(self.i), window.i)
        results, done = self.array(m, window)
        m.d.comb += [
            window.go.eq(1),
            self.o.payload.as_value().eq(later(m, results, name="results", resets=False)),
            self.o.valid.eq(later(m, done, name="done")),
        ]
        return m

    def outside(self, m: Module, window: WindowBuffer) -> Value | int:
        """Zeros: they are not read."""
        return 0

    def buffer(self) -> Any:
        """A window of one pixel where it is one: nothing has to be kept."""
        shape = self.stage.direct_shape()
        return super().buffer() if shape is None else DirectWindow(shape)

    def array(self, m: Module, window: WindowBuffer) -> tuple[Value, Value]:
        """The results themselves."""
        build = self.build
        m.submodules.array = array = ConstantArray(
            self.stage.circuit(build.plan, build.fabric), reach=build.plan.reach, fabric=build.fabric
        )  # fmt: skip
        m.d.comb += [array.x.eq(window.x), array.valid.eq(window.valid)]
        return array.y, array.done

    def _activation(self, m: Module) -> None:
        return None
