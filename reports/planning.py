"""What a user chooses of a design, as a value, and the Plan that comes of it."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from ..common.errors import UserError
from ..hdl.activation.scale import SCALES
from ..hdl.family import CONTROLS, STREAMS, Envelope, PlanRequest
from ..hdl.folder.families import bind, family_of, read_plan
from ..hdl.memory.image import ROMS
from ..quant.program import Program
from .compare.compare import MULTIPLIERS, structures_of
from .devices.devices import device
from .devices.multipliers import halves_above
from .estimate.estimate import cost_and_capacity, families
from .estimate.estimate import design as estimate

__all__ = ["LANE_FORMS", "VIDEO", "Offer", "PlanChoices", "offers", "plan_for"]

VIDEO = 30.0
"""Images per second of a design for which nobody says how fast: the pace of video, and small."""
_FASTER = 10

LEVEL_NS = {"xc7": 1.5, "xcup": 1.0, "ecp5": 2.2, "gowin": 2.5, "ice40": 3.5}
"""Nanoseconds of a level of sums of a dozen bits, with the way to the next, on each family of devices, roughly."""

COMPRESSING = ("xc7", "xcup")
"""Families whose tables have six inputs, of which synthesis leaves those in front of a carry chain four to fill."""

LANE_FORMS = ("generic", "device")
"""Forms of lanes: behavioural, or with the device's carry cells."""


@dataclass(frozen=True, kw_only=True)
class PlanChoices:
    """How a design is to be planned.

    Attributes
    ----------
    arch : the family of accelerators
    device : name in the device catalogue
    lanes, fps : see `PlanRequest`; without either the pace is `VIDEO`
    fill : the fastest design that fits the device
    file : a Plan, perhaps in part; it says what else would be chosen here, and nothing here may contradict it
    plan : a Plan, which says all of it
    clock_mhz, fixed_weights : see `Plan`; what ``file`` says of them comes first
    form : one of `LANE_FORMS`
    memory : of the weights, one of `ROMS`
    multipliers : of the lanes, one of `MULTIPLIERS`
    scale : how requantisers multiply, ``auto`` or one of `SCALES`
    control : one of `CONTROLS`
    counters : its registers count cycles, stalls and images
    stream : one of `STREAMS`; without a handshake the pace is that of the clock where nothing else is said

    Raises
    ------
    UserError
        for a name that is not known.
    """

    arch: str = "dataflow"
    device: str = "ecp5-85k"
    lanes: int | None = None
    fps: float | None = None
    fill: bool = False
    file: Path | None = None
    plan: Envelope | None = None
    clock_mhz: float = 50.0
    fixed_weights: bool = False
    form: str = "generic"
    memory: str = "auto"
    multipliers: str = "dsp"
    scale: str = "auto"
    control: str = "none"
    counters: bool = True
    stream: str = "axi"

    @property
    def aimless(self) -> bool:
        """Whether nothing says how fast the design is to be."""
        return self.paced_by_clock is None and self._no_goal

    @property
    def paced_by_clock(self) -> float | None:
        """Images per second of a design without handshake for which nothing else is said: one in every clock."""
        return self.clock_mhz * 1e6 if self.stream == "none" and self._no_goal else None

    @property
    def _no_goal(self) -> bool:
        return (self.lanes, self.fps, self.fill, self.file, self.plan) == (None, None, False, None, None)

    def __post_init__(self) -> None:
        if self.fill and (self.lanes, self.fps, self.file, self.plan) != (None,) * 4:
            raise UserError("to fill the device is a goal of its own; leave --lanes, --fps and --plan out")
        family_of(self.arch)
        device(self.device)
        _known("form", self.form, LANE_FORMS)
        _known("control", self.control, CONTROLS)
        _known("stream", self.stream, STREAMS)
        _known("memory", self.memory, ROMS)
        _known("requantise", self.scale, ("auto", *SCALES))
        _known("multipliers", self.multipliers, MULTIPLIERS)
        if self.control == "none" and self.file is None and not self.counters:
            raise UserError("--no-counters leaves the counters out of --control; say which control: axi-lite, wishbone")


def plan_for(program: Program, choices: PlanChoices) -> Envelope:
    """The Plan of ``program`` that ``choices`` ask for.

    Raises
    ------
    UserError
        for a file that is not a Plan of ``program`` or that an option contradicts, for a target that no fold meets, and
        for a device that is too small.
    """
    if choices.plan is not None:
        if choices != PlanChoices(plan=choices.plan, device=choices.device):
            raise UserError("a plan says all that can be chosen; change it there, with dataclasses.replace")
        return _fitting(program, choices.plan)
    return _chosen(program, choices) if choices.file is None else _written(program, choices, choices.file)


