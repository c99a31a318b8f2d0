"""The Plan: how each stage of a Program is built. Frozen, hashable, saved as JSON, edited and given back."""

import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ...common.errors import UserError
from ...common.reading import read_json
from ...quant.program import MAX_SHIFT
from ..activation.scale import SCALES
from ..cells.known import fabric_named
from ..family import CONTROLS, STREAMS
from ..memory.image import ROMS

__all__ = ["FAMILY", "Plan", "StagePlan", "check_keys"]

FAMILY = "dataflow"


@dataclass(frozen=True, kw_only=True)
class StagePlan:
    """The fold of one stage.

    Attributes
    ----------
    pe : output channels computed at once; divides the number of output channels (1 for what has no lanes)
    simd : input channels of a tap at once; divides the number of input channels, those of a group where there are any;
        of a move see `move.move_folds`, of a join `join.join_folds`
    taps : taps of a window row at once: 1, or the width of the window
    lines : rows of a window at once: 1, or the height of the window
    blocks : groups of a grouped convolution at once, each of ``simd`` x ``pe`` channels, which then are all it has
    requantisers : units behind the array; divides ``pe * blocks`` (of a pool: ``simd``)
    rows : of the ring in front of the array, a multiple of ``lines``; 1 for a join, which has none
    queue : beats of the queue behind it, each of whole beats of the next stage; 1 in a Plan without handshake, where a
        rank of registers takes its place
    structure : of its lanes, see `structures.STRUCTURES`; empty for the default one, and for a pool
    memory : of its weights: ``auto``, as synthesis likes, or ``block``, block RAM however few words there are
    factors : memory of its factors or thresholds, likewise
    residual : beats of the queue in which a residual waits, each as wide as those of the stage it comes from; 0
        without one
    scale : how its requantisers multiply, see `scale.SCALES`; ``dsp`` where there are none
    joins : beats of the queue in which each stream of a join waits, each of whole beats of the stream and of the join
    shifts : the least and the most that the shift S of its requantise may be, for other weights too; empty: anything.
        A narrow range saves lookup tables where S is data, which it is where a bus can write it
    clamps : the ends of the clamp of its requantise are data; else they are those of the format, for other weights too
    reach : of a layer whose fixed weights are part of the circuit, the levels of sums between two ranks of registers;
        0 where memories hold its weights
    compress : of such a layer, words are counted in the tables in front of carry chains, see `constant.graph`;
        a device's own cells add three words without that
    """

    name: str
    pe: int
    simd: int
    taps: int
    requantisers: int
    rows: int
    queue: int
    structure: str = ""
    lines: int = 1
    blocks: int = 1
    residual: int = 0
    memory: str = "auto"
    factors: str = "auto"
    scale: str = "dsp"
    joins: tuple[int, ...] = ()
    shifts: tuple[int, ...] = ()
    clamps: bool = True
    reach: int = 0
    compress: bool = False

    def __post_init__(self) -> None:
        for key in ("joins", "shifts"):
            if isinstance(value := getattr(self, key), list):
                object.__setattr__(self, key, tuple(value))
        self._check_shifts()
        for key in ("clamps", "compress"):
            if not isinstance(value := getattr(self, key), bool):
                raise ValueError(f"{key} of stage {self.name!r} must be true or false, not {value!r}")
        if not isinstance(self.joins, tuple) or not all(type(n) is int and n > 0 for n in self.joins):
            raise ValueError(f"joins of stage {self.name!r} must be positive integers, not {self.joins!r}")
        if not isinstance(self.name, str):
            raise ValueError(f"name of a stage must be text, not {self.name!r}")
        if not isinstance(self.structure, str):
            raise ValueError(f"structure of stage {self.name!r} must be text, not {self.structure!r}")
        for key in ("memory", "factors"):
            if (kind := getattr(self, key)) not in ROMS:
                raise ValueError(f"{key} of stage {self.name!r} must be one of {', '.join(ROMS)}, not {kind!r}")
        if self.scale not in SCALES:
            raise ValueError(f"scale of stage {self.name!r} must be one of {', '.join(SCALES)}, not {self.scale!r}")
        for key, value in vars(self).items():
            if key in ("name", "structure", "memory", "factors", "scale", "joins", "shifts", "clamps", "compress"):
                continue
            least = 0 if key in ("residual", "reach") else 1
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                what = "a positive integer" if least else "0 or a positive integer"
                raise ValueError(f"{key} of stage {self.name!r} must be {what}, not {value!r}")

    def _check_shifts(self) -> None:
        """Raise ``ValueError`` for shifts that are no range."""
        ends = self.shifts
        if not isinstance(ends, tuple) or not all(type(n) is int for n in ends):
            raise ValueError(f"shifts of stage {self.name!r} must be two integers or none, not {ends!r}")
        if ends and (len(ends) != 2 or not 0 <= ends[0] <= ends[1] <= MAX_SHIFT):
            raise ValueError(
                f"shifts of stage {self.name!r} must be the least and the most of 0..{MAX_SHIFT}, not {ends!r}"
            )


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a Program becomes hardware.

    Attributes
    ----------
    family : ``dataflow``, one stage per layer
    device : what it is meant for; reports take its sizes from it
    clock_mhz : the clock at which rates are quoted
    fixed_weights : accumulators and shifts are sized for the weights of the Program, not for any of the same formats;
        layers may have their weights in the circuit, see `StagePlan.reach`
    fabric : ``generic``, or the family whose carry cells the lanes instantiate, see `fabric.FABRICS`
    pixels : per beat of the input, the first lowest; divides the pixels of an image
    outputs : elements per beat of a raw output, the first lowest; divides the elements of an image; 1 for a classifier
    control : the bus of control and status registers beside the streams, see `family.CONTROLS`
    counters : those registers count cycles, stalls and images
    stream : the handshake of all streams, see `family.STREAMS` and `handshake.without_handshake`
    """

    family: str
    device: str
    clock_mhz: float
    fixed_weights: bool
    stages: tuple[StagePlan, ...]
    fabric: str = "generic"
    pixels: int = 1
    control: str = "none"
    outputs: int = 1
    counters: bool = True
    stream: str = "axi"

    def __post_init__(self) -> None:
        fabric_named(self.fabric)
        if self.control not in CONTROLS:
            raise ValueError(f"control must be one of {', '.join(CONTROLS)}, not {self.control!r}")
        if self.stream not in STREAMS:
            raise ValueError(f"stream must be one of {', '.join(STREAMS)}, not {self.stream!r}")
        for what, count in (("pixels", self.pixels), ("outputs", self.outputs)):
            if not isinstance(count, int) or isinstance(count, bool) or count < 1:
                raise ValueError(f"{what} per beat must be a positive integer, not {count!r}")
        if self.family != FAMILY:
            raise ValueError(f"architecture must be one of {FAMILY}, not {self.family!r}")
        if not isinstance(self.fixed_weights, bool):
            raise ValueError(f"fixed_weights must be true or false, not {self.fixed_weights!r}")
        if not isinstance(self.counters, bool):
            raise ValueError(f"counters must be true or false, not {self.counters!r}")
        if not isinstance(self.device, str):
            raise ValueError(f"device must be a name, not {self.device!r}")
        if not isinstance(self.clock_mhz, int | float) or not 0 < self.clock_mhz <= 10_000:
            raise ValueError(f"clock must be a positive number of MHz, not {self.clock_mhz!r}")

    @property
    def reloads(self) -> bool:
        """Whether a bus can write the memories, so that their words are data and not constants."""
        return self.control != "none" and not self.fixed_weights

    def to_json(self) -> dict[str, Any]:
        """Plain values; ``counters`` only where there are none, ``stream`` only where it is none, ``reach`` and
        ``compress`` of a stage only where it has them."""
        value = asdict(self)
        rare = "reach", "compress"
        value["stages"] = tuple({k: v for k, v in own.items() if k not in rare or v} for own in value["stages"])
        usual = {"counters": True, "stream": STREAMS[0]}
        return {key: one for key, one in value.items() if key not in usual or one != usual[key]}

    @classmethod
    def from_json(cls, value: Any) -> "Plan":
        """The Plan that `to_json` wrote, perhaps edited since.

        Raises
        ------
        UserError
            for missing, unknown or impossible values.
        """
        check_keys(value, cls, "the plan", whole=True)
        if not isinstance(value["stages"], list | tuple):
            raise UserError(f"not a plan: stages must be a list, not {value['stages']!r}")
        for stage in value["stages"]:
            check_keys(stage, StagePlan, f"stage {stage.get('name')!r}" if isinstance(stage, dict) else "a stage",
                       whole=True)  # fmt: skip
        try:
            return cls(**{**value, "stages": tuple(StagePlan(**stage) for stage in value["stages"])})
        except (TypeError, ValueError) as error:
            raise UserError(f"not a plan: {error}") from error

    @classmethod
    def read(cls, path: str | Path) -> "Plan":
        """The Plan in a JSON file; raises `UserError` when it is missing, broken or impossible."""
        return cls.from_json(read_json(Path(path), "plan"))


def check_keys(value: Any, kind: type[Plan] | type[StagePlan], what: str, *, whole: bool = False) -> None:
    """Refuse a JSON object that has other keys than the fields of ``kind``.

    Parameters
    ----------
    what : it is called in the message
    whole : the fields without a default must be there

    Raises
    ------
    UserError
        naming the keys that are known, or what to write where one is missing.
    """
    if not isinstance(value, dict):
        raise UserError(f"not a plan: {what} must be an object of keys and values, not {value!r}")
    known = fields(kind)
    if unknown := [key for key in value if key not in {item.name for item in known}]:
        names = ", ".join(item.name for item in known)
        raise UserError(f"not a plan: {what} has an unknown key {unknown[0]!r}; known: {names}")
    missing = [item.name for item in known if item.default is MISSING and item.name not in value]
    if whole and missing:
        raise UserError(f"not a plan: {what} lacks {missing[0]!r}{_wanted(missing[0], value)}")


def _wanted(key: str, stage: Mapping[str, Any]) -> str:
    """What to write where a stage lacks ``key``; empty where nothing is known of it."""
    if key == "requantisers":
        product = [stage.get("pe"), stage.get("blocks", 1)]
        if all(type(n) is int for n in product):
            return f"; it must divide pe * blocks = {math.prod(product)}"
        return "; it must divide pe * blocks"
    return {
        "stages": "; it is a list of one object per stage",
        "pe": "; it must divide the number of output channels, 1 where there are no lanes",
        "simd": "; it must divide the number of input channels",
        "taps": "; it is 1 or the width of the window",
        "rows": "; of a window of K rows at least K + 1",
        "queue": "; of the beats behind the stage, at least those of a group",
    }.get(key, "")
