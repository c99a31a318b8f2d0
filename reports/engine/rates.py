"""What a network does on an engine, for a report: its rates and its roofline."""

from collections.abc import Sequence
from typing import Any

from ...hdl.engine.cycles.model import EngineCycles
from ...hdl.engine.plan import EnginePlan
from .layers import LayerRun

__all__ = ["rates", "roofline"]


def rates(plan: EnginePlan, runs: Sequence[LayerRun], cycles: EngineCycles) -> dict[str, Any]:
    """The flat values of a run."""
    macs = sum(run.macs for run in runs)
    return {
        "cycles_per_image": cycles.total, "cycles_first_image": cycles.total,
        "images_per_second": plan.clock_mhz * 1e6 / cycles.total,
        "lane_utilization": macs / plan.lanes / cycles.total, "macs": macs,
        "bytes_read": cycles.read_words * plan.word_bytes, "bytes_written": cycles.written_words * plan.word_bytes,
    }  # fmt: skip


def roofline(plan: EnginePlan, runs: Sequence[LayerRun], cycles: EngineCycles) -> dict[str, Any]:
    """Lane operations per second against those per bit on the busier channel of memory, for every layer with lanes.

    What a layer could do at most (``roof``) follows from the cycles that its products and its words take by
    themselves. Rates are in 10^9 per second, in the keys of the roofline of the dataflow family.
    """
    giga, bits = plan.clock_mhz / 1000, plan.word_bits
    macs = sum(run.macs for run in runs)
    return {
        "stages": [
            {
                "name": run.name, "intensity": run.macs / (run.port_words * bits), "gops": run.macs / run.cycles * giga,
                "roof_gops": run.macs / run.least * giga,
            }
            for run in runs if run.macs
        ],
        "accelerator": {
            "intensity": macs / (max(cycles.read_words, cycles.written_words) * bits),
            "gops": macs / cycles.total * giga,
        },
        "lanes_gops": plan.lanes * giga,
        **dict.fromkeys(("input_gbit_s", "feed_gbit_s"), plan.memory_bits * giga),
        "names": {"stages": "layers", "receive": "move", "received": "of memory", "feed": "memory"},
    }  # fmt: skip