def _chosen(program: Program, choices: PlanChoices) -> Envelope:
    """The Plan that the family finds."""
    if (pace := choices.paced_by_clock) is not None:
        choices = replace(choices, fps=pace)
    if choices.aimless:
        try:
            return _chosen(program, replace(choices, fps=VIDEO))
        except UserError:  # it is a wish of ours only: then as fast as the device can
            return _chosen(program, replace(choices, fill=True))
    target = device(choices.device)
    cost, capacity = cost_and_capacity(target)
    request = PlanRequest(
        device=target.name, clock_mhz=choices.clock_mhz, lanes=choices.lanes, fps=choices.fps,
        fixed_weights=choices.fixed_weights, fabric=target.fabric if choices.form == "device" else "generic",
        memory=choices.memory, scale=choices.scale, control=choices.control, counters=choices.counters,
        stream=choices.stream, cost=cost, capacity=capacity, halves_above=halves_above(target.family),
        structures=structures_of(choices.multipliers, target), level_ns=LEVEL_NS.get(target.family),
        compress=target.family in COMPRESSING,
    )  # fmt: skip
    return family_of(choices.arch).plan(program, request)


def _written(program: Program, choices: PlanChoices, file: Path) -> Envelope:
    """The Plan in ``file``, completed, if it fits the device that it names."""
    if choices.multipliers != "dsp":
        raise UserError("a plan already says the structure of the lanes; leave --multipliers out")
    if choices.scale != "auto":
        raise UserError("a plan already says how each stage multiplies (scale); leave --requantise out")
    if choices.memory != "auto":
        raise UserError("a plan already says the memory of each stage; leave --memory out")
    if choices.lanes is not None or choices.fps is not None:
        raise UserError("a plan already says how many lanes there are; leave --lanes and --fps out")
    request = PlanRequest(
        device=choices.device, clock_mhz=choices.clock_mhz, fixed_weights=choices.fixed_weights
    )  # fmt: skip
    plan = read_plan(file, program, request, arch=choices.arch)
    device(plan.device)
    if choices.form != "generic":
        raise UserError("a plan already says the form of the lanes (fabric); leave --form out")
    if choices.control not in ("none", plan.control):
        raise UserError("a plan already says the control; change it there, or leave --control out")
    if choices.stream not in ("axi", getattr(plan, "stream", "axi")):
        raise UserError("a plan already says the stream; change it there, or leave --stream out")
    if not choices.counters:
        raise UserError("a plan already says whether there are counters; leave --no-counters out")
    if choices.fixed_weights and not plan.fixed_weights:
        raise UserError("the plan is not for fixed weights; change it there, or leave --fixed-weights out")
    return _fitting(program, plan)


def _fitting(program: Program, plan: Envelope) -> Envelope:
    """``plan``, if what it builds fits its device."""
    _, capacity = cost_and_capacity(device(plan.device))
    if capacity is not None:
        capacity.check([part.content for part in bind(program, plan).parts])
    return plan


@dataclass(frozen=True, kw_only=True)
class Offer:
    """Another design that could be had.

    Attributes
    ----------
    option : of ``generate``, that asks for it
    lut : lookup tables by estimate; None where there are no estimates
    """

    option: str
    lanes: int
    images_per_second: float
    lut: int | None


def offers(program: Program, choices: PlanChoices, *, pace: float) -> tuple[Offer, ...]:
    """What more would cost than a design of ``pace`` images per second: about ten times as fast, and what fills the
    device, where it can be had."""
    faster = float(f"{_FASTER * pace:.2g}")
    return tuple(
        found
        for option, asked in ((f"--fps {faster:.0f}", {"fps": faster}), ("--fill", {"fill": True}))
        if (found := _offer(program, replace(choices, **asked), option)) is not None
    )


def _offer(program: Program, choices: PlanChoices, option: str) -> Offer | None:
    try:
        plan = _chosen(program, choices)
    except UserError:
        return None
    target, schedule = device(plan.device), bind(program, plan).schedule
    known = target.family in families()
    return Offer(
        option=option, lanes=schedule.lanes, images_per_second=plan.clock_mhz * 1e6 / schedule.interval,
        lut=estimate(program, plan, target).total.lut if known else None,
    )  # fmt: skip


def _known(what: str, name: str, names: Collection[str]) -> None:
    if name not in names:
        raise UserError(f"unknown {what} {name!r}; known: {', '.join(names)}")
