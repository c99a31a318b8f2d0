"""The accumulators of every kernel as sums of a graph, for weights that are constants.

========  ========================================================================================================
kernel    ``acc``
========  ========================================================================================================
mult      sums of moved features, see `sharing`
shift     the same, of weights with one digit each
xnor      counts of few features that equal their weights, from tables; the complement of a pattern is the rest
adder     ``sum x + sum w - 2 sum max(x, w)``: the first sum is shared by all rows, and every ``max(x, w)`` by all that
          have this weight for this feature; of few bits distances from tables
========  ========================================================================================================
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...quant.formats import Format
from .graph import SumGraph, Tap
from .sharing import shared_sums

__all__ = ["TABLE_INPUTS", "accumulators"]

TABLE_INPUTS = 6
"""Bits that a lookup table takes."""
DISTANCE_BITS = 4
"""Bits of features up to which distances come from tables."""


def accumulators(
    graph: SumGraph, kernel: str, features: Sequence[Tap], x: Format, weight: NDArray[np.int64]
) -> list[tuple[list[Tap], int]]:
    """Terms and a constant for every row of ``weight``, whose sum is the accumulator of the Program.

    Parameters
    ----------
    weight : (rows, features): what the words of a layer stand for, see `quant.ops.convolution.weight_values`; of the
        binary kernel 1 and -1
    """
    if kernel == "xnor":
        return _counts(graph, features, weight)
    if kernel == "adder":
        return (_distances if x.bits <= DISTANCE_BITS else _larger)(graph, features, weight)
    return [(terms, 0) for terms in shared_sums(graph, features, weight.tolist())]


def _counts(
    graph: SumGraph, features: Sequence[Tap], weight: NDArray[np.int64]
) -> list[tuple[list[Tap], int]]:  # fmt: skip
    """``2 * count - terms``, from counts of six features at a time."""
    found = []
    for row in weight.tolist():
        terms, constant = [], -len(row)
        for begin in range(0, len(row), TABLE_INPUTS):
            reads, signs = features[begin : begin + TABLE_INPUTS], row[begin : begin + TABLE_INPUTS]
            wanted = tuple(int(sign == signs[0]) for sign in signs)

            def equal(*bits: int, wanted: tuple[int, ...] = wanted) -> int:
                return sum(bit == want for bit, want in zip(bits, wanted, strict=True))

            count = graph.table(reads, equal)
            terms.append(count.moved(1).times(signs[0]))
            constant += 0 if signs[0] > 0 else 2 * len(signs)
        found.append((terms, constant))
    return found


def _distances(
    graph: SumGraph, features: Sequence[Tap], weight: NDArray[np.int64]
) -> list[tuple[list[Tap], int]]:  # fmt: skip
    """Minus the sum of distances, each from a table that all filters with this weight share."""
    places = [(k, w) for k, column in enumerate(weight.T.tolist()) for w in sorted(set(column))]
    tables = [graph.table([features[k]], lambda value, w=w: abs(value - w)) for k, w in places]
    rows = [[-int(weight[row, k] == w) for k, w in places] for row in range(len(weight))]
    return [(terms, 0) for terms in shared_sums(graph, tables, rows)]


def _larger(
    graph: SumGraph, features: Sequence[Tap], weight: NDArray[np.int64]
) -> list[tuple[list[Tap], int]]:  # fmt: skip
    """``-|x - w| = x + w - 2 max(x, w)``, where ``max(x, w)`` is ``w`` of one that no feature exceeds."""
    top = graph.ends(features[0])[1]
    places = [(k, w) for k, column in enumerate(weight.T.tolist()) for w in sorted(set(column)) if w < top]
    larger = [graph.larger(features[k], w) for k, w in places]
    rows = [[int(weight[row, k] == w) for k, w in places] for row in range(len(weight))]
    shared = graph.joined(features)
    found = []
    for terms, row in zip(shared_sums(graph, larger, rows), weight.tolist(), strict=True):
        constant = sum(-w if w >= top else w - 2 * graph.above(features[k], w) for k, w in enumerate(row))
        found.append(([shared, *(term.moved(1).times(-1) for term in terms)], constant))
    return found
