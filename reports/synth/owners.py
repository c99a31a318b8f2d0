"""Which part of a Design, and which block of the part, a cell of the flattened netlist belongs to."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from ...hdl.blocks import BlockOf
from ...hdl.family import Design
from .synth import INTERCONNECT

__all__ = ["CellOwners", "Owners"]

_REGISTER = re.compile(r"_Q(_\d+)?(_DFFLC)?$")
"""Ends the name of a flip-flop, which nextpnr calls after the port that it drives; on iCE40 it is packed with the table
in front of it."""


class CellOwners(Protocol):
    """Who tells which part and block a cell belongs to."""

    def cell(self, name: str) -> tuple[str, str]:
        """Part and block, "" for a part that is one piece, of the cell with the hierarchical ``name``."""


@dataclass(frozen=True, kw_only=True)
class Owners:
    """The instances of a Design that are counted by themselves.

    Attributes
    ----------
    parts : names of the parts that have blocks, by their instances
    ends : names of those that are one piece, by their instances
    """

    parts: Mapping[str, str]
    ends: Mapping[str, str]
    block_of: BlockOf

    @classmethod
    def of(cls, design: Design) -> "Owners":
        """The owners of the cells of ``design``."""
        return cls(
            parts={part.instance: part.name for part in design.parts},
            ends={part.instance: part.name for part in design.ends}, block_of=design.block_of,
        )  # fmt: skip

    def cell(self, name: str) -> tuple[str, str]:
        """Part and block of the cell with the hierarchical ``name``, as nextpnr tells it.

        A cell of an end has the block "", one that is in neither a part nor an end belongs to `INTERCONNECT`.
        """
        levels = name.split(".")
        for at, level in enumerate(levels[:-1], 1):
            if level in self.parts:
                inside = ".".join(levels[at:])
                return self.parts[level], self.block_of.cell(inside, register=bool(_REGISTER.search(inside)))
            if level in self.ends:
                return self.ends[level], ""
        return INTERCONNECT, ""
