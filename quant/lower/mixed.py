"""Which layer bears how few bits: a table of sensitivities, and widths per layer chosen under a budget."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...common.errors import UserError
from ...models.layers.binary import BinaryConv2d
from ...models.layers.shift import ShiftConv2d
from .. import golden
from ..fold.scheme import Scheme
from ..program import Program
from .calibration import Calibration
from .lowering import lower

__all__ = ["Sensitivity", "choose", "layers", "mean_bits", "sensitivities"]


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """What a network loses when one layer has fewer bits than the others.

    Attributes
    ----------
    layer : its path
    weights : how many it has
    bits : its width; all other layers have that of the scheme
    agreement : share of images that the integer network classifies as the float network does
    divergence : mean Kullback-Leibler divergence of the float network's class probabilities from the integer network's,
        in nats; finer than the agreement, and what a choice of widths is made by
    """

    layer: str
    weights: int
    bits: int
    agreement: float
    divergence: float

    def keys(self) -> dict[str, Any]:
        """Its fields as plain values, by name, for JSON."""
        return asdict(self)


def sensitivities(
    calibration: Calibration,
    images: NDArray[np.uint8],
    reference: NDArray[np.floating],
    *,
    scheme: Scheme,
    bits: Sequence[int],
    progress: Callable[[], None] = lambda: None,
) -> list[Sensitivity]:
    """One row per layer and width.

    Parameters
    ----------
    images : (N, C, H, W), from the training split
    reference : (N, classes) scores of the float network
    scheme : of all layers but the one in question
    progress : called after every row
    """
    found = []
    for path, weights in layers(calibration).items():
        for width in bits:
            program = lower(
                calibration.traced, calibration, scheme=replace(scheme, layer_bits={**scheme.layer_bits, path: width})
            )
            agreement, divergence = _compare(program, images, reference)
            found.append(
                Sensitivity(layer=path, weights=weights, bits=width, agreement=agreement, divergence=divergence)
            )
            progress()
    return found


def layers(calibration: Calibration) -> dict[str, int]:
    """Layers whose width can be chosen, and their numbers of weights: all but binary and shift layers."""
    return {
        path: found.weight.numel()
        for path, found in calibration.convolutions().items()
        if not isinstance(found.layer, BinaryConv2d | ShiftConv2d)
    }


def _compare(program: Program, images: NDArray[np.uint8], reference: NDArray[np.floating]) -> tuple[float, float]:
    """Agreement and divergence."""
    result = golden.run(program, images)
    step = program.steps[program.output]
    ours, theirs = _log_softmax(result.scores * step), _log_softmax(reference)
    divergence = (np.exp(theirs) * (theirs - ours)).sum(1).mean()
    return float((result.classes == reference.argmax(1)).mean()), float(divergence)


def _log_softmax(scores: NDArray[np.floating]) -> NDArray[np.float64]:
    shifted = scores.astype(np.float64) - scores.max(1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(1, keepdims=True)))


def mean_bits(rows: Sequence[Sensitivity], widths: dict[str, int]) -> float:
    """Bits per weight, all layers together."""
    weights = {row.layer: row.weights for row in rows}
    return sum(widths[layer] * count for layer, count in weights.items()) / sum(weights.values())


def choose(rows: Sequence[Sensitivity], *, budget: float) -> dict[str, int]:
    """Widths per layer whose mean over all weights is at most ``budget`` bits.

    Starts with the widest of every layer and narrows, again and again, the layer that loses the least divergence per
    bit of weight memory saved; losses of layers are taken as additive. What the last step saved too much goes back.

    Raises
    ------
    UserError
        when even the narrowest widths of the table exceed the budget.
    """
    table: dict[str, list[Sensitivity]] = {}
    for row in rows:
        table.setdefault(row.layer, []).append(row)
    for entries in table.values():
        entries.sort(key=lambda row: -row.bits)
    at = dict.fromkeys(table, 0)

    def widths() -> dict[str, int]:
        return {layer: table[layer][k].bits for layer, k in at.items()}

    while not mean_bits(rows, widths()) <= budget:  # nor is it at most NaN
        steps = []
        for layer, k in at.items():
            now = table[layer][k]
            for further, narrower in enumerate(table[layer][k + 1 :], start=k + 1):
                saved = (now.bits - narrower.bits) * now.weights
                steps.append((max(narrower.divergence - now.divergence, 0.0) / saved, layer, further))
        if not steps:
            least = min(row.bits for row in rows)
            raise UserError(f"a mean of {budget:g} bits cannot be reached; the narrowest width tried is {least}")
        _, layer, further = min(steps)
        at[layer] = further
    # A step may have saved more than was needed: what is left widens the layers that gain most by it.
    while True:
        gains = []
        for layer, k in at.items():
            for wider in range(k):
                gain = table[layer][k].divergence - table[layer][wider].divergence
                if gain > 0 and mean_bits(rows, {**widths(), layer: table[layer][wider].bits}) <= budget:
                    gains.append((gain, layer, wider))
        if not gains:
            return widths()
        _, layer, wider = max(gains)
        at[layer] = wider
