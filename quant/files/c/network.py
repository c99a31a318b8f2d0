"""``network.c``: a Program as plain loops."""

from pathlib import Path

from ....common.templates import render
from ...ops.ends import PIXEL
from ...program import Program
from .header import c_type
from .loops import LOOPS, Numbers

__all__ = ["c_network"]

_HERE = Path(__file__).parent


def c_network(program: Program) -> str:
    """``network.c``, which includes ``weights.h``: values of the input on standard input, scores and class, or the raw
    output, on standard output."""
    numbers = Numbers(program)
    ops = [{**numbers.facts(op), "loops": LOOPS.of(op).text(numbers, op)} for op in program.ops]
    fmt = program.input.format
    element = "unsigned char" if fmt == PIXEL else c_type(fmt.bits, fmt.signed)
    return render(_HERE / "network.c.j2", ops=ops, classifies=program.classifies, element=element)
