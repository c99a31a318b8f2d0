"""Into which block the registers and cells of a stage are sorted: by what its modules and nets are called."""

import re
from dataclasses import dataclass

__all__ = ["BLOCK_OF", "STAGE", "StageBlocks"]

STAGE = "stage_"
"""What the instance of a stage puts before the stage's name, so that no name collides with what stands between."""

_MODULES = {
    "requantise": "requantise", "threshold": "requantise", "weights": "weights", "window": "window", "pad": "window",
    "move": "window", "queue": "queues", "residual": "queues", "wait": "queues", "gather": "queues",
    "join": "queues", "join_": "queues", "array": "array",
}  # fmt: skip
"""Block of each module of a stage, without the number behind its name; those of the array differ among its cells."""
_NUMBER = re.compile(r"\d*([$_]\d+)?$")
_READ = re.compile(r"_\d+_")
"""What yosys calls the data of a memory."""
_CONTROL = re.compile(r"(first|last|valid|done|enable|ending|accumulate)(_\d+)*(\b|_)")
_LANE = re.compile(r"(\w+_)?row\d+_lane\d+|rank0(_|\b)|\$|[xw](_held|\d+)(_|\b|\d)|product")
_OPERAND = re.compile(r"([xw])(_held|\d+)?(_|\b)")


@dataclass(frozen=True)
class StageBlocks:
    """A `blocks.BlockOf`: that of all Designs of the dataflow family."""

    key: str = "dataflow 2"

    def counts(self, instance: str) -> bool:
        """Whether ``instance`` is a stage."""
        return instance.startswith(STAGE)

    def cell(self, name: str, *, register: bool) -> str:
        """The block of a cell. Logic in front of an operand register chooses among taps or weights, and is theirs."""
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

    def net(self, name: str) -> str | None:
        """The block of a net; None for one without a name in an array, which may be a lane's or a tree's: the register
        behind it, which has a name, toggles alike. None for what a memory gives, too: what takes it toggles alike."""
        levels = name.split(".")
        if _READ.fullmatch(levels[-1]) or (levels[-1].startswith(("$", "_")) and levels[0].startswith("array")):
            return None
        return self.cell(name, register=True)


BLOCK_OF = StageBlocks()
