"""What every stage is, and what a kind of stage says of itself."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from ....quant.formats import Format, unsigned
from ....quant.ops.base import Shape
from ...activation.arithmetic import shift_bits
from ...memory.image import Image
from ..plan import StagePlan

if TYPE_CHECKING:  # these are made of stages
    from ...bus.service import StageService
    from .build import StageBuild
    from .component import StageComponent
    from .images import StageImages
    from .rhythm import Rhythm

__all__ = ["Geometry", "Stage", "divisors"]


class Geometry(Protocol):
    """What takes the beats of a stage in: a window, the ring of a move, a join, or whatever a kind of stage has."""

    @property
    def latency(self) -> int:
        """Cycles from when a group begins to its first operands."""

    @property
    def steps(self) -> int:
        """Cycles that a group takes."""

    @property
    def read_cycles(self) -> int:
        """Cycles per image in which groups are at work."""

    @property
    def write_cycles(self) -> int:
        """Cycles per image that taking all beats in needs."""

    @property
    def longest_pause(self) -> int:
        """The longest time in which no beat is taken though there is room."""

    @property
    def ring_bits(self) -> int:
        """Bits of memory that hold what came; 0 without."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Stage(ABC):
    """One stage of a pipeline: streams in, one stream out.

    A kind of stage is a subclass: a frozen dataclass with whatever the hardware depends on. What is computed at once
    stands in a `StagePlan`; every question about a fold takes one. The defaults here are those of a stage that computes
    nothing and hands on ``plan.simd`` elements at once.

    Attributes
    ----------
    name : of its first operation
    tensor : operation whose result leaves the stage
    reads : stages whose results it reads, `stages.INPUT_STAGE` for the input
    kind : what it does, as reports show it: kernel of its lanes, or a word
    x : format of the features it reads
    source, result : shape it reads and shape it makes
    y : format of its result
    window : height and width of what it looks at for one pixel
    """

    called: ClassVar[str] = "stage"
    """What messages call its kind."""

    name: str
    tensor: str
    reads: tuple[str, ...]
    kind: str
    x: Format
    source: Shape
    result: Shape
    y: Format
    window: tuple[int, int] = (1, 1)

    # What it computes, whatever its fold

    @property
    def aspects(self) -> dict[str, Any]:
        """What the RTL of a reloadable build depends on, by name; the rest is data. Kinds say what differs or is more:
        builds are identified by these, so those of one kind stay what they are when there are more kinds."""
        return {
            "name": self.name, "kind": self.kind, "reads": self.reads, "x": self.x, "source": self.source,
            "result": self.result, "groups": 1, "window": self.window, "stride": 1, "padding": 0,
            "weight_format": None, "total": self.carried, "residual": None, "offset": None, "terms": 0,
            "channelwise": False, "even": False, "factor_bits": 0, "shift_format": unsigned(shift_bits(0)),
            "levels": 0, "y": self.y, "offsets": (), "factor": 1, "parts": (),
        }  # fmt: skip

    @property
    def geometry(self) -> tuple[Any, ...]:
        """What two stages have in common that can have the same folds."""
        return type(self), self.source, self.result, self.window

    @property
    def carried(self) -> Format:
        """Format of what its circuits work on, sums where there are any."""
        return self.x

    @property
    def macs(self) -> int:
        """Products per image."""
        return 0

    @property
    def weight_width(self) -> int:
        """Bits of a weight; 0 without."""
        return 0

    @property
    def weight_bits(self) -> int:
        """Bits of all its weights."""
        return 0

    @property
    def received_bits(self) -> int:
        """Bits of the features that it reads per image."""
        return int(np.prod(self.source)) * self.x.bits

    def port_bits(self, plan: StagePlan) -> int:
        """Bits of the features that it can take in a cycle."""
        return self.takes(0, plan) * self.x.bits

    @property
    def multiplies(self) -> bool:
        """Whether it has factors, so that a Plan chooses how they multiply, see `activation.scale.SCALES`."""
        return False

    @property
    def unit_cost(self) -> int:
        """Lookup tables of a unit behind the array for each bit of `carried`, roughly; 0 where there are no units."""
        return 0

    @property
    def shared_shift(self) -> int | None:
        """S of its factors where all channels share one, which a build with fixed weights has in its RTL."""
        return None

    # Its streams

    @property
    def inlets(self) -> tuple[str, ...]:
        """Names of its input streams, one for each of `reads`."""
        return ("i",)

    @property
    def residual(self) -> Format | None:
        """Format of what it reads besides and keeps in the queue `StagePlan.residual`; None without."""
        return None

    @property
    def joined(self) -> int:
        """Streams that it keeps in queues of their own, see `StagePlan.joins`."""
        return 0

    def read_format(self, port: int) -> Format:
        """Format of one of its input streams."""
        return self.x

    def waits(self, port: int) -> bool:
        """Whether a stream comes into a queue of its own, in which it is gathered and split."""
        return port > 0

    def takes(self, port: int, plan: StagePlan) -> int:
        """Elements of a stream that it computes with at once."""
        return self.out_count(plan) if port else plan.simd * plan.blocks

    # Its fold

    @abstractmethod
    def folds(self) -> list[dict[str, int]]:
        """All folds that it can have: what of a `StagePlan` is not 1."""

    def drafted(self, plan: StagePlan) -> StagePlan:
        """``plan``, which has a fold and 1 for everything else, with as few units and rows as never cost a cycle."""
        return plan

    @abstractmethod
    def shape(self, plan: StagePlan) -> Geometry:
        """What takes its beats in; a ``ValueError`` where the fold does not fit."""

    def geometry_of(self, plan: StagePlan) -> Geometry:
        """What takes its beats in under ``plan``: its `shape`, or something simpler; as `shape` does where a fold does
        not fit, with a ``ValueError``."""
        return self.shape(plan)

    def lanes(self, plan: StagePlan) -> int:
        """Lanes of the array; 0 without."""
        return 0

    def sums(self, plan: StagePlan) -> int:
        """Elements of a group."""
        return plan.simd

    def out_count(self, plan: StagePlan) -> int:
        """Elements that leave at once."""
        return plan.simd

    def group_beats(self, plan: StagePlan) -> int:
        """Beats that leave per group."""
        return 1

    def burst(self, plan: StagePlan) -> int:
        """Beats that a queue must hold for a reader that takes as many each cycle, for stages whose beats leave
        unevenly though they come evenly."""
        return 0

    def units(self, plan: StagePlan) -> int:
        """Requantisers or thresholders; 0 where sums leave as they are."""
        return 0

    def rom_words(self, plan: StagePlan) -> dict[str, int]:
        """Words of its memories that are read in turn, by the key of a `StagePlan` that says what they are made of."""
        return {}

    def array_latency(self, plan: StagePlan, fabric: str) -> int:
        """Cycles from operands to what leaves the array."""
        return 0

    def unit_latency(self, plan: StagePlan) -> int:
        """Cycles from there to what leaves the stage."""
        return 0

    def check(self, plan: StagePlan) -> None:
        """Raise ``ValueError`` when ``plan`` says something of it that cannot be, `shape` aside: here, where only
        ``simd`` is to be chosen, any other fold."""
        self.check_ones(plan, self.called, ("pe", "taps", "lines", "blocks", "rows", "requantisers"))

    def check_ones(self, plan: StagePlan, what: str, keys: tuple[str, ...]) -> None:
        """Raise ``ValueError`` where ``plan`` folds what a stage called ``what`` does not have."""
        for key in keys:
            if getattr(plan, key) != 1:
                raise ValueError(f"{key} of {what} {self.name!r} must be 1, not {getattr(plan, key)}")
        if plan.structure:
            raise ValueError(f"{what} {self.name!r} has no lanes, so no structure {plan.structure!r}")
        if plan.reach:
            raise ValueError(f"{what} {self.name!r} has no weights, so reach must be 0, not {plan.reach}")
        if plan.compress:
            raise ValueError(f"{what} {self.name!r} has no weights, so compress must be false")

    def check_scale(self, how: str) -> None:
        """Raise ``ValueError`` when it cannot multiply in this way."""
        if how != "dsp":
            raise ValueError(f"stage {self.name!r} does not requantise, so it has no scale {how!r}")

    def check_shifts(self, ends: tuple[int, ...]) -> None:
        """Raise ``ValueError`` when a shift that all channels share does not lie between ``ends``, see `StagePlan`."""
        if ends and self.shared_shift is None:
            raise ValueError(f"stage {self.name!r} has no shift that its channels share, so no shifts {ends}")
        if ends and not ends[0] <= (self.shared_shift or 0) <= ends[1]:
            raise ValueError(f"shifts of {self.name!r} must hold its own, {self.shared_shift}, not be {ends}")

    def check_clamps(self, clamps: bool) -> None:
        """Raise ``ValueError`` when the ends of a clamp are to be those of its format and are others."""
        if not clamps:
            raise ValueError(f"stage {self.name!r} does not requantise, so clamps must be true")

    # Its hardware

    @property
    @abstractmethod
    def probe(self) -> tuple[tuple[str, ...], str]:
        """Nets inside its instance, as Verilog names them: those that are all 1 where a group begins, and that which is
        0 where something behind it holds the next one up."""

    @abstractmethod
    def component(
        self, build: "StageBuild", images: "StageImages", *, prefix: str | None, service: "StageService | None" = None
    ) -> "StageComponent":
        """The hardware of this stage, see `component.StageComponent`."""

    @abstractmethod
    def rhythm(self, build: "StageBuild") -> "Rhythm":
        """When it takes beats and begins groups."""

    def images(self, build: "StageBuild", prefix: str) -> dict[str, Image]:
        """Contents of its memories, by what they hold, in the order of their numbers.

        Parameters
        ----------
        prefix : of their names
        """
        return {}

    def held(self, build: "StageBuild", images: Mapping[str, Image]) -> dict[str, dict[str, Any]]:
        """Fields of operations that stand in ``images``, by the operation's name: the inverse of `images`."""
        return {}


def divisors(n: int) -> list[int]:
    """All divisors of the positive integer ``n``, ascending: 1, 2, 3 and 6 of 6."""
    return [k for k in range(1, n + 1) if n % k == 0]
