"""What every family of accelerators says of itself, so that simulation and reports need to know none of them.

A `Family` makes Plans and binds a Program and a Plan to a `Design`: ``Program + Plan -> Design`` is a pure function. A
Design is asked for its ports, memories, predicted cycles, parts and probes. A new family implements both protocols and
registers itself, see `folder.families`; nothing else changes.

Names of instances are a convention of all families: the top holds one instance, `Design.inner`, that holds the parts.
What each part consists of, `Design.block_of` says.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

from ..quant.program import Program
from .blocks import BlockOf
from .bus.register_map import RegisterMap
from .capacity import Capacity
from .interface import Interface
from .memory.image import Image
from .timing import Schedule

__all__ = [
    "CONTROLS", "DUT", "STREAMS", "Design", "Envelope", "Family", "Layer", "Outlet", "Part", "PlanRequest", "Variant",
    "WorkSignals",
]  # fmt: skip

DUT = "dut"
"""Name of the top in the harness, from which probes name what is inside."""
CONTROLS = ("none", "axi-lite", "wishbone")
"""Buses of control and status registers beside the streams; ``none``: no registers."""
STREAMS = ("axi", "none")
"""Handshakes of the streams: AXI4-Stream, or none: beats have a valid alone and leave after a fixed time."""


class Envelope(Protocol):
    """What the Plan of every family says: for whom, for which device and clock. Frozen, hashable, saved as JSON."""

    @property
    def family(self) -> str:
        """Name of the family."""

    @property
    def device(self) -> str:
        """What it is meant for; reports take its sizes from it."""

    @property
    def clock_mhz(self) -> float:
        """The clock at which rates are quoted."""

    @property
    def fixed_weights(self) -> bool:
        """Whether the hardware is sized for the weights of one Program, so that no others can be loaded."""

    @property
    def fabric(self) -> str:
        """``generic``, or the family of devices whose cells the design instantiates, see `cells.fabric`."""

    @property
    def control(self) -> str:
        """One of `CONTROLS`."""

    def to_json(self) -> dict[str, Any]:
        """Plain values, the family under ``family``, from which `Family.plan_from_json` makes the Plan again."""


@dataclass(frozen=True, kw_only=True)
class PlanRequest:
    """What a user asks of a design; a family makes a Plan of it.

    Attributes
    ----------
    device : its name
    lanes : the fastest design with at most so many
    fps : the cheapest design with so many images per second; with neither, the family chooses
    memory : of weights: ``auto``, as synthesis likes, or ``block``
    scale : how requantisers multiply: ``auto``, or one of `activation.scale.SCALES`
    halves_above : bits of a signed sum above which ``auto`` multiplies it in two halves; None never does
    control, counters : registers beside the streams, and whether they count
    stream : one of `STREAMS`
    structures : of the lanes of a kernel, where not the default one
    cost : what the content of a part costs (see `Part`), to choose among designs that are fast enough; None for the
        family's own structural counts
    capacity : of the device, which the design has to fit; None for no limit
    level_ns : what an addition and the way to the next take on the device, for where registers stand in circuits of
        constants; None where it is not known
    compress : whether tables in front of the device's carry chains have inputs left, in which circuits of constants
        count words
    """

    device: str
    clock_mhz: float = 50.0
    lanes: int | None = None
    fps: float | None = None
    fixed_weights: bool = False
    fabric: str = "generic"
    memory: str = "auto"
    scale: str = "auto"
    halves_above: int | None = None
    control: str = "none"
    counters: bool = True
    stream: str = "axi"
    structures: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    cost: Callable[[Any], float] | None = None
    capacity: Capacity | None = None
    level_ns: float | None = None
    compress: bool = False


class Variant(Protocol):
    """One of several ways to build a part: what it costs and how long it takes."""

    def to_json(self) -> dict[str, int]:
        """Plain values."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """An instance of the design that is counted by itself.

    Attributes
    ----------
    name : in reports
    instance : in the Verilog, within `Design.inner`
    content : whose structure reports count, by its type: see `reports.estimate.structure`
    """

    name: str
    instance: str
    content: Any


@dataclass(frozen=True, kw_only=True)
class Layer:
    """What is computed in a stage of the schedule, as reports show it.

    Attributes
    ----------
    name : of the stage of the schedule, and of the part that computes it where there is one
    kind : kernel of its lanes, or what a stage without lanes does
    result : shape that it makes, (C, H, W)
    window : height and width
    fold : how many at once, by name: ``pe``, ``simd``, ``taps`` and what else the family has; one where it says nothing
    requantisers : units; 0 where sums leave as they are
    macs : products per image
    weight_bits : of all its weights
    weight_port_bits : of the weights that its lanes read in a cycle
    ring_bits : of the buffers in front of its lanes
    operand_bits : of a feature that it reads
    received_bits : of the features that it reads per image
    port_bits : of the features that it can take in a cycle
    """

    name: str
    kind: str
    result: tuple[int, int, int]
    window: tuple[int, int] = (1, 1)
    fold: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    lanes: int = 0
    requantisers: int = 0
    macs: int = 0
    weight_bits: int = 0
    weight_port_bits: int = 0
    ring_bits: int = 0
    operand_bits: int = 8
    received_bits: int = 0
    port_bits: int = 0


@dataclass(frozen=True, kw_only=True)
class Outlet:
    """A stream inside the design whose beats are a tensor of the golden model: what a stage trace records.

    Attributes
    ----------
    stage : its name
    tensor : the operation of the Program whose result passes
    shape : of that result, (C, H, W)
    bits, signed : format of an element
    count : elements per beat, lowest first
    path : hierarchical name in the harness, see `DUT`, in front of ``__valid``, ``__ready`` and ``__payload``
    handshake : whether there is a ``__ready``, by which what reads it holds it up
    """

    stage: str
    tensor: str
    shape: tuple[int, int, int]
    bits: int
    signed: bool
    count: int
    path: str
    handshake: bool = True


@dataclass(frozen=True, kw_only=True)
class WorkSignals:
    """Where a stopwatch sees in the simulated RTL that a unit of the design begins another piece of its work.

    Attributes
    ----------
    name : of the unit, for example of a stage
    begin : Verilog expression in the harness, see `DUT`, that is 1 in every cycle in which a piece of work begins
    go : Verilog expression that is 1 while nothing downstream keeps the next piece from beginning
    groups : pieces of work per image
    steps : cycles that one piece takes
    blocked : what a wait is called while ``go`` is 0
    starved : what a wait is called while ``go`` is 1
    """

    name: str
    begin: str
    go: str
    groups: int
    steps: int
    blocked: str
    starved: str


class Design(Protocol):
    """One accelerator: a Program built as a Plan says."""

    @property
    def interface(self) -> Interface:
        """The two streams of the accelerator: images in, answers out."""

    @property
    def settle(self) -> int:
        """Cycles for which the harness holds the reset, so that the first image meets a design at rest."""

    @property
    def schedule(self) -> Schedule:
        """Predicted cycles."""

    @property
    def memories(self) -> tuple[Image, ...]:
        """Contents of all memory files."""

    @property
    def rom_kinds(self) -> frozenset[str]:
        """Kinds of the memories, of `memory.image.ROMS`: each is a module of its own."""

    @property
    def registers(self) -> RegisterMap | None:
        """Control and status registers; None without."""

    @property
    def inner(self) -> str:
        """Name of the instance in the top that holds the parts."""

    @property
    def parts(self) -> tuple[Part, ...]:
        """What the Plan chooses the size of."""

    @property
    def ends(self) -> tuple[Part, ...]:
        """Instances beside the parts that are counted by themselves, but that no Plan changes."""

    @property
    def between(self) -> tuple[Any, ...]:
        """What joins the parts, and has no instance that is counted by itself: contents as `Part` has them."""

    @property
    def block_of(self) -> BlockOf:
        """Into which blocks the cells and nets of its parts are sorted."""

    @property
    def layers(self) -> tuple[Layer, ...]:
        """What is computed in each stage of the schedule, in its order."""

    @property
    def outlets(self) -> tuple[Outlet, ...]:
        """Streams whose beats can be compared with the golden model, in the order of the Program."""

    @property
    def work(self) -> tuple[WorkSignals, ...]:
        """Work whose begin can be noted, in the order of the Program."""

    def component(self) -> Any:
        """The top as an Amaranth component, its ports as in `dataflow.pipeline.Accelerator`."""

    def check_fits(self, program: Program) -> None:
        """Refuse a Program whose weights cannot be loaded into this hardware.

        Raises
        ------
        UserError
            naming what differs, and both values.
        """

    def holding(self, memories: Mapping[str, Image]) -> Program:
        """The Program whose integers stand in ``memories``, by their files; the inverse of `memories`.

        Raises
        ------
        ValueError
            when they make no Program.
        """

    def alternatives(self, cost: Callable[[Any], float] | None = None) -> dict[str, dict[str, Variant | None]]:
        """For each part by name how it is built (``chosen``), and the next way that is ``slower`` or ``faster``;
        None where there is none. ``cost`` as in `PlanRequest`."""


class Family(Protocol):
    """A way to build accelerators."""

    @property
    def name(self) -> str:
        """What ``--arch`` and the JSON of Plans call it."""

    def plan(self, program: Program, request: PlanRequest) -> Envelope:
        """The Plan of ``program`` that ``request`` asks for.

        Raises
        ------
        UserError
            when there is none: the nearest, and what limits it.
        """

    def plan_from_json(self, value: Any) -> Envelope:
        """The Plan that `Envelope.to_json` wrote, perhaps edited since; raises `UserError` for impossible values."""

    def completed(self, value: Any, program: Program, request: PlanRequest) -> Envelope:
        """The Plan that a person wrote, with what it leaves out chosen for ``program``; device, clock and fixed weights
        are those of ``request`` where it does not say them. Raises `UserError` for impossible values."""

    def alike(
        self, program: Program, plan: Any, like: Program, *, structures: Mapping[str, str] = MappingProxyType({})
    ) -> Envelope:  # fmt: skip
        """The Plan that builds ``program`` as ``plan`` builds ``like``, so that the two can be compared."""

    def bind(self, program: Program, plan: Any, *, prefix: str = "addax") -> Design:
        """The Design of ``program`` under ``plan``, which is one of this family's.

        Parameters
        ----------
        prefix : of its modules and memory files

        Raises
        ------
        UserError
            when the Plan does not fit the Program.
        """
