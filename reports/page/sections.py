"""Parts of a report that are worked out for its page: shares of the device, the timeline, the roofline."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...hdl.family import Layer
from ...hdl.streams.beats import element_bits
from ...hdl.timing import Schedule
from ...quant.program import Program
from ..devices.devices import Device

__all__ = ["device_shares", "roofline", "timeline"]

IMAGES = 3
"""Images on the timeline: the first fills the pipeline, two show the steady rhythm."""
_SHARED = ("lut", "ff", "bram", "dsp")


def device_shares(cells: Mapping[str, float], target: Device) -> dict[str, dict[str, Any]]:
    """How much of ``target`` a design takes: used, available, share and unit of each kind of cell that it has."""
    return {
        key: {
            "used": cells[key],
            "available": getattr(target, key),
            "share": cells[key] / getattr(target, key),
            "unit": getattr(target.units, key),
        }
        for key in _SHARED
        if getattr(target, key)
    }


def timeline(schedule: Schedule, clock_mhz: float) -> dict[str, Any]:
    """When the array of each stage works on the first images, and when their answers are complete.

    The first image's times are those of the cycle model: at the earliest, so that a stage that is faster than the next
    one may in truth be held up by it. Answers are exact. The next images follow at the steady interval; where the model
    lets the first image linger in a stage, the next begins when the stage is free.

    Returns
    -------
    ``stages``, each with ``spans`` of begin and end (excluded), and ``answers``: cycles after the first input beat.
    """
    return {
        "unit": "cycles after the first input beat",
        "images": IMAGES,
        "clock_mhz": clock_mhz,
        "latency": schedule.latency,
        "interval": schedule.interval,
        "stages": [
            {"name": stage.name, "spans": _spans(stage.begin, stage.end, schedule.interval)}
            for stage in schedule.stages
        ],
        "answers": [schedule.latency + image * schedule.interval for image in range(IMAGES)],
    }


def _spans(begin: int, end: int, interval: int) -> list[list[int]]:
    spans, free = [], 0
    for image in range(IMAGES):
        shift = image * interval
        spans.append([max(begin + shift, free), end + shift])
        free = spans[-1][1]
    return spans


def roofline(
    layers: Sequence[Layer], program: Program, schedule: Schedule, *, clock_mhz: float, pixels: int
) -> dict[str, Any]:
    """Lane operations per second against lane operations per bit received, of every stage with lanes and of the whole.

    A lane operation is one product, or ``|x - w|``, together with its addition. The bits that a stage receives are
    features, once per image: weights stay in memories of its own, with a port for every lane, which never bind. What a
    stage could do at most (``roof``) follows from the cycles that it needs by itself: those in which its lanes work,
    or, where they are more, those in which its port takes an image in or its results go out. No stage receives more
    than the widest port takes (``feed``), so no ceiling lies above that line.

    Returns
    -------
    rates in 10^9 operations per second, intensities in operations per bit, bandwidths in Gbit/s.
    """
    giga = clock_mhz / 1000
    stages = []
    for layer, timing in zip(layers, schedule.stages, strict=True):
        if not layer.lanes:
            continue
        stages.append({
            "name": layer.name,
            "intensity": layer.macs / layer.received_bits,
            "gops": layer.macs / schedule.interval * giga,
            "roof_gops": layer.macs / timing.interval * giga,
            "lanes_gops": layer.lanes * giga,
            "weights_gbit_s": layer.weight_port_bits * giga,
        })  # fmt: skip
    input_bits = program.input.shape[0] * pixels * element_bits(program.input.format)
    return {
        "stages": stages,
        "accelerator": {
            "intensity": program.macs() / (int(np.prod(program.input.shape)) * element_bits(program.input.format)),
            "gops": program.macs() / schedule.interval * giga,
        },
        "lanes_gops": schedule.lanes * giga,
        "input_gbit_s": input_bits * giga,
        "feed_gbit_s": max(input_bits, *(layer.port_bits for layer in layers)) * giga,
        "weights_gbit_s": sum(stage["weights_gbit_s"] for stage in stages),
    }
