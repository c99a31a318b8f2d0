"""The kernels as circuits: how a lane computes its term, and how terms are summed.

A circuit is written as a Python generator. Every ``yield`` is a place where a rank of registers may stand; it hands
out everything that is alive there and gets it back, registered or not. So a circuit says once what it computes, and the
number of its levels, the latency and the choice of ranks follow from it.

============  =========  =====================================================================================
kernel        structure  term
============  =========  =====================================================================================
``adder``     2a         two subtractors, a multiplexer takes the one that is not negative
..            1c1a       a comparator, then the larger minus the smaller
..            carry      one subtractor; ``|d| = (d xor s) + s``: the xor rides in the table in front of the next
                         adder's carry chain, the ``+ s`` is that adder's carry in
..            max        ``sum|x-w| = 2 sum max(x,w) - sum x - sum w``: a comparator of two bits per cell; the larger
                         operand is chosen by the synchronous reset of two registers and by the adder's own tables;
                         ``sum x`` is shared by all rows, ``sum w`` stays in the result (a constant of the row)
``mult``      booth      radix-4 digits of the weight, one row of cells per digit
..            rows       two partial products per row of cells, then adders
..            star       ``x * w``; synthesis decides, and takes DSP blocks when it may
``xnor``      count      counters of three lanes, then of seven and three bits, never a chain of lanes
``shift``     barrel     a shifter in two levels, its sign as in ``carry``
============  =========  =====================================================================================
"""

from collections.abc import Callable, Sequence

from amaranth.hdl import Module, Value

from ...quant.formats import Format
from ..cells.fabric import Fabric
from .adder import compare_first, sign_carries, two_subtractors
from .larger import larger_operands
from .mult import booth, partial_products, plus_or_minus, star
from .shift import barrel
from .terms import Circuit, Rows
from .xnor import count

__all__ = ["circuit"]


def circuit(
    m: Module, fabric: Fabric, *, kernel: str, structure: str, x: Format, w: Format, xs: Sequence[Value],
    ws: Rows, enable: Value,
) -> Circuit:  # fmt: skip
    """The circuit of ``len(ws)`` rows of ``len(xs)`` lanes.

    Parameters
    ----------
    xs, ws : operands of the lanes
    enable : whether registers take what they are given in this cycle; masks follow it
    """
    if kernel == "mult" and w.bits == 1:
        return plus_or_minus(m, fabric, x=x, xs=xs, ws=ws)
    maker: Callable[..., Circuit] = {
        "2a": two_subtractors, "1c1a": compare_first, "carry": sign_carries, "max": larger_operands,
        "booth": booth, "rows": partial_products, "star": star, "count": count, "barrel": barrel,
    }[structure]  # fmt: skip
    return maker(m, fabric, x=x, w=w, xs=xs, ws=ws, enable=enable)
