"""Stages that move pixels and compute nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from amaranth.hdl import Module
from amaranth.lib import wiring

from ....quant.ops.base import Ints
from ...bus.reload import port_of
from ...bus.service import StageService
from ...maps.move import MoveBuffer, MoveShape, move_folds, move_rows, moved_at_once
from ...memory.image import Image, Table
from ..layout import pad_image, pad_values
from ..plan import StagePlan
from .build import StageBuild
from .component import StageComponent
from .images import StageImages
from .ring import RingRhythm
from .stage import Stage

__all__ = ["MoveStage"]


@dataclass(frozen=True, kw_only=True, eq=False)
class MoveStage(Stage):
    """A spatial shift, a pixel shuffle or an upsampling; ``kind`` is one of `maps.move.MOVES`.

    Attributes
    ----------
    pad : (C,), what a spatial shift brings in from outside the map
    offsets : of a spatial shift, rows and columns by which each channel moves
    factor : of a pixel shuffle or an upsampling
    """

    pad: Ints
    offsets: tuple[tuple[int, int], ...] = ()
    factor: int = 1

    @property
    def aspects(self) -> dict[str, Any]:
        """The aspects of every stage; the offset of every channel, and the factor of an enlargement."""
        return super().aspects | {"offsets": self.offsets, "factor": self.factor}

    @property
    def probe(self) -> tuple[tuple[str, ...], str]:
        """Nets of the move: a group begins; nothing behind holds the next one up. See `Stage.probe`."""
        return ("move.begin_",), "move.go"  # begin is a reserved word

    def folds(self) -> list[dict[str, int]]:
        """One fold for each number of channels that can be read at once, see `move_folds`."""
        return [{"simd": simd} for simd in move_folds(self.kind, self.source[0], self.factor)]

    def drafted(self, plan: StagePlan) -> StagePlan:
        """``plan`` with as many rows of the ring as the largest offsets need."""
        return replace(plan, rows=move_rows(self.offsets, self.source[0] * self.source[2] // plan.simd))

    def shape(self, plan: StagePlan) -> MoveShape:
        """The ring."""
        channels, height, width = self.source
        return MoveShape(
            kind=self.kind, channels=channels, height=height, width=width, bits=self.x.bits, simd=plan.simd,
            factor=self.factor, offsets=self.offsets, rows=plan.rows,
        )  # fmt: skip

    def out_count(self, plan: StagePlan) -> int:
        """Elements that leave at once: a pixel shuffle makes one of ``factor * factor`` that it reads, other moves
        keep their number."""
        return moved_at_once(self.kind, plan.simd, self.factor)

    def check(self, plan: StagePlan) -> None:
        """Only ``simd`` and ``rows`` are to be chosen."""
        self.check_ones(plan, "move", ("pe", "taps", "lines", "blocks", "requantisers"))

    def rhythm(self, build: StageBuild) -> RingRhythm:
        """When beats come and go: as the ring of rows takes them and is read."""
        return RingRhythm(build, self.shape(build.plan))

    def images(self, build: StageBuild, prefix: str) -> dict[str, Image]:
        """The memory of the values that stand outside the map, where any of them move in."""
        return {"pad": pad_image(build, self.pad, prefix)} if self.shape(build.plan).pads else {}

    def held(self, build: StageBuild, images: Mapping[str, Image]) -> dict[str, dict[str, Any]]:
        """The values that stand outside the map, read back from their memory."""
        return {self.name: {"pad": pad_values(build, images["pad"])}} if "pad" in images else {}

    def component(
        self, build: StageBuild, images: StageImages, *, prefix: str | None, service: StageService | None = None
    ) -> "MoveComponent":
        """Ring and queue."""
        return MoveComponent(self, build, images, prefix=prefix, service=service)


class MoveComponent(StageComponent[MoveStage]):
    """A move in hardware: its ring, what comes in from outside the map, and a queue.

    A beat is read when its rows are in the ring and the queue has room for it. From there nothing stalls.
    """

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.move = move = MoveBuffer(self.stage.shape(self.build.plan))
        wiring.connect(m, wiring.flipped(self.i), move.i)
        if (image := self.images.get("pad")) is not None:
            m.submodules.pad = pad = Table(image, prefix=self.prefix, write=port_of(self.reload, image))
            m.d.comb += [pad.address.eq(move.pad_address), move.pad.eq(pad.data)]
        queue, entry = self.outlet(m)
        m.d.comb += [
            entry.payload.as_value().eq(move.y),
            entry.valid.eq(move.valid),
            move.go.eq(self.room_for(m, queue, move.begin)),
        ]
        self.report(m, move.valid)
        return m
