"""Into which blocks an engine is counted, by what its instances are called."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from ..blocks import BlockOf
from ..dataflow.blocks import BLOCK_OF

__all__ = ["BLOCK_OF_INSTANCE", "JOINS", "RULES", "EngineNets", "block_named", "block_of_instance"]

BLOCK_OF_INSTANCE = {
    ("core", "lanes"): "lanes", ("core", "weights"): "weights in use", ("core", "sums"): "accumulators",
    ("core", "requantisers"): "requantise", ("core", "levels"): "requantise", ("core", "residuals"): "residuals",
    ("core", "columns"): "lanes", ("core", "products"): "vector unit", ("core", "tables"): "vector unit",
    ("core", "largest"): "vector unit", ("core", "norms"): "vector unit",
    ("core", "distances"): "vector unit", ("core", "quotients"): "vector unit",
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
_READ = re.compile(r"_\d+_")
"""What yosys calls the data of a memory."""


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
        """That of a register of the name; None for a net without a name, which may be a lane's or a tree's."""
        return None if name.rpartition(".")[2].startswith(("$", "_")) else self.cell(name, register=True)


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


@cache
def _counted(way: tuple[str, ...]) -> tuple[str, int]:
    """The block of the first instance on the ``way`` that has one, and how many levels lead to it."""
    for levels in range(1, len(way) + 1):
        if (block := block_of_instance(way[:levels])) is not None:
            return block, levels
    return JOINS, 0


@dataclass(frozen=True)
class EngineNets:
    """A `sim.activity.NetOwner` of the top of an engine: parts are the blocks of instances, blocks what reports call
    those that `RULES` find in them."""

    key: str = "engine nets 1"

    def part(self, way: Sequence[str]) -> str:
        """The block of the instances that hold the nets."""
        return _counted(tuple(way))[0]

    def block(self, way: Sequence[str], name: str) -> str | None:
        """The block of a net; None for what a memory gives, which what takes it counts, and see `LaneBlocks`."""
        if _READ.fullmatch(name):
            return None
        block, levels = _counted(tuple(way))
        rule = RULES.get(block)
        found = rule.net(".".join((*way[levels:], name))) if rule is not None else ""
        return None if found is None else block_named(block, found)
