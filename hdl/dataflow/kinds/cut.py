"""Stages that drop channels, rows or columns."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from amaranth.hdl import Module
from amaranth.lib import wiring

from ...bus.service import StageService
from ...maps.cut import SLICE, Cut, CutShape, cut_folds
from ..plan import StagePlan
from .build import StageBuild
from .component import StageComponent
from .images import StageImages
from .rhythm import NEVER, Cycles, Rhythm, spaced, spaced_before
from .stage import Stage

__all__ = ["CutStage"]


@dataclass(frozen=True, kw_only=True, eq=False)
class CutStage(Stage):
    """A slice along one axis.

    Attributes
    ----------
    axis : one of `quant.ops.move.AXES`
    kept : places along it that pass
    """

    called = "slice"
    kind: str = SLICE
    axis: str
    kept: range

    @property
    def aspects(self) -> dict[str, Any]:
        """The aspects of every stage; the axis of the slice, and the places along it that pass."""
        return super().aspects | {"slice": (self.axis, self.kept.start, self.kept.stop, self.kept.step)}

    @property
    def geometry(self) -> tuple[Any, ...]:
        """The geometry of every stage; the axis of the slice and which places pass, since folds depend on them."""
        return *super().geometry, self.axis, self.kept

    @property
    def probe(self) -> tuple[tuple[str, ...], str]:
        """A beat that passes."""
        return ("cut.o__valid", "cut.o__ready"), "cut.o__ready"

    def folds(self) -> list[dict[str, int]]:
        """One fold for each number of channels that can be read at once, see `cut_folds`."""
        return [{"simd": simd} for simd in cut_folds(self.axis, self.source[0], self.kept)]

    def shape(self, plan: StagePlan) -> CutShape:
        """What passes."""
        channels, height, width = self.source
        return CutShape(
            axis=self.axis, kept=self.kept, channels=channels, height=height, width=width, bits=self.x.bits,
            simd=plan.simd,
        )  # fmt: skip

    def out_count(self, plan: StagePlan) -> int:
        """Elements that leave at once: those of a beat that pass."""
        return len(self.shape(plan).within)

    def burst(self, plan: StagePlan) -> int:
        """Beats by which those that passed are at most ahead of or behind their average, which a queue must make up
        for."""
        return self.shape(plan).burst

    def sums(self, plan: StagePlan) -> int:
        """Elements of a group: as many as leave at once."""
        return self.out_count(plan)

    def rhythm(self, build: StageBuild) -> "CutRhythm":
        """Beat after beat."""
        return CutRhythm(build, self.shape(build.plan))

    def component(
        self, build: StageBuild, images: StageImages, *, prefix: str | None, service: StageService | None = None
    ) -> "CutComponent":
        """What drops beats, and a queue."""
        return CutComponent(self, build, images, prefix=prefix, service=service)


class CutRhythm(Rhythm):
    """Beats pass, or are dropped, as they come."""

    def __init__(self, build: StageBuild, shape: CutShape):
        super().__init__(build)
        self.shape = shape

    def taken(self, arrivals: Cycles) -> Cycles:
        """One each cycle."""
        return spaced(arrivals, 1)

    def begins(self, came: Sequence[Cycles]) -> Cycles:
        """When those come that pass."""
        return np.asarray(came[0].reshape(-1, self.shape.write_cycles)[:, self.shape.passes].reshape(-1))

    def due(self, port: int, begins: Cycles, count: int) -> Cycles:
        """When those pass that do; the others before them, or whenever."""
        due = np.full((count // self.shape.write_cycles, self.shape.write_cycles), NEVER, np.int64)
        due[:, self.shape.passes] = begins.reshape(len(due), -1)
        return spaced_before(due.reshape(-1), 1)


class CutComponent(StageComponent[CutStage]):
    """A slice in hardware, and the queue behind it."""

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        _, entry = self.outlet(m)
        m.submodules.cut = cut = Cut(self.stage.shape(self.build.plan))
        wiring.connect(m, wiring.flipped(self.i), cut.i)
        wiring.connect(m, cut.o, entry)
        self.report(m, cut.i.valid & cut.i.ready)
        return m
