"""What the parts of a stage are called when somebody asks what they cost: names of registers and cells, sorted."""

import re

__all__ = ["BLOCKS", "STAGE", "block_of"]

STAGE = "stage_"
"""What the instance of a part that has blocks puts before the part's name, so that no name collides with others."""

BLOCKS = ("lanes", "trees", "requantise", "weights", "window", "queues", "control")
"""Lanes: operand registers and kernels. Trees: sums over lanes, and accumulators. Requantise: thresholds too, with
their constants. Weights: their memories, with the logic that reads them. Window: line buffers, padding and the choice
of taps. Queues: of results, in front of joins, and changes of a beat's width."""

_MODULES = {
    "requantise": "requantise", "threshold": "requantise", "weights": "weights", "window": "window", "pad": "window",
    "move": "window", "queue": "queues", "residual": "queues", "wait": "queues", "gather": "queues", "join": "queues",
    "array": "array",
}  # fmt: skip
"""Of a stage, without numbers behind their names."""
_NUMBER = re.compile(r"\d*(\$\d+)?$")
_CONTROL = re.compile(r"(first|last|valid|done|enable|ending|accumulate)(_\d+)*(\b|_)")
_LANE = re.compile(r"(\w+_)?row\d+_lane\d+|rank0(_|\b)|\$|[xw](_held|\d+)(_|\b|\d)|product")
_OPERAND = re.compile(r"([xw])(_held|\d+)?(_|\b)")


def block_of(name: str, *, register: bool = True) -> str:
    """One of `BLOCKS`, for the hierarchical ``name`` of a net or cell inside a stage, its levels joined by dots.

    Parameters
    ----------
    register : whether it stands for a register; logic in front of an operand register chooses among taps or weights,
        and is theirs
    """
    levels = name.split(".")
    module = _MODULES.get(_NUMBER.sub("", levels[0]), "control") if len(levels) > 1 else "control"
    if module != "array":
        return module
    leaf = levels[-1]
    if (operand := _OPERAND.match(leaf)) and not (register and operand[2]):
        return "window" if operand[1] == "x" else "weights"
    if _CONTROL.match(leaf):
        return "control"
    return "lanes" if _LANE.match(leaf) else "trees"
