"""The harness of an engine: its memory, in Verilog, so that whole networks run at the simulator's speed."""

from pathlib import Path

from amaranth.lib.wiring import Out

from ...common.templates import render
from ..bus.front_end import pins
from .activity import ACTIVITY_BITS
from .control import engine_map
from .engine import ERROR_BITS
from .plan import EnginePlan
from .transfer.axi import PREFIX, tied_pins

__all__ = ["HARNESS_BYTES", "harness_text"]

HARNESS_BYTES = 1 << 28
"""Bytes of the simulated memory."""


_DRIVEN = ("awready", "wready", "bvalid", "ack_o")
"""Answers of the control bus that the harness looks at."""


def _open_pins(plan: EnginePlan) -> list[str]:
    """Outputs of the top that nothing in the harness reads."""
    found = [f"{PREFIX}{name}" for name in tied_pins(plan)]
    if plan.control == "none":
        return found
    answers = pins(plan.control, engine_map(plan).address_bits).items()
    return found + [name for name, pin in answers if pin.flow == Out and not name.endswith(_DRIVEN)]


def harness_text(plan: EnginePlan, prefix: str, *, path: str) -> str:
    """The module ``PREFIX_harness`` around the engine ``PREFIX``; ``path`` is the Verilog macro that says where a file
    is, where there is one."""
    bits = plan.memory_bits
    return render(
        Path(__file__).with_name("harness.v.j2"), prefix=prefix, bits=bits, depth=HARNESS_BYTES // (bits // 8),
        open=_open_pins(plan), control=plan.control, path=path,
        address_bits=engine_map(plan).address_bits, activity_bits=ACTIVITY_BITS, error_bits=ERROR_BITS,
        bins=4 << ACTIVITY_BITS,
    )  # fmt: skip
