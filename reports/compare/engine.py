"""The rows of engines in a comparison: for each kernel an engine of the lanes that its network needs."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...hdl.engine.compile.file import save_image
from ...hdl.engine.compile.image import compiled
from ...hdl.engine.cycles.model import predicted
from ...hdl.engine.plan import LANES, EnginePlan
from ...hdl.folder.engine import generate_engine
from ...models import data
from ...quant.program import Convolution, Product, Program, Requantise, Table
from ...quant.quantize import evaluate
from ..devices.devices import Device
from ..engine.report import make_engine_report
from ..power.power import Power

__all__ = ["PINS", "EngineTerms", "engine_row"]

PINS = LANES[1:]
"""Lanes of a row: a word of 8 bits each is at least as wide as the narrowest memory."""
_PORT = 128
"""Bits of the memory, where a word has so many."""
_NARROW = 8


@dataclass(frozen=True, kw_only=True)
class EngineTerms:
    """Under which terms engines are compared.

    Attributes
    ----------
    device, clock_mhz : of all
    pin, pout : lanes of a row, and rows
    bits : of the networks' weights and features
    data_source, split : images whose accuracy is told
    placed, seeds : whether to place and route, and how often
    power_images : images of the split whose runs give the switching activity; 0 for no power
    """

    device: Device
    clock_mhz: float
    pin: int
    pout: int
    bits: int
    data_source: str
    split: str
    placed: bool
    seeds: int
    power_images: int = 0

    def plan(self, program: Program) -> EnginePlan:
        """The engine for ``program``: with all that it has, and memory as wide as a word, at most 128 bits."""
        kernels = dict.fromkeys(op.kernel for op in program.ops if isinstance(op, Convolution))
        bits = 8 if self.bits <= _NARROW else 16
        looked_up = [program.format(op.source).bits for op in program.ops if isinstance(op, Table)]
        requantises = [op for op in program.ops if isinstance(op, Requantise)]
        return EnginePlan(
            device=self.device.name, clock_mhz=self.clock_mhz, pin=self.pin, pout=self.pout, bits=bits,
            kernels=tuple(kernels), memory_bits=min(_PORT, max(self.pin, self.pout) * bits), fabric=self.device.fabric,
            product=any(isinstance(op, Product) for op in program.ops), tables=max(looked_up, default=0),
            slopes=any(op.bends for op in requantises), ties_even=any(op.ties == "even" for op in requantises),
        )  # fmt: skip


def engine_row(
    program: Program, terms: EngineTerms, out: Path, step: Callable[[str], None]
) -> tuple[dict[str, Any], Power | None]:  # fmt: skip
    """An engine for ``program`` under ``out``, with its image and its report; the keys are those of a dataflow row. And
    its power, where that is asked for.

    Cycles are those that are predicted, which simulation equals. What is simulated for power is not compared here.

    Raises
    ------
    UserError
        for a network that an engine does not have.
    """
    step("compiling")
    plan = terms.plan(program)
    image = compiled(program, plan)
    step("generating")
    build = generate_engine(plan, out / "build")
    save_image(out / "net.image", image)
    images = data.load(terms.data_source, terms.split, shape=program.input.shape)
    made = make_engine_report(
        build, out / "report", run=(image, predicted(image)), synth=True, placed=terms.placed, seeds=terms.seeds,
        power_images=images.head(terms.power_images).x if terms.power_images else None, command="addax compare",
        step=step,
    )  # fmt: skip
    row = {
        "arch": "engine", "accuracy": evaluate(program, images).accuracy, "simulated_images": 0, "mismatches": None,
        **made.keys, "seeds_mhz": list(made.placement.seeds_mhz) if made.placement else None,
        "power": made.power.to_json() if made.power else None,
    }  # fmt: skip
    return row, made.power
