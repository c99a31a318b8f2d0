"""The harness of an engine: its memory, in Verilog, so that whole networks run at the simulator's speed."""

from pathlib import Path

from ...common.templates import render
from .plan import EnginePlan

__all__ = ["harness_text"]

_DEPTH_BYTES = 1 << 26
"""Bytes of the simulated memory."""


def harness_text(plan: EnginePlan, prefix: str) -> str:
    """The module ``PREFIX_harness`` around the engine ``PREFIX``."""
    bits = plan.memory_bits
    return render(Path(__file__).with_name("harness.v.j2"), prefix=prefix, bits=bits, depth=_DEPTH_BYTES // (bits // 8))
