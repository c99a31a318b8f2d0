"""Which registers an accelerator has: identification, status, control, counters, the window into its memories."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from ...common.files import sha256_of
from ...quant.ops.ends import PIXEL
from ...quant.program import Op, Program
from ..activation.entry import entry_of
from ..bus.register_map import BusRegister, Field, RegisterMap, WritableMemory
from ..memory.image import Image
from .build import StageBuild
from .kinds.layer import LayerStage
from .plan import Plan

__all__ = ["MAGIC", "MAP_VERSION", "build_identity", "control_map"]

MAGIC = int.from_bytes(b"ADDX", "big")
MAP_VERSION = 1
"""Grows with every change of the map that software could notice."""
IN_FLIGHT_BITS = 16
"""A pipeline holds a few rows and beats per stage, so never as many images as this counts."""
STAGE_BASE = 0x100
STAGE_STRIDE = 16
STAGE_COUNTERS = {
    "busy": "cycles in which its array or pool works",
    "starved": "cycles with room for a beat but none",
    "stalled": "cycles with a result that none takes",
}


def control_map(program: Program, builds: Sequence[StageBuild], plan: Plan, images: Sequence[Image]) -> RegisterMap:
    """The registers of the build of ``program`` under ``plan``.

    Parameters
    ----------
    images : contents of its memories, in the order of their numbers; only names and sizes matter. What is sized for
        the weights of one Program can hold no others: the memories of a build with fixed weights are not writable.
    """
    memories = () if plan.fixed_weights else tuple(
        WritableMemory(number=k, name=image.name, width=image.width, depth=image.depth)
        for k, image in enumerate(images)
    )  # fmt: skip
    return RegisterMap(
        registers=(
            *_identification(build_identity(program, builds, plan, images), len(builds), len(memories)),
            *_state(counters=plan.counters),
            *_window(),
            *(_counters() if plan.counters else ()),
        ),
        stages=tuple(build.stage.name for build in builds),
        stage_registers=tuple(
            BusRegister(name=name, offset=4 * k, width=32, access="ro", meaning=meaning, counter=True)
            for k, (name, meaning) in enumerate(STAGE_COUNTERS.items() if plan.counters else ())
        ),
        stage_base=STAGE_BASE,
        stage_stride=STAGE_STRIDE,
        memories=memories,
    )


def build_identity(program: Program, builds: Sequence[StageBuild], plan: Plan, images: Iterable[Image]) -> int:
    """64 bits that differ between builds whose RTL differs, and are equal for all weights that one build can run."""
    entry = entry_of(program)
    value = {
        "map": MAP_VERSION,
        "plan": plan.to_json(),
        "input": [*program.input.shape, *([] if program.input.format == PIXEL else [str(program.input.format)])],
        "entry": None if entry is None else _plain(entry),
        "stages": [{name: str(aspect) for name, aspect in b.stage.aspects.items()} for b in builds],
        "shifts": [b.stage.shared_shift for b in builds] if plan.fixed_weights else None,
        "answer": [program.classifies, str(program.format(program.output)), *program.shape(program.output)],
        "memories": [[image.name, image.width, image.depth] for image in images],
    }
    if constants := [b.stage.constants for b in builds if isinstance(b.stage, LayerStage) and b.plan.reach]:
        value["constants"] = [repr(layer) for layer in constants]
    return int(sha256_of(json.dumps(value, sort_keys=True).encode())[:16], 16)


def _plain(op: Op) -> dict[str, Any]:
    """Every number of ``op``, which is a part of the RTL."""
    values = {item.name: getattr(op, item.name) for item in fields(op)}
    return {"op": type(op).__name__} | {
        name: value.tolist() if isinstance(value, np.ndarray) else str(value) for name, value in values.items()
    }


def _ro(name: str, offset: int, meaning: str, **more: Any) -> BusRegister:
    return BusRegister(name=name, offset=offset, access="ro", meaning=meaning, **{"width": 32, **more})


def _identification(identity: int, stages: int, memories: int) -> tuple[BusRegister, ...]:
    return (
        _ro("magic", 0x00, "an addax accelerator: the letters ADDX, A highest", value=MAGIC),
        _ro("map_version", 0x04, "version of this map", value=MAP_VERSION),
        _ro("build", 0x08, "hash of the Plan and the shapes and formats of the Program", width=64, value=identity),
        _ro("stages", 0x10, "number of stages", value=stages),
        _ro("memories", 0x14, "number of memories that can be written", value=memories),
    )


def _state(*, counters: bool) -> tuple[BusRegister, ...]:
    """What it does, what it shall do, and what was refused."""
    clear = Field(name="clear", bit=1, meaning="a one sets all counters to zero; reads as 0")
    return (
        BusRegister(
            name="status", offset=0x18, width=32, access="ro", meaning="what it does",
            fields=(
                Field(name="running", bit=0, meaning="new images are taken"),
                Field(name="busy", bit=1, meaning="an image is in flight: begun, or its answer not yet given"),
                Field(name="idle", bit=2, meaning="neither: memories can be written"),
                Field(name="in_flight", bit=16, width=IN_FLIGHT_BITS, meaning="images in flight"),
            ),
        ),
        BusRegister(
            name="control", offset=0x1C, width=1 + counters, access="rw", meaning="what it shall do",
            fields=(
                Field(name="run", bit=0, meaning="take images; one that has begun is taken whole; 1 after reset"),
                *((clear,) if counters else ()),
            ),
        ),
        BusRegister(
            name="errors", offset=0x20, width=4, access="w1c", meaning="what was refused since",
            fields=(
                Field(name="access", bit=0, meaning="no such register, or not this way"),
                Field(name="busy", bit=1, meaning="`memory_data` while not idle"),
                Field(name="range", bit=2, meaning="`memory_data` without such a memory or word"),
                Field(name="partial", bit=3, meaning="`memory_data` without all four byte strobes"),
            ),
        ),
    )  # fmt: skip


def _window() -> tuple[BusRegister, ...]:
    """Through which memories are written."""
    return (
        BusRegister(
            name="memory_select", offset=0x24, width=32, access="rw",
            meaning="number of the memory to write; a write sets `memory_address` to 0",
        ),
        BusRegister(
            name="memory_address", offset=0x28, width=32, access="rw",
            meaning="word to write next; grows with every word; a write begins that word anew",
        ),
        BusRegister(
            name="memory_data", offset=0x2C, width=32, access="wo",
            meaning="the next 32 bits of the word, lowest first; the last part writes it",
        ),
        _ro("memory_width", 0x30, "bits of a word of the selected memory, 0 when there is none"),
        _ro("memory_depth", 0x34, "words of the selected memory, 0 when there is none"),
    )  # fmt: skip


def _counters() -> tuple[BusRegister, ...]:
    """The counters of the whole accelerator."""
    long, short = {"counter": True, "width": 64}, {"counter": True}
    return (
        _ro("cycles", 0x40, "clock cycles", **long),
        _ro("input_stall", 0x48, "cycles with `s_axis_tvalid` and not `s_axis_tready`", **long),
        _ro("output_stall", 0x50, "cycles with `m_axis_tvalid` and not `m_axis_tready`", **long),
        _ro("images_in", 0x58, "images whose last pixel was taken", **short),
        _ro("images_out", 0x5C, "images whose answer was given", **short),
    )
