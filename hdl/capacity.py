"""Whether a design fits its device."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..common.errors import UserError

__all__ = ["Capacity"]

Needs = Callable[[Sequence[Any]], Mapping[str, float]]


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """What a device has, and how much of it a design takes.

    Attributes
    ----------
    device : its name
    limits : how many it has of what
    needs : how many the contents of parts take (see `family.Part`), by the same names
    share : of the limits that a design takes when it is to fill the device: what is left is for place and route, and
        for the error of an estimate
    """

    device: str
    limits: Mapping[str, float]
    needs: Needs
    share: float = 0.75

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"share must be above 0 and at most 1, not {self.share!r}")

    def fills(self, contents: Sequence[Any]) -> bool:
        """Whether ``contents`` take at most the share."""
        needs = self.needs(contents)
        return all(needs.get(kind, 0) <= self.share * limit for kind, limit in self.limits.items())

    def holds(self, contents: Sequence[Any]) -> bool:
        """Whether the device has all that ``contents`` take."""
        return not self._missing(contents)

    def check(self, contents: Sequence[Any]) -> None:
        """Raise `UserError` when the device is too small: what is missing, and how much."""
        if missing := self.lack(contents):
            raise UserError(missing)

    def lack(self, contents: Sequence[Any]) -> str:
        """What a message says where the device is too small: what is missing, and how much; empty where it is not."""
        missing = self._missing(contents)
        return f"{self.device} is too small for this design, by estimate: {'; '.join(missing)}" if missing else ""

    def _missing(self, contents: Sequence[Any]) -> list[str]:
        needs = self.needs(contents)
        return [
            f"{kind}: {needs[kind]:,.0f} needed, {limit:,.0f} there, {needs[kind] - limit:,.0f} missing"
            for kind, limit in self.limits.items() if needs.get(kind, 0) > limit
        ]  # fmt: skip
