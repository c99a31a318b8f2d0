"""Blocks: what the parts of a Design consist of when somebody asks where cells, toggles or nanoseconds go."""

from typing import Protocol

__all__ = ["BLOCKS", "BlockOf"]

BLOCKS = ("lanes", "trees", "requantise", "weights", "window", "queues", "control")
"""Lanes: operand registers and kernels. Trees: sums over lanes, and accumulators. Requantise: thresholds too, with
their constants. Weights: their memories, with the logic that reads them. Window: line buffers, padding and the choice
of taps. Queues: of results, in front of joins, and changes of a beat's width. The words are the same for all families
of accelerators, so that reports can compare their Designs."""


class BlockOf(Protocol):
    """How a family of accelerators sorts what is inside the parts of its Designs into `BLOCKS`, by hierarchical names.

    A value: hashable, and pickled where cells are counted in another process. The same names are sorted alike in every
    Design of the family.
    """

    @property
    def key(self) -> str:
        """Names the family and the version of its rules; another one whenever a name would be sorted into another
        block, for counts in the cache are kept under it."""

    def counts(self, instance: str) -> bool:
        """Whether the instance of `Design.inner` that is called ``instance`` is a part, whose inside has blocks. What
        joins the parts has none."""

    def cell(self, name: str, *, register: bool) -> str:
        """The block, one of `BLOCKS`, of a cell that synthesis made inside a part.

        Parameters
        ----------
        name : of the cell, from below the part's instance, levels of the hierarchy joined by dots
        register : whether the cell is a flip-flop
        """

    def net(self, name: str) -> str | None:
        """The block, one of `BLOCKS`, of a net that a simulator saw inside a part; None for a net that shall not count.

        Parameters
        ----------
        name : of the net in the Verilog, from below the part's instance, levels of the hierarchy joined by dots
        """
