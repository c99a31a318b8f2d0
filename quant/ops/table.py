"""The table: every value replaced by what stands for it, whatever the function."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..formats import Format
from .base import Bounds, Ints, Op, Tensor

__all__ = ["MAX_CHANNEL_BITS", "MAX_TABLE_BITS", "Table"]

MAX_TABLE_BITS = 12
"""Bits of what a table of all channels reads: 4,096 entries, which a few block RAMs hold."""
MAX_CHANNEL_BITS = 8
"""Bits of what a table for each channel reads."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Table(Op):
    """``y[c, i, j] = T[c][x[c, i, j] - lo]``, where ``lo`` is the lowest value of the format that it reads.

    SiLU, GELU, sigmoid and any other function of one value, exact to the rounding of its entries.

    Attributes
    ----------
    entries : T, one for each value of the format that it reads, from the lowest to the highest: (2**bits,) for all
        channels, of up to 12 bits, or (C, 2**bits), of up to 8; within ``format``
    """

    entries: Ints
    format: Format

    def __post_init__(self) -> None:
        # Equal rows are said as one, so that equal operations are equal files.
        held = self.entries
        if isinstance(held, np.ndarray) and held.ndim == 2 and held.size and (held == held[:1]).all():
            object.__setattr__(self, "entries", held[0])
        super().__post_init__()

    @property
    def rows(self) -> Ints:
        """T as rows, (C, 2**bits) where channels differ, else (1, 2**bits)."""
        return self.entries.reshape(-1, self.entries.shape[-1])

    def bounds(self, read: Sequence[Tensor], of: Callable[[str], Bounds]) -> Bounds:
        """Lowest and highest entry of each channel among those that what it reads can ask for."""
        (channels, _, _), fmt = read[0]
        least, most = (ends - fmt.lo for ends in of(self.source))
        rows = np.broadcast_to(self.rows, (channels, self.rows.shape[1]))
        asked = [row[a : b + 1] for row, a, b in zip(rows, least.tolist(), most.tolist(), strict=True)]
        return np.array([part.min() for part in asked]), np.array([part.max() for part in asked])

    def infer(self, read: Sequence[Tensor]) -> Tensor:
        """The shape that it reads in ``format``."""
        shape, fmt = read[0]
        most, of = (MAX_TABLE_BITS, "") if self.entries.ndim == 1 else (MAX_CHANNEL_BITS, " for each channel")
        if fmt.bits > most:
            raise ValueError(f"a table{of} reads at most {most} bits, not {fmt}")
        size = 1 << fmt.bits
        if self.entries.shape not in ((size,), (shape[0], size)):
            raise ValueError(
                f"entries must be {size}, one for each value of {fmt}, or so many for each of {shape[0]} channels, "
                f"not {self.entries.shape}"
            )
        if not self.format.allows(self.entries):
            raise ValueError(f"entries must fit {self.format}, not {self.entries.min()}..{self.entries.max()}")
        return Tensor(shape, self.format)
