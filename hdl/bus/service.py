"""What control needs of a pipeline, beside its streams: wires into the memories, and what the stages are doing."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Module, Signal, Value

from .register_map import RegisterMap
from .reload import Reload

__all__ = ["Service", "StageService"]


@dataclass(frozen=True, kw_only=True, eq=False)
class StageService:
    """What the registers of control see of one stage, and the wires to the stage's memories.

    The stage drives the three signals through `report`; each is 1 in the cycles in which what it says is so.

    Attributes
    ----------
    reload : wires to its memories
    counted : there are counters of what it does
    busy : its array or pool works
    starved : it has room for a beat, and there is none
    stalled : it has a result that none takes
    """

    reload: Reload
    counted: bool
    busy: Signal
    starved: Signal
    stalled: Signal

    def report(self, m: Module, *, busy: Value, inputs: Iterable[Any], outputs: Iterable[Any]) -> None:
        """Watch a stage with these streams, if anything counts what it does."""
        if not self.counted:
            return
        starved = [port.ready & ~port.valid for port in inputs]
        stalled = [port.valid & ~port.ready for port in outputs]
        m.d.comb += [self.busy.eq(busy), self.starved.eq(_any(starved)), self.stalled.eq(_any(stalled))]


class Service:
    """What the registers of control see of a whole pipeline.

    Attributes
    ----------
    map : the registers through which all this is seen
    reload : wires to the memories
    stages : by name
    """

    def __init__(self, registers: RegisterMap):
        self.map = registers
        self.reload = Reload(registers.memories)
        counted = bool(registers.stage_registers)
        self.stages = {
            name: StageService(
                reload=self.reload, counted=counted, busy=Signal(name=f"busy_{name}"),
                starved=Signal(name=f"starved_{name}"), stalled=Signal(name=f"stalled_{name}"),
            )
            for name in registers.stages
        }  # fmt: skip


def _any(values: list[Value]) -> Value:
    result = values[0]
    for value in values[1:]:
        result = result | value
    return result
