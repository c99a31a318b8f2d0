"""How each layer of an image runs: cycles and what they go to, bytes, and which roof it stands under."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...hdl.engine.compile.bands import parts_of
from ...hdl.engine.compile.image import Compiled
from ...hdl.engine.compile.reading.layers import EngineLayer
from ...hdl.engine.compile.traffic import LayerTraffic, traffic_of
from ...hdl.engine.cycles.array import LayerCycles
from ...hdl.engine.cycles.model import EngineCycles
from ...hdl.engine.records import Across, Unit
from ...hdl.engine.vector.quotients import quotient_pace

__all__ = ["LayerRun", "layer_runs"]


@dataclass(frozen=True, kw_only=True)
class LayerRun:
    """A layer of a run.

    Attributes
    ----------
    mapping : how it lies on the lanes: ``plain``, ``folded stem``, ``depthwise``, ``groups``, ``tokens``, ``pool``,
        ``product``, ``choice``; behind it ``table`` where results are looked up, ``number`` and ``largest`` where they
        are compared, ``quotient`` where they are divided
    bands : rows that are computed together, how many times
    macs, lanes : products per image, and those that the array makes in a cycle
    cycles : from the end of the layer before to its own
    busy : cycles in which the array or the pools are at work
    idle : lane cycles without a product, as cycles of the whole array, by cause. ``channels``: lanes of blocks that are
        not full; ``wide results``: results of several words; ``quotients``: results that are divided; ``pools``: the
        lanes wait for them; the others: see
        `hdl.engine.activity.CycleUse`
    moved : its words in memory
    word_bytes, beats : of a word
    """

    name: str
    unit: str
    mapping: str
    bands: int
    macs: int
    lanes: int
    cycles: int
    busy: int
    idle: dict[str, float]
    starved: int
    bound: str
    moved: LayerTraffic
    word_bytes: int
    beats: int

    @property
    def least(self) -> float:
        """Cycles that lanes and memory would let it have: those of all lanes, or of the busier channel of memory."""
        return max(self.macs / self.lanes, self.port_words * self.beats)

    @property
    def port_words(self) -> int:
        """Words on the busier channel of memory: reads and writes have one each."""
        return max(self.moved.read, self.moved.results)

    @property
    def roof(self) -> str:
        """What it would be bound by if nothing waited: ``compute`` or ``memory``."""
        return "compute" if self.macs / self.lanes >= self.port_words * self.beats else "memory"

    def to_json(self) -> dict[str, Any]:
        """The layer as JSON has it."""
        bytes_of = {key: words * self.word_bytes for key, words in vars(self.moved).items()}
        return {
            "layer": self.name, "unit": self.unit, "mapping": self.mapping, "bands": self.bands, "macs": self.macs,
            "cycles": self.cycles, "busy": self.busy, "starved": self.starved, "bound": self.bound, "roof": self.roof,
            "utilization": self.macs / self.lanes / self.cycles if self.cycles else 0.0,
            "bytes_read": self.moved.read * self.word_bytes, "bytes_written": bytes_of["results"],
            "bytes_by_use": bytes_of, "idle": self.idle,
        }  # fmt: skip


def layer_runs(image: Compiled, cycles: EngineCycles) -> tuple[LayerRun, ...]:
    """Every layer of ``image`` as ``cycles`` have been predicted for it."""
    found, at = [], 0
    for layer, moved in zip(image.network.layers, traffic_of(image), strict=True):
        own = cycles.layers[at : at + len(parts_of(image.bands[layer.name]))]
        at += len(own)
        found.append(_run(image, layer, own, moved))
    return tuple(found)


def _run(image: Compiled, layer: EngineLayer, own: Sequence[LayerCycles], moved: LayerTraffic) -> LayerRun:
    plan, busy = image.plan, sum(part.busy for part in own)
    waits = {cause.name.lower(): sum(part.waits[cause] for part in own) for cause in own[0].waits}
    total = busy + sum(waits.values())
    starved = max(waits, key=lambda cause: waits[cause])
    pool = layer.unit is not Unit.ARRAY
    issued = 0 if pool else busy - _further_cycles(image, layer)
    idle = {
        "channels": issued - layer.macs / plan.lanes,
        "quotients" if layer.divides else "wide results": 0 if pool else busy - issued,
        "pools": busy if pool else 0, **waits,
    }  # fmt: skip
    folded = image.network.columns > 1 and layer.source == image.network.tensors[0]
    return LayerRun(
        name=layer.name, unit=layer.kernel or layer.unit.name.lower(),
        mapping=_mapping(layer, folded=folded), bands=len(image.bands[layer.name]),
        macs=layer.macs, lanes=plan.lanes, cycles=total, busy=busy,
        idle={cause: spent for cause, spent in idle.items() if spent}, starved=sum(waits.values()),
        bound=starved if 2 * waits[starved] > total else "compute", moved=moved, word_bytes=plan.word_bytes,
        beats=plan.beats,
    )  # fmt: skip


def _mapping(layer: EngineLayer, *, folded: bool) -> str:
    if layer.unit is not Unit.ARRAY:
        found = "product" if layer.product else "choice" if layer.unit is Unit.CHOICE else "pool"
    elif layer.other is not None:
        found = "tokens"
    elif layer.together:
        found = "depthwise"
    else:
        found = "groups" if layer.groups > 1 else "folded stem" if folded else "plain"
    if layer.divides:
        return f"{found}, quotient"
    behind = {Across.NUMBER: ", number", Across.LARGEST: ", largest"}.get(layer.across, "")
    return f"{found}, table" if layer.table is not None else f"{found}{behind}"


def _further_cycles(image: Compiled, layer: EngineLayer) -> int:
    """Cycles in which the array waits for the second and further words of results to leave, or for quotients, see
    `cycles.array`."""
    _, height, width = image.layouts[layer.name].shape
    blocks, bands = -(-len(layer.multiplier) // image.plan.pout), len(image.bands[layer.name])
    plan = image.plan
    pixel = quotient_pace(plan.operand, plan.dividers) if layer.divides else image.layouts[layer.name].pixel_words
    return blocks * (height * width // layer.shuffle**2 - bands) * (pixel - 1)
