"""What the array of an engine does in a cycle: it works, or waits for one thing."""

from enum import IntEnum

__all__ = ["ACTIVITY_BITS", "MEANINGS", "CycleUse"]


class CycleUse(IntEnum):
    """Every cycle of a run is one of these. Where a step waits for several things, it is the first that is missing.
    What a band needs to go by the second time, such as the roots of a layer norm, counts as residuals."""

    WORK = 0
    DESCRIPTORS = 1
    WEIGHTS = 2
    FEATURES = 3
    RESULTS = 4
    RESIDUALS = 5
    END = 6


ACTIVITY_BITS = 3
MEANINGS = {
    CycleUse.WORK: "the array or a pool is at work",
    CycleUse.DESCRIPTORS: "waiting for the next step of a descriptor, or for the descriptor",
    CycleUse.WEIGHTS: "waiting for tables, constants and weights, which results on their way may hold up",
    CycleUse.FEATURES: "waiting for words of features",
    CycleUse.RESULTS: "waiting for room for results",
    CycleUse.RESIDUALS: "waiting for words of residuals",
    CycleUse.END: "nothing is left to compute; results are on their way to memory",
}
