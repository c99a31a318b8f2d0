"""Engines from Python and for the command line: generated, compiled for, simulated."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..common.console import steps
from ..common.errors import UserError, positive
from .results import Report

if TYPE_CHECKING:
    from ..hdl.engine.compile.image import Compiled
    from ..hdl.engine.cycles.model import EngineCycles
    from ..hdl.folder.engine import EngineBuild
    from ..models.data import Samples
    from ..sim.cosim import FirstDifference
    from ..sim.engine import EngineRun
    from ..sim.stage_trace import StageTrace

__all__ = ["EngineSimulation", "compile_for", "engine_plan", "layer_keys", "report_engine", "simulate_engine"]

ENGINE_POWER_IMAGES = 2
"""Whose runs give the switching activity of an engine: a run is long, and all of the engine works in it."""


def engine_plan(**choices: Any) -> Any:
    """The Plan of an engine; raises `UserError` for impossible choices. What is None is left to the Plan."""
    from ..hdl.engine.plan import EnginePlan

    try:
        return EnginePlan(**{name: value for name, value in choices.items() if value is not None})
    except ValueError as error:
        raise UserError(str(error)) from error


def compile_for(
    program_file: str | Path, build: "EngineBuild", out: str | Path, *, reuse: bool = False,
    testbench: str | Path | None = None, flat: str | Path | None = None,
) -> "tuple[Compiled, EngineCycles]":  # fmt: skip
    """Compile a ``.addax`` file for an engine and write the image; returns it with its cycles.

    Parameters
    ----------
    reuse : areas of tensors that are no longer read are used again
    testbench : folder for a self-checking test bench of plain Verilog that runs the image, engine included
    flat : file for the image as the BUILD's driver in C loads it
    """
    from ..common.files import write_bytes
    from ..hdl.engine.compile.file import save_image
    from ..hdl.engine.compile.image import compiled
    from ..hdl.engine.cycles.model import predicted
    from ..hdl.engine.driver.flat import flat_image
    from ..hdl.folder.engine_bench import write_engine_bench
    from ..quant.files.archive import load_program

    image = compiled(load_program(program_file), build.plan, reuse=reuse)
    cycles = predicted(image)
    save_image(out, image)
    if testbench is not None:
        write_engine_bench(build, image, testbench)
    if flat is not None:
        write_bytes(Path(flat), flat_image(image))
    return image, cycles


def layer_keys(image: "Compiled", cycles: "EngineCycles") -> list[dict[str, Any]]:
    """What JSON says of every layer of an image, see `reports.engine.layers.LayerRun`."""
    from ..reports.engine.layers import layer_runs

    return [run.to_json() for run in layer_runs(image, cycles)]


def report_engine(
    build: "EngineBuild", image_file: str | Path | None = None, *, synth: bool = False, place: bool = False,
    seeds: int = 1, power: bool = False, images: Any = "digits", saif: Path | None = None,
    out: str | Path | None = None, command: str = "",
) -> Report:  # fmt: skip
    """Cells of an engine by block, its clock, and with an image how each layer runs and the power that it takes: as a
    page and as JSON.

    Parameters
    ----------
    image_file : an image for this engine
    synth : count resources with yosys; else they are estimated, where the device's family has coefficients
    place : place and route as well: Fmax
    seeds : of place and route; the median is reported
    power : model power from simulated activity (synthesises too); of a network, so with an image
    images : the first `ENGINE_POWER_IMAGES` give the activity, as `api.given.given` takes them
    saif : activity file of a simulation of your own, instead of ``images``
    out : folder of the report; ``report`` in the BUILD unless said
    command : what a person typed, which the page shows

    Raises
    ------
    UserError
        for an image of another engine, for power without an image, and where the device has no such tool.
    """
    from ..hdl.engine.compile.file import load_image
    from ..hdl.engine.cycles.model import predicted
    from ..reports.engine.report import make_engine_report
    from .given import given

    positive("seeds", seeds)
    if saif is not None and not power:
        raise UserError("--saif goes with --power")
    if power and image_file is None:
        raise UserError("an engine's power depends on the network that it runs: say --image NET.image")
    image = None if image_file is None else load_image(image_file, build.plan)
    pixels = None
    if power and saif is None and image is not None:
        pixels = given(image.network.program, images, "test", limit=ENGINE_POWER_IMAGES).x
    with steps("report") as step:
        made = make_engine_report(
            build, build.path / "report" if out is None else out, synth=synth, placed=place, seeds=seeds,
            power_images=pixels, saif=saif, run=None if image is None else (image, predicted(image)), command=command,
            step=step,
        )  # fmt: skip
    return Report(made=made)


@dataclass(frozen=True, kw_only=True, eq=False)
class EngineSimulation:
    """Images through the RTL of an engine.

    Attributes
    ----------
    predicted : of a run that skips nothing
    predicted_totals : cycles of the run of each image
    stages : every stored tensor beside the golden model's, in the order in which they are made
    correct : images whose largest score is that of their label; None without labels
    """

    image: "Compiled"
    runs: "tuple[EngineRun, ...]"
    predicted: "EngineCycles"
    predicted_totals: tuple[int, ...]
    stages: "tuple[StageTrace, ...]"
    correct: int | None

    @property
    def mismatches(self) -> dict[str, int]:
        """Elements that differ, by tensor, all images together."""
        return {stage.name: stage.mismatches for stage in self.stages}

    @property
    def first_difference(self) -> "FirstDifference | None":
        """Where RTL and golden model begin to differ: the first stored tensor, and the place in it."""
        from ..sim.cosim import FirstDifference

        return next((FirstDifference(stage=s.name, place=s.first) for s in self.stages if s.first is not None), None)

    @property
    def bit_exact(self) -> bool:
        """Whether every stored tensor is the golden model's."""
        return not any(self.mismatches.values())

    def stage_keys(self) -> dict[str, Any]:
        """What ``addax simulate --trace-stages --json`` prints beside the others."""
        differs = self.first_difference
        return {
            "stages": [asdict(stage) for stage in self.stages],
            "first_difference": None if differs is None else {"stage": differs.stage, **asdict(differs.place)},
        }

    def _activity(self) -> dict[str, int]:
        """What the array spent the cycles of the first image with."""
        from ..hdl.engine.activity import CycleUse

        spent = self.runs[0].spent.sum(0)
        return {activity.name.lower(): int(spent[activity]) for activity in CycleUse}

    def _predicted(self) -> int | float:
        """Predicted cycles of an image: a whole number where all take the same."""
        totals = self.predicted_totals
        return totals[0] if len(set(totals)) == 1 else sum(totals) / len(totals)

    def keys(self) -> dict[str, Any]:
        """What ``addax simulate --json`` prints."""
        from ..sim.verilator import find_verilator

        plan, count = self.image.plan, len(self.runs)
        cycles = sum(run.cycles for run in self.runs) / count
        macs = self.image.network.program.macs()
        seconds = sum(run.seconds for run in self.runs)
        return {
            "images": count, "mismatches": sum(self.mismatches.values()), "bit_exact": self.bit_exact,
            "accuracy": None if self.correct is None else self.correct / count,
            "cycles_first_image": self.runs[0].cycles, "cycles_per_image": cycles,
            "predicted_cycles_per_image": self._predicted(), "lanes": plan.lanes,
            "cycles_by_image": [run.cycles for run in self.runs],
            "predicted_cycles_by_image": list(self.predicted_totals),
            "lane_utilization": macs / plan.lanes / cycles, "clock_mhz": plan.clock_mhz,
            "images_per_second": plan.clock_mhz * 1e6 / cycles,
            "sim_cycles_per_second": cycles * count / seconds if seconds else 0.0,
            "simulator": f"verilator {find_verilator().version}",
            "activity": self._activity(), "bytes_read": self.runs[0].read_beats * plan.memory_bits // 8,
            "bytes_written": self.runs[0].write_beats * plan.memory_bits // 8,
            "layers": layer_keys(self.image, self.predicted),
        }  # fmt: skip


