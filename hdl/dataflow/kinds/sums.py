"""What layers and pools have in common: a window, and an activation that makes features of their sums."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ....quant.formats import Format
from ....quant.ops.base import Ints
from ....quant.ops.window import Pair, Sides, Window, pair, sides
from ...maps.window_shape import WindowShape, ring_rows
from ...memory.image import Image
from ..layout import activation_images, activation_values
from ..plan import StagePlan
from .activation import Activation, Requantised
from .build import StageBuild
from .rhythm import Rhythm
from .ring import RingRhythm
from .stage import Stage

__all__ = ["WindowStage"]


@dataclass(frozen=True, kw_only=True, eq=False)
class WindowStage(Stage):
    """A window, what computes behind it, and units that make features of its sums.

    Attributes
    ----------
    stride, padding, dilation : of the window, as operations have them
    pad : (C,), what is read outside the map
    total : format of what leaves the array
    activation : what makes features of it; None where it leaves as it is
    """

    stride: Pair
    padding: Sides
    pad: Ints
    total: Format
    activation: Activation | None
    dilation: Pair = 1

    @property
    def view(self) -> Window:
        """What slides over the map."""
        return Window(
            kernel=self.window, strides=pair(self.stride), pads=sides(self.padding), dilations=pair(self.dilation)
        )

    @property
    def aspects(self) -> dict[str, Any]:
        """The aspects of every stage; stride, padding and dilation of the window; those of the activation."""
        own: dict[str, Any] = {"stride": self.stride, "padding": self.padding}
        if self.dilation != 1:
            own["dilation"] = self.dilation
        return super().aspects | own | ({} if self.activation is None else self.activation.aspects)

    @property
    def geometry(self) -> tuple[Any, ...]:
        """The geometry of every stage; stride and dilation of the window, on which the ring of rows depends."""
        return *super().geometry, self.stride, self.dilation

    @property
    def carried(self) -> Format:
        """Format of the sums, on which the units behind the array work."""
        return self.total

    @property
    def received_bits(self) -> int:
        """Bits of the features that it reads per image, those of the residual included."""
        joined = 0 if self.residual is None else int(np.prod(self.result)) * self.residual.bits
        return super().received_bits + joined

    def port_bits(self, plan: StagePlan) -> int:
        """Bits of the features that it can take in a cycle, those of the residual included."""
        joined = 0 if self.residual is None else self.takes(1, plan) * self.residual.bits
        return super().port_bits(plan) + joined

    @property
    def multiplies(self) -> bool:
        """Whether the stage requantises, so that a Plan chooses how its units multiply."""
        return isinstance(self.activation, Requantised)

    @property
    def unit_cost(self) -> int:
        """Lookup tables per bit of a sum of one unit of its activation; 0 where sums leave as they are."""
        return 0 if self.activation is None else self.activation.unit_cost

    @property
    def shared_shift(self) -> int | None:
        """The shift S of its requantise where all channels share one; else None."""
        return None if self.activation is None else self.activation.shared_shift

    @property
    def inlets(self) -> tuple[str, ...]:
        """The map and, where there is one, the residual."""
        return ("i",) if self.residual is None else ("i", "r")

    @property
    def residual(self) -> Format | None:
        """Format of the residual that its requantise adds; None without."""
        return None if self.activation is None else self.activation.residual

    @property
    def probe(self) -> tuple[tuple[str, ...], str]:
        """Nets of the window: a group begins; nothing behind holds the next one up. See `Stage.probe`."""
        return ("window.begin_",), "window.go"  # begin is a reserved word

    def read_format(self, port: int) -> Format:
        """Format of one of its input streams: of the map at port 0, of the residual at port 1."""
        return self.x if self.residual is None or not port else self.residual

    @abstractmethod
    def chunks(self, plan: StagePlan) -> int:
        """Steps in which a tap is read."""

    def drafted(self, plan: StagePlan) -> StagePlan:
        """``plan`` with as few requantise units as keep up with the array, and with rows for the window."""
        row = self.window[1] // plan.taps * self.chunks(plan)
        steps = self.window[0] // plan.lines * row
        sums = self.sums(plan)
        units = next(u for u in range(1, sums + 1) if sums % u == 0 and sums // u <= steps)
        view = self.view
        row_cycles = view.padded(self.source[1:])[1] * (self.source[0] // (plan.simd * plan.blocks))
        unit = plan.lines * view.dilations[0] if plan.lines > 1 else 1
        return replace(
            plan, requantisers=units, rows=ring_rows(view.extent[0], view.strides[0], row_cycles, unit),
            residual=0 if self.residual is None else 1,
            scale="pow2" if self.activation is not None and self.activation.terms else "dsp",
        )  # fmt: skip

    @abstractmethod
    def segments(self, plan: StagePlan) -> int:
        """Parts of the channels of which a group reads only its own."""

    def shape(self, plan: StagePlan) -> WindowShape:
        """The window."""
        channels, height, width = self.source
        return WindowShape(
            channels=channels, height=height, width=width, kernel=self.window, stride=self.stride,
            padding=self.padding, dilation=self.dilation, bits=self.x.bits,
            simd=plan.simd * plan.blocks, taps=plan.taps, lines=plan.lines,
            groups=self.result[0] // self.sums(plan), segments=self.segments(plan), rows=plan.rows,
        )  # fmt: skip

    def out_count(self, plan: StagePlan) -> int:
        """What the units give at once, where there are units."""
        return plan.simd if self.activation is None else plan.requantisers

    def group_beats(self, plan: StagePlan) -> int:
        """All sums, one set of units after the other."""
        return self.sums(plan) // self.out_count(plan)

    def units(self, plan: StagePlan) -> int:
        """Requantisers or thresholders, as many as ``plan`` says; 0 where sums leave as they are."""
        return 0 if self.activation is None else plan.requantisers

    def rom_words(self, plan: StagePlan) -> dict[str, int]:
        """A word of factors, or of thresholds, for each beat of a pixel; none where sums leave as they are."""
        return {} if self.activation is None else {"factors": self.result[0] // plan.requantisers}

    def unit_latency(self, plan: StagePlan) -> int:
        """Cycles from a sum to its feature in a unit of the activation; 0 where sums leave as they are."""
        return 0 if self.activation is None else self.activation.latency(plan)

    def check_scale(self, how: str) -> None:
        """Few powers of two for ``pow2``."""
        if not isinstance(self.activation, Requantised):
            super().check_scale(how)
        elif how == "pow2" and not self.activation.terms:
            raise ValueError(
                f"scale pow2 of {self.name!r} needs factors of few powers of two; quantise with --terms for that"
            )

    def check_clamps(self, clamps: bool) -> None:
        """Ends of its own only where they are data."""
        if not isinstance(made := self.activation, Requantised):
            super().check_clamps(clamps)
        elif not clamps and made.clamps:
            op = made.op
            raise ValueError(f"clamps of {self.name!r} must be true: it clamps to {op.lo}..{op.hi}, not to {op.format}")

    def rhythm(self, build: StageBuild) -> Rhythm:
        """When groups begin: as the window's ring of rows allows."""
        return RingRhythm(build, self.shape(build.plan))

    def images(self, build: StageBuild, prefix: str) -> dict[str, Image]:
        """The memories of its activation, with factors or thresholds; none where sums leave as they are."""
        return activation_images(self.activation, build, prefix)

    def held(self, build: StageBuild, images: Mapping[str, Image]) -> dict[str, dict[str, Any]]:
        """Fields of its activation."""
        if self.activation is None:
            return {}
        return {self.activation.op.name: activation_values(self.activation, build, images)}
