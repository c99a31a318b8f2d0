"""Stages that put streams side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from amaranth.hdl import Module
from amaranth.lib import wiring

from ...bus.service import StageService
from ...maps.join import CONCAT, Join, JoinShape, join_folds, join_takes
from ...streams.beats import elements
from ...streams.convert import adapted
from ...streams.queue import Queue
from ..plan import StagePlan
from .build import StageBuild
from .component import StageComponent
from .images import StageImages
from .rhythm import Cycles, Rhythm, spaced
from .stage import Stage

__all__ = ["JoinStage"]


@dataclass(frozen=True, kw_only=True, eq=False)
class JoinStage(Stage):
    """A concatenation of channels, those of the first part first.

    Attributes
    ----------
    parts : channels of each stream and each constant
    constants : values of the channels of a part that is a constant, by its number; they are built into the RTL
    """

    called = "join"
    kind: str = CONCAT
    parts: tuple[int, ...]
    constants: Mapping[int, tuple[int, ...]] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def aspects(self) -> dict[str, Any]:
        """The aspects of every stage; the channels of each part, and the values of parts that are constants."""
        own = {"constants": dict(self.constants)} if self.constants else {}
        return super().aspects | {"parts": self.parts} | own

    @property
    def geometry(self) -> tuple[Any, ...]:
        """The geometry of every stage; where parts are constants also the channels of all: folds depend on them."""
        return *super().geometry, *((self.parts, tuple(self.constants)) if self.constants else ())

    @property
    def inlets(self) -> tuple[str, ...]:
        """A stream for each part that is no constant."""
        return tuple(f"i{k}" if k else "i" for k in range(self.joined))

    @property
    def joined(self) -> int:
        """Streams that wait in queues of their own: all of them, one for each part that is no constant."""
        return len(self.parts) - len(self.constants)

    @property
    def probe(self) -> tuple[tuple[str, ...], str]:
        """A beat that leaves the join."""
        valid, ready = "join_.o__valid", "join_.o__ready"  # join is a reserved word
        return (valid, ready), ready

    def waits(self, port: int) -> bool:
        """Every stream, until its turn has come."""
        return True

    def takes(self, port: int, plan: StagePlan) -> int:
        """Elements of the stream at ``port`` that leave at once, see `join_takes`."""
        streams = [part for part in range(len(self.parts)) if part not in self.constants]
        return join_takes(self.parts, plan.simd)[streams[port]]

    def folds(self) -> list[dict[str, int]]:
        """One fold for each number of channels that can leave at once, see `join_folds`."""
        return [{"simd": simd} for simd in join_folds(self.parts)]

    def drafted(self, plan: StagePlan) -> StagePlan:
        """``plan`` with a queue of one beat for each stream."""
        return replace(plan, joins=(1,) * self.joined)

    def shape(self, plan: StagePlan) -> JoinShape:
        """Whose turn it is."""
        _, height, width = self.source
        words = {part: tuple(map(self.x.encode, values)) for part, values in self.constants.items()}
        return JoinShape(
            parts=self.parts, height=height, width=width, bits=self.x.bits, simd=plan.simd, constants=words
        )

    def rhythm(self, build: StageBuild) -> "JoinRhythm":
        """Beat after beat."""
        return JoinRhythm(build, self.shape(build.plan))

    def component(
        self, build: StageBuild, images: StageImages, *, prefix: str | None, service: StageService | None = None
    ) -> "JoinComponent":
        """Queues and what chooses among them."""
        return JoinComponent(self, build, images, prefix=prefix, service=service)


class JoinRhythm(Rhythm):
    """Beats pass as they come to the head of their queues, those of one stream after those of another."""

    def __init__(self, build: StageBuild, shape: JoinShape):
        super().__init__(build)
        self.shape = shape

    def taken(self, arrivals: Cycles) -> Cycles:
        """When beats are taken: as they come, since all streams wait in queues."""
        return arrivals

    def begins(self, came: Sequence[Cycles]) -> Cycles:
        """When each beat passes."""
        splits = [self.build.waiting_split(port) for port in range(len(came))]
        parts = [np.repeat(c + _latency(n), n) for c, n in zip(came, splits, strict=True)]
        return spaced(self.shape.in_order(parts), 1)

    def due(self, port: int, begins: Cycles, count: int) -> Cycles:
        """Until when a beat must be there: before the first part of it passes."""
        split = self.build.waiting_split(port)
        wanted = self.shape.wanted_places(port, len(begins) // self.shape.read_cycles)
        return np.asarray(begins[wanted][::split] - _latency(split))

    def left(self, port: int, came: Cycles, begins: Cycles) -> Cycles:
        """When it passes; or into `Narrow`, where there is one, which takes the next with the last part of the one
        before."""
        split, passed = self.build.waiting_split(port), self._passed(port, begins)
        if split == 1:
            return passed
        return np.maximum(came + 1, np.concatenate([came[:1], passed[split - 1 :: split][:-1]]))

    def awaited(self, came: Sequence[Cycles]) -> int:
        """The stream that comes last, its place among the others counted."""
        return self.shape.latest([np.repeat(beats, self.build.waiting_split(port)) for port, beats in enumerate(came)])

    def _passed(self, port: int, begins: Cycles) -> Cycles:
        """The cycles of ``begins`` in which beats of the stream at ``port`` pass."""
        return np.asarray(begins[self.shape.places(port, len(begins) // self.shape.read_cycles)])


def _latency(split: int) -> int:
    """Cycles from when a beat enters the queue of a stream to when its first part can pass."""
    return 1 if split == 1 else 2


class JoinComponent(StageComponent[JoinStage]):
    """A concatenation in hardware: a queue for every stream, the join, and a queue behind it."""

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        build, bits = self.build, self.stage.x.bits
        # First, so that in the Verilog it is this stage's `o` that has the plain names, which a trace binds to.
        _, entry = self.outlet(m)
        m.submodules.join = join = Join(self.stage.shape(build.plan))
        for k, (port, depth) in enumerate(zip(self.sources, build.plan.joins, strict=True)):
            # What a fork hands on is taken at once; it is split behind the queue, when its turn has come.
            have = build.count_of(k)
            wide = build.wants(k, have)
            m.submodules[f"wait{k}"] = queue = Queue(elements(bits, wide), depth=depth)
            whole = adapted(m, f"{k}", wiring.flipped(port), bits=bits, have=have, want=wide)
            wiring.connect(m, whole, queue.i)
            parts = adapted(m, f"{k}", queue.o, bits=bits, have=wide, want=build.takes(k))
            wiring.connect(m, parts, getattr(join, f"i{k}"))
        wiring.connect(m, join.o, entry)
        self.report(m, join.o.valid & join.o.ready)
        return m
