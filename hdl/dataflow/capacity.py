"""Whether a design fits its device."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ...common.errors import UserError
from .build import StageBuild

__all__ = ["Capacity"]

Needs = Callable[[Sequence[StageBuild]], Mapping[str, float]]


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """What a device has, and how much of it stages take.

    Attributes
    ----------
    device : its name
    limits : how many it has of what
    needs : how many stages take, by the same names
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

    def fills(self, builds: Sequence[StageBuild]) -> bool:
        """Whether ``builds`` take at most the share."""
        needs = self.needs(builds)
        return all(needs.get(kind, 0) <= self.share * limit for kind, limit in self.limits.items())

    def check(self, builds: Sequence[StageBuild]) -> None:
        """Raise `UserError` when the device is too small: what is missing, and how much."""
        needs = self.needs(builds)
        missing = [
            f"{kind}: {needs[kind]:,.0f} needed, {limit:,.0f} there, {needs[kind] - limit:,.0f} missing"
            for kind, limit in self.limits.items() if needs.get(kind, 0) > limit
        ]  # fmt: skip
        if missing:
            raise UserError(f"{self.device} is too small for this design, by estimate: {'; '.join(missing)}")