def simulate_engine(
    build: "EngineBuild", image_file: str | Path, images: Any, split: str, *, limit: int | None, latency: int,
    jobs: int | None = None,
) -> EngineSimulation:  # fmt: skip
    """Run images through the RTL of an engine, one after the other, every stored tensor compared.

    Parameters
    ----------
    images : as `api.given.given` takes them
    latency : of the memory, in cycles
    jobs : simulators side by side; as many as there are processors unless said

    Raises
    ------
    UserError
        for an image of another engine, and when a run hangs or the memory answers with an error.
    """
    from ..common.executor import processors
    from ..hdl.engine.compile.asked import asked_by
    from ..hdl.engine.compile.file import load_image
    from ..hdl.engine.cycles.model import predicted
    from ..hdl.engine.cycles.transfers import Memory
    from ..sim.engine import engine_simulator, run_engine
    from .given import given

    image = load_image(image_file, build.plan)
    chosen = given(image.network.program, images, split, limit=limit)
    if not len(chosen.x):
        raise UserError("there are no images to simulate")
    simulator = engine_simulator(build)
    with ThreadPoolExecutor(positive("jobs", jobs) or processors()) as pool:
        runs = tuple(pool.map(lambda pixels: run_engine(simulator, image, pixels, latency=latency), chosen.x))
    if failed := next((run for run in runs if run.code), None):
        raise UserError(f"the engine ended with error {failed.code}", exit_code=3)
    memory, most = Memory(latency=latency), predicted(image, Memory(latency=latency))
    asked = [asked_by(image, pixels) for pixels in chosen.x]
    totals = tuple(most.total if own is None else predicted(image, memory, own).total for own in asked)
    return EngineSimulation(
        image=image, runs=runs, predicted=most, predicted_totals=totals,
        **_compared(image, chosen, runs),
    )  # fmt: skip


def _compared(image: "Compiled", chosen: "Samples", runs: "tuple[EngineRun, ...]") -> dict[str, Any]:
    """Every stored tensor beside the golden model's, and how many images are classified as their labels say."""
    from ..sim.engine_trace import compare_tensors

    program = image.network.program
    stages = compare_tensors(image, chosen.x, [run.words for run in runs])
    if chosen.y is None or not program.classifies:
        return {"stages": stages, "correct": None}
    classes = [int(image.tensor(run.words, image.network.output).reshape(-1).argmax()) for run in runs]
    return {"stages": stages, "correct": int((np.array(classes) == np.asarray(chosen.y)).sum())}
