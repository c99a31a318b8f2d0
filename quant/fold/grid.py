"""The grid: which real values an integer tensor can have."""

from dataclasses import dataclass

from ..formats import Format

__all__ = ["Grid"]


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Real values that a tensor can have: the integers of ``format`` times ``step``."""

    format: Format
    step: float
