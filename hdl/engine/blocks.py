"""Into which blocks an engine is counted, by what its instances are called."""

import re
from dataclasses import dataclass

from ..blocks import BlockOf
from ..dataflow.blocks import BLOCK_OF

__all__ = ["BLOCK_OF_INSTANCE", "JOINS", "RULES", "block_named", "block_of_instance"]

BLOCK_OF_INSTANCE = {
    ("core", "lanes"): "lanes", ("core", "weights"): "weights in use", ("core", "sums"): "accumulators",
    ("core", "requantisers"): "requantise", ("core", "levels"): "requantise", ("core", "residuals"): "residuals",
    ("core", "columns"): "lanes", ("core", "products"): "vector unit", ("core", "tables"): "vector unit",
    ("core", "words"): "results", ("core", "queue"): "results",
    ("core", "planner"): "sequencer", ("core", "loader"): "sequencer", ("core", "issuer"): "sequencer",
    ("machine", "descriptors"): "sequencer", ("machine", "weights"): "queue of weights",
    ("machine", "reader"): "reader", ("machine", "commands"): "reader", ("machine", "writer"): "writer",
    ("machine", "writes"): "writer", ("", "front"): "control", ("", "control"): "control",
}  # fmt: skip
"""The block of an instance, by the instance that holds it ("" for the top) and its own name without a number."""
LANES, JOINS = "lanes", "between blocks"
"""What has more than one block: the lanes, and what joins the instances above."""
_NUMBER = re.compile(r"[$_]\d+$")


def block_of_instance(way: tuple[str, ...]) -> str | None:
    """The block of the instance that the instances ``way`` lead to from the top; None for one that has none."""
    holder = _NUMBER.sub("", way[-2]) if len(way) > 1 else ""
    return BLOCK_OF_INSTANCE.get((holder, _NUMBER.sub("", way[-1])))


@dataclass(frozen=True)
class LaneBlocks:
    """A `blocks.BlockOf` of the lanes: lanes and trees. What chooses among taps and weights is the lanes' own here."""

    key: str = "engine lanes 1"

    def counts(self, instance: str) -> bool:
        """None of the instances has blocks of its own."""
        return False

    def cell(self, name: str, *, register: bool) -> str:
        """The block of a cell, by the last level of its name, as in a stage of the dataflow family."""
        found = BLOCK_OF.cell(f"array.{name.rpartition('.')[2]}", register=True)
        return "trees" if found in ("trees", "control") else "lanes"

    def net(self, name: str) -> str | None:
        """That of a register of the name."""
        return self.cell(name, register=True)


@dataclass(frozen=True)
class JoinBlocks:
    """A `blocks.BlockOf` of what joins the other instances: the ring of features, which is a ``window``, and the
    rest, ``control``."""

    key: str = "engine joins 1"

    def counts(self, instance: str) -> bool:
        """None of the instances has blocks of its own."""
        return False

    def cell(self, name: str, *, register: bool) -> str:
        """The block of a cell, by the names of the instances that hold it."""
        return "window" if any(_NUMBER.sub("", level) == "ring" for level in name.split(".")) else "control"

    def net(self, name: str) -> str | None:
        """That of a register of the name."""
        return self.cell(name, register=True)


RULES: dict[str, BlockOf] = {LANES: LaneBlocks(), JOINS: JoinBlocks()}
"""What sorts the cells of a block of instances; the others are one block."""
_SHOWN = {(JOINS, "window"): "features", (JOINS, "control"): JOINS}


def block_named(block: str, found: str) -> str:
    """What reports call the block ``found`` that the rule of ``block`` gave; "" where it has none."""
    return _SHOWN.get((block, found), found or block)
