"""The account of a ring of image rows: how many are there, so that both its sides know when to wait."""

from amaranth.hdl import Module, Signal

__all__ = ["NO_COLLISION", "RowAccount"]

NO_COLLISION = {"no_rw_check": 1}
"""Attributes of a memory of which no word is read in the cycle in which it is written: synthesis needs no logic that
would give such a read the old word. The proofs of what holds such a memory assert it."""


class RowAccount:
    """Rows of a ring that are complete and still needed.

    Attributes
    ----------
    level : how many they are; the write side waits at ``rows``, the read side for as many as it reads
    row_done : driven by the write side: a row is complete at the end of this cycle
    rows_freed : driven by the read side: so many are no longer needed at the end of this cycle
    """

    def __init__(self, m: Module, rows: int):
        self.level = Signal(range(rows + 1), name="level")
        self.row_done = Signal(name="row_done")
        self.rows_freed = Signal(range(rows + 1), name="rows_freed")
        m.d.sync += self.level.eq(self.level + self.row_done - self.rows_freed)
