"""A BUILD: simulated against the golden model, and reported on."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..common.console import bar, steps
from ..common.errors import UserError, positive
from .display import build_page
from .given import given
from .results import Report, Simulation

if TYPE_CHECKING:
    from ..hdl.family import Design, Envelope
    from ..hdl.folder.build import Build as Folder
    from ..hdl.timing import Schedule
    from ..quant.program import Program

__all__ = ["DEVICE", "Build", "generated", "open_build"]

DEVICE = "ecp5-85k"
"""For which hardware is made where no device is said."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Build:
    """A BUILD folder: Verilog, memory files, a test bench, and the integers that it was made of.

    Attributes
    ----------
    folder : opened and checked
    """

    folder: "Folder"

    @property
    def path(self) -> Path:
        """Where it lies."""
        return self.folder.path

    @property
    def verilog(self) -> Path:
        """The accelerator."""
        return self.folder.sources[0]

    @property
    def plan(self) -> "Envelope":
        """How it is built."""
        return self.folder.plan

    @property
    def schedule(self) -> "Schedule":
        """The cycles that are predicted for an image."""
        return self.folder.schedule

    @property
    def design(self) -> "Design":
        """The hardware that it is."""
        return self.folder.design

    @property
    def program(self) -> "Program":
        """The integers that it was made of."""
        return self.folder.program

    @property
    def images_per_second(self) -> float:
        """The pace of images at the clock of the Plan."""
        return self.plan.clock_mhz * 1e6 / self.schedule.interval

    def simulate(
        self,
        images: Any,
        *,
        split: str = "test",
        limit: int | None = None,
        stall: float = 0.0,
        stall_pattern: str = "both",
        seed: int = 1,
        waves: Path | None = None,
        program: "Program | None" = None,
        trace_stages: bool = False,
        jobs: int | None = None,
    ) -> Simulation:
        """Run images through the RTL, clock by clock, and compare every answer with the golden model's.

        Parameters
        ----------
        images : whatever `quantize` takes as such; labels give an accuracy. A network whose input is not of unsigned
            bytes takes an array of integers that lie in its format
        limit : take the first so many
        stall : share of stalled cycles, 0.3 or 30 (per cent)
        stall_pattern : ``both``, ``source`` or ``sink``: per cycle; ``burst``: in bursts, both
        seed : of the stalls
        waves : waveform file, ``.vcd`` or ``.fst``, of the first part
        program : another one of the same shapes, whose weights are loaded into the same RTL
        trace_stages : compare the output of every stage: where is the first difference?
        jobs : simulators side by side; as many as there are processors unless said

        Raises
        ------
        UserError
            for images of another shape, a network that does not fit, or a simulation that hangs.
        """
        from ..common.executor import processors
        from ..sim.cosim import simulate, simulator_name

        program = self.program if program is None else program
        chosen = given(program, images, split, limit=positive("images", limit))
        workers = positive("jobs", jobs) or processors()
        # Simulators run in processes of their own. A pool of processes would import a script that has no guard again.
        with ThreadPoolExecutor(workers) as executor, bar("images", len(chosen)) as advance:
            outcome = simulate(
                self.folder, chosen.x, program=program, stall=as_share(stall), stall_pattern=stall_pattern, seed=seed,
                waves=waves, trace_stages=trace_stages, executor=executor, workers=workers, progress=advance,
            )  # fmt: skip
        right = chosen.y is not None and program.classifies
        accuracy = float((outcome.classes == chosen.y).mean()) if right else None
        return Simulation(
            outcome=outcome, schedule=self.schedule, clock_mhz=self.plan.clock_mhz, accuracy=accuracy,
            simulator=simulator_name(),
        )  # fmt: skip

    def report(
        self,
        *,
        synth: bool = False,
        place: bool = False,
        seeds: int = 1,
        power: bool = False,
        images: Any = "digits",
        saif: Path | None = None,
        out: str | Path | None = None,
        command: str = "",
    ) -> Report:
        """Resources, timing and power, as a page and as JSON.

        Parameters
        ----------
        synth : count resources with yosys; else they are estimated
        place : place and route as well: Fmax
        seeds : of place and route; the median is reported
        power : model power from simulated activity (synthesises too)
        images : whose simulation gives the activity
        saif : activity file of a simulation of your own, instead of ``images``
        out : folder of the report; ``report`` in the BUILD unless said
        command : what a person typed, which the page shows

        Raises
        ------
        UserError
            where the device has no such tool, the design does not fit, or ``out`` cannot be written.
        """
        from ..reports.page.report import POWER_IMAGES, make_report

        positive("seeds", seeds)
        if saif is not None and not power:
            raise UserError("--saif goes with --power")
        simulated = power and saif is None
        pixels = given(self.program, images, "test", limit=POWER_IMAGES).x if simulated else None
        with steps("report") as step:
            made = make_report(
                self.folder, self.path / "report" if out is None else out, synth=synth, placed=place, seeds=seeds,
                power_images=pixels, saif=saif, step=step, command=command,
            )  # fmt: skip
        return Report(made=made)

    def export_memories(self, out: str | Path, *, program: "Program | None" = None) -> None:
        """Write the memory files of its RTL into the folder ``out``, with the weights of another ``program`` if given.

        Raises
        ------
        UserError
            for a program that does not fit the RTL, or a folder that cannot be written.
        """
        from ..hdl.folder.memories import export_memories

        export_memories(self.folder, out, program=program)

    def __repr__(self) -> str:
        times = self.schedule
        return (
            f"<addax.Build {self.path}: {self.plan.device}, {times.lanes:,} lanes, "
            f"{times.interval:,} cycles per image, {self.images_per_second:,.0f} images/s "
            f"at {self.plan.clock_mhz:g} MHz>"
        )

    def _repr_html_(self) -> str:
        rows = {
            "folder": str(self.path),
            "device": self.plan.device,
            "lanes": f"{self.schedule.lanes:,}",
            "cycles per image": f"{self.schedule.interval:,}",
            f"images/s at {self.plan.clock_mhz:g} MHz": f"{self.images_per_second:,.0f}",
        }
        return build_page(f"addax.Build {self.path.name}", rows, self.design.layers, self.schedule)


def generated(
    program: "Program", out: Path, *, prefix: str = "addax", plan: "str | Path | Envelope | None" = None, **choices: Any
) -> Build:
    """The BUILD of ``program`` in the folder ``out``; the rest as `Network.generate`."""
    from ..hdl.folder.generate import generate
    from ..hdl.folder.vectors import sample_vectors
    from ..reports.planning import PlanChoices, plan_for

    written = None if plan is None or isinstance(plan, str | Path) else plan
    file = Path(plan) if isinstance(plan, str | Path) else None
    known = [item.name for item in fields(PlanChoices) if item.name not in ("file", "plan")]
    if wrong := sorted(set(choices) - set(known)):
        raise UserError(f"generate has no choice {wrong[0]!r}; known: {', '.join(known)}")
    chosen = PlanChoices(file=file, plan=written, **choices)
    return Build(
        folder=generate(program, plan_for(program, chosen), out, vectors=sample_vectors(program), prefix=prefix)
    )


def open_build(path: str | Path) -> Build:
    """The BUILD in the folder ``path``; raises `UserError` where there is none. Its Verilog is code of its author's."""
    from ..hdl.folder.build import open_build as opened

    return Build(folder=opened(path))


def as_share(stall: float) -> float:
    """``stall`` as a share, where it may be said in per cent."""
    return stall if stall < 1 else stall / 100
