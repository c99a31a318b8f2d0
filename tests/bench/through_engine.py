"""One image through an engine: every stored tensor compared, cycles beside those that were predicted."""

import time

from addax.hdl.engine.compile.asked import asked_by
from addax.hdl.engine.compile.image import compiled
from addax.hdl.engine.cycles.model import predicted
from addax.sim.engine import run_engine
from addax.sim.engine_trace import compare_tensors
from engine_runs import simulator_of

__all__ = ["through_engine"]


def through_engine(program, plan, pixels):
    """What a table says of ``program`` on an engine of ``plan``, for (C, H, W) ``pixels``."""
    begin = time.perf_counter()
    image = compiled(program, plan)
    compiling = time.perf_counter() - begin
    run = run_engine(simulator_of(plan), image, pixels)
    stages = compare_tensors(image, pixels[None], [run.words])
    return {
        "cycles_predicted": predicted(image, asked=asked_by(image, pixels)).total, "cycles": run.cycles,
        "lanes_at_work": round(program.macs() / plan.lanes / run.cycles, 4),
        "values": sum(stage.values for stage in stages), "mismatches": sum(stage.mismatches for stage in stages),
        "compile_seconds": round(compiling), "seconds": round(run.seconds),
    }  # fmt: skip
