"""The Design of the dataflow family: a pipeline of stages, asked for what simulation and reports need."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ...quant.program import Program
from ..bus.register_map import RegisterMap
from ..family import DUT, Layer, Outlet, Part, Variant, WorkSignals
from ..interface import Interface
from ..memory.image import Image
from ..timing import Schedule
from .blocks import BLOCK_OF, STAGE, StageBlocks
from .build import StageBuild, bind
from .control_map import control_map
from .joints import PACKET, PIPELINE, End, Entrance, Joint, joints_of
from .kinds.images import StageImages, stage_images
from .plan import Plan
from .planning.choices import alternatives, structural_cost
from .reload import check_fits, program_holding
from .schedule import schedule

__all__ = ["DataflowDesign"]


@dataclass(frozen=True, kw_only=True, eq=False)
class DataflowDesign:
    """A `family.Design`: ``program`` with one stage per layer, folded as ``plan`` says.

    Attributes
    ----------
    prefix : of its modules and memory files
    builds : its stages
    """

    program: Program
    plan: Plan
    prefix: str
    builds: tuple[StageBuild, ...]

    @classmethod
    def bound(cls, program: Program, plan: Plan, *, prefix: str = "addax") -> "DataflowDesign":
        """The Design of ``program`` under ``plan``; raises `UserError` when the Plan does not fit the Program."""
        return cls(program=program, plan=plan, prefix=prefix, builds=bind(program, plan))

    @cached_property
    def interface(self) -> Interface:
        """The streams of pixels and of answers."""
        return Interface(
            program=self.program, pixels=self.plan.pixels, elements=self.plan.outputs,
            handshake=self.plan.stream != "none",
        )  # fmt: skip

    @property
    def settle(self) -> int:
        """The longest time in which a stage takes no beat because it writes padding in front of an image."""
        return max(build.window.longest_pause for build in self.builds)

    @cached_property
    def schedule(self) -> Schedule:
        """The cycle model."""
        return schedule(self.builds, self.program, pixels=self.plan.pixels)

    @cached_property
    def _images(self) -> tuple[StageImages, ...]:
        return tuple(stage_images(b, fixed=self.plan.fixed_weights, prefix=self.prefix) for b in self.builds)

    @property
    def memories(self) -> tuple[Image, ...]:
        """Contents of all memory files, stage by stage."""
        return tuple(image for images in self._images for image in images.all())

    @property
    def rom_kinds(self) -> frozenset[str]:
        """Kinds of the memories: that of small ones, and those of weights."""
        return frozenset({"auto", *(kind for stage in self.plan.stages for kind in (stage.memory, stage.factors))})

    @cached_property
    def registers(self) -> RegisterMap | None:
        """Control and status registers; None without."""
        if self.plan.control == "none":
            return None
        return control_map(self.program, self.builds, self.plan, self.memories)

    @property
    def inner(self) -> str:
        """The pipeline."""
        return PIPELINE

    @property
    def parts(self) -> tuple[Part, ...]:
        """The stages."""
        return tuple(Part(name=b.stage.name, instance=STAGE + b.stage.name, content=b) for b in self.builds)

    @property
    def ends(self) -> tuple[Part, ...]:
        """The packet."""
        program = self.program
        end = End(score=program.score_format, classes=program.classes) if program.classifies else End(score=None)
        return (Part(name=PACKET, instance=PACKET, content=end),)

    @property
    def between(self) -> tuple[Joint | Entrance, ...]:
        """Width converters, forks, and the input operation."""
        return joints_of(self.program, self.plan, self.builds)

    @property
    def block_of(self) -> StageBlocks:
        """Sorts the cells and nets of a stage by the names of its modules and nets."""
        return BLOCK_OF

    @property
    def layers(self) -> tuple[Layer, ...]:
        """One per stage."""
        return tuple(_layer(build) for build in self.builds)

    @property
    def outlets(self) -> tuple[Outlet, ...]:
        """What leaves each stage."""
        return tuple(_outlet(build) for build in self.builds)

    @property
    def work(self) -> tuple[WorkSignals, ...]:
        """Groups of output channels of each stage; beats of a join."""
        return tuple(_work_of(build) for build in self.builds)

    def component(self) -> Any:
        """The pipeline behind AXI4-Stream."""
        from .pipeline import Accelerator, Pipeline

        return Accelerator(Pipeline(self.program, self.plan, prefix=self.prefix))

    def check_fits(self, program: Program) -> None:
        """Refuse a Program whose weights cannot be loaded, see `reload.check_fits`."""
        check_fits(program, self.program, self.plan)

    def holding(self, memories: Mapping[str, Image]) -> Program:
        """The Program whose integers stand in ``memories``, see `reload.program_holding`."""
        return program_holding(self.program, tuple(zip(self.builds, self._images, strict=True)), memories)

    def alternatives(self, cost: Callable[[Any], float] | None = None) -> dict[str, dict[str, Variant | None]]:
        """The fold of each stage, and the next ones that are slower or faster."""
        price = structural_cost if cost is None else cost
        return {build.stage.name: {**alternatives(build, price)} for build in self.builds}


def _layer(build: StageBuild) -> Layer:
    """What reports show of a stage."""
    stage, plan = build.stage, build.plan
    return Layer(
        name=stage.name, kind=stage.kind, result=stage.result, window=stage.window,
        fold={key: getattr(plan, key) for key in ("pe", "simd", "taps", "lines", "blocks", "residual")},
        lanes=build.lanes, requantisers=stage.units(plan), macs=stage.macs, weight_bits=stage.weight_bits,
        weight_port_bits=build.lanes * stage.weight_width, ring_bits=build.window.ring_bits,
        operand_bits=stage.x.bits, received_bits=stage.received_bits, port_bits=stage.port_bits(plan),
    )  # fmt: skip


def _outlet(build: StageBuild) -> Outlet:
    """The stream behind the queue of a stage."""
    stage = build.stage
    return Outlet(
        stage=stage.name, tensor=stage.tensor, shape=stage.result, bits=stage.y.bits, signed=stage.y.signed,
        count=build.gather * build.out_count, path=f"{DUT}.{PIPELINE}.{STAGE}{stage.name}.o",
        handshake=build.handshake,
    )  # fmt: skip


def _work_of(build: StageBuild) -> WorkSignals:
    """When a stage begins a group, or hands on a beat."""
    stage = build.stage
    at = f"{DUT}.{PIPELINE}.{STAGE}{stage.name}."
    begin, go = stage.probe
    return WorkSignals(
        name=stage.name, begin=" && ".join(f"{at}{net}" for net in begin), go=f"{at}{go}",
        groups=build.window.read_cycles // build.window.steps, steps=build.window.steps, starved="waits for input",
        blocked="waits for room" if stage.residual is None else "waits for room or for the residual",
    )  # fmt: skip
