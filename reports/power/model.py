"""What an event costs on a device, with a band and a source for every figure, read from ``power.toml``."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ...common.errors import UserError
from ..devices.devices import Device, device

__all__ = ["STATIC", "VOLTAGE", "Coefficient", "PowerModel", "has_power", "power_model"]

STATIC, VOLTAGE = "static_mw", "voltage"
UNITS = {
    "logic_pf": "pF per net of logic", "register_pf": "pF per net of a register", "carry_pf": "pF per carry",
    "clock_pf_per_ff": "pF of clock per flip-flop", "bram_pj": "pJ per access of a block RAM",
    "dsp_pj": "pJ per product of a multiplier block", STATIC: "mW", VOLTAGE: "V",
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
    """Coefficients of a device by name, among them `STATIC` and `VOLTAGE`."""

    coefficients: Mapping[str, Coefficient]

    def __post_init__(self) -> None:
        if missing := UNITS.keys() - self.coefficients.keys():
            raise ValueError(f"no {', '.join(sorted(missing))}")

    def value(self, name: str) -> float:
        """The figure called ``name``."""
        return self.coefficients[name].value

    def span(self, name: str) -> tuple[float, float]:
        """Low and high end of what depends on ``name``, as shares of its nominal value; capacitances are charged by
        the voltage, so theirs counts squared."""
        own = self.coefficients[name]
        low, high = own.low / own.value, own.high / own.value
        if "_pf" in name:
            volt = self.coefficients[VOLTAGE]
            low, high = low * (volt.low / volt.value) ** 2, high * (volt.high / volt.value) ** 2
        return low, high


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
    return PowerModel(coefficients={name: Coefficient(name=name, **own) for name, own in raw.items()})


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
