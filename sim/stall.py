"""Random stalls of a co-simulation: which side stops, how often, for how long."""

from dataclasses import dataclass

from ..common.errors import UserError

__all__ = ["PATTERNS", "Stall"]

PATTERNS = ("both", "source", "sink", "burst")
_LIMIT = 0.99
_UNIT = 1 << 16
"""The harness draws 16 bits per side and cycle."""
_BURST = 16
"""Cycles of a burst on average, where the share leaves room for pauses between bursts."""


@dataclass(frozen=True, kw_only=True)
class Stall:
    """When the source has no beat, and the sink no room.

    Attributes
    ----------
    share : of the cycles, 0 to 0.99
    pattern : ``both`` sides, each drawn anew in every cycle; ``source`` or ``sink`` alone, likewise; ``burst``: both
        sides, in bursts of geometric lengths

    Raises
    ------
    UserError
        from the constructor, for another share or pattern.
    """

    share: float = 0.0
    pattern: str = "both"

    def __post_init__(self) -> None:
        if not 0 <= self.share <= _LIMIT:
            raise UserError(f"stall must be a share in 0..{_LIMIT}, not {self.share}")
        if self.pattern not in PATTERNS:
            raise UserError(f"unknown stall pattern {self.pattern!r}; known: {', '.join(PATTERNS)}")

    @property
    def registers(self) -> dict[str, int]:
        """What the harness is set to: per side the chance, in 1/65536, to stop when it runs and to stay stopped."""
        begin = stay = self.share
        if self.pattern == "burst" and self.share:
            # A side runs (1 - share) / share cycles for every one that it is stopped, and at least one between bursts.
            length = max(_BURST, self.share / (1 - self.share))
            begin, stay = self.share / (1 - self.share) / length, 1 - 1 / length
        chances = round(begin * _UNIT), round(stay * _UNIT)
        source = chances if self.pattern != "sink" else (0, 0)
        sink = chances if self.pattern != "source" else (0, 0)
        return {"stall_in": source[0], "hold_in": source[1], "stall_out": sink[0], "hold_out": sink[1]}
