"""What an event costs on a device, with a band and a source for every figure, read from ``power.toml``."""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ...common.errors import UserError
from ..devices.devices import Device, device

__all__ = ["CLOCK_TREE", "ENDS", "STATIC", "VOLTAGE", "Coefficient", "PowerModel", "has_power", "power_model"]

STATIC, VOLTAGE, CLOCK_TREE = "static_mw", "voltage", "clock_tree_pf"
ENDS = ("low", "high")
"""Ends of a coefficient's band."""
UNITS = {
    "logic_pf": "pF per net of logic", "register_pf": "pF per net of a register", "carry_pf": "pF per carry",
    "clock_pf_per_ff": "pF of clock per flip-flop",
    CLOCK_TREE: "pF of clock tree per table of the device's edge, the root of its tables",
    "bram_pj": "pJ per access of a block RAM", "dsp_pj": "pJ per product of a multiplier block",
    STATIC: "mW", VOLTAGE: "V",
}  # fmt: skip


_WIDER = 2.0
"""How much wider the band of a static power is that was taken from another device, at either end."""


@dataclass(frozen=True, kw_only=True)
class Coefficient:
    """A figure, the band in which we believe it to be, and where it comes from."""

    name: str
    value: float
    low: float
    high: float
    source: str

    def __post_init__(self) -> None:
        if not 0 < self.low <= self.value <= self.high:
            raise ValueError(f"{self.name}: not 0 < {self.low} <= {self.value} <= {self.high}")

    @property
    def unit(self) -> str:
        """What ``value`` counts."""
        return UNITS[self.name]


@dataclass(frozen=True, kw_only=True)
class PowerModel:
    """What events cost on a device.

    Attributes
    ----------
    coefficients : by name, among them `STATIC`, `VOLTAGE` and `CLOCK_TREE`
    tables : of the device, which say how far its clock has to go
    """

    coefficients: Mapping[str, Coefficient]
    tables: int

    def __post_init__(self) -> None:
        if self.tables < 1:
            raise ValueError(f"tables must be a positive integer, not {self.tables}")
        if missing := UNITS.keys() - self.coefficients.keys():
            raise ValueError(f"no {', '.join(sorted(missing))}")

    def value(self, name: str) -> float:
        """The figure called ``name``."""
        return self.coefficients[name].value

    def factor(self, name: str, ends: Mapping[str, str]) -> float:
        """How many times its nominal power an event takes that ``name`` prices, where ``ends`` puts coefficients at one
        of `ENDS` of their bands and leaves the others nominal. Capacitances are charged by the voltage, so its share
        counts squared in theirs: at 1.155 V instead of 1.1 V, 1.1025 times."""
        charged = self._share(VOLTAGE, ends) ** 2 if "_pf" in name else 1.0
        return self._share(name, ends) * charged

    def span(self, name: str) -> tuple[float, float]:
        """Low and high end of what depends on ``name``, voltage included, as shares of its nominal value."""
        low, high = (self.factor(name, {name: end, VOLTAGE: end}) for end in ENDS)
        return low, high

    @property
    def clock_tree_pj(self) -> float:
        """What the clock takes in a cycle on its way to the flip-flops, however many there are: the branch that a tree
        always drives is about as long as the device's edge."""
        return self.value(CLOCK_TREE) * math.sqrt(self.tables) * self.value(VOLTAGE) ** 2

    def _share(self, name: str, ends: Mapping[str, str]) -> float:
        own = self.coefficients[name]
        return float(getattr(own, ends[name]) / own.value) if name in ends else 1.0


@cache
def _tables() -> dict[str, dict[str, Any]]:
    return tomllib.loads(Path(__file__).with_name("power.toml").read_text())


def has_power(target: Device) -> bool:
    """Whether there are coefficients for ``target``."""
    return target.family in _tables() and (target.name in _tables()["static"] or target.like in _tables()["static"])


def power_model(target: Device) -> PowerModel:
    """The coefficients of ``target``.

    Raises
    ------
    UserError
        when there are none.
    """
    if not has_power(target):
        raise UserError(
            f"no power coefficients for {target.name}, only for {', '.join(_tables()['static'])}; "
            "resources and timing can be had without --power"
        )
    raw = {**_tables()[target.family], STATIC: _static(target)}
    return PowerModel(
        coefficients={name: Coefficient(name=name, **own) for name, own in raw.items()}, tables=target.lut
    )


def _static(target: Device) -> dict[str, Any]:
    """Static power of ``target``; where none is known, that of the device it is like, by tables, with a wider band."""
    table: dict[str, dict[str, Any]] = _tables()["static"]
    if target.name in table:
        return table[target.name]
    known, share = table[target.like], target.lut / device(target.like).lut
    return {
        "value": known["value"] * share,
        "low": known["low"] * share / _WIDER,
        "high": known["high"] * share * _WIDER,
        "source": f"assumed: that of {target.like} in proportion to tables, band {_WIDER:g} times as wide",
    }
