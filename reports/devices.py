"""The device catalogue, read from ``devices.toml``."""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ..common.errors import UserError

__all__ = ["Device", "PowerModel", "device", "device_names"]


@dataclass(frozen=True, kw_only=True)
class PowerModel:
    """Coefficients of the power model.

    Attributes
    ----------
    voltage : of the core, V
    net_pf : capacitance that a toggle of a net charges or discharges, pF
    clock_pf_per_ff : capacitance of the clock network per flip-flop, pF
    static_mw : power without a clock, mW
    """

    voltage: float
    net_pf: float
    clock_pf_per_ff: float
    static_mw: float


@dataclass(frozen=True, kw_only=True)
class Device:
    """Sizes of a device: LUTs with four inputs, flip-flops, 18-kbit block RAMs, 18x18 multipliers."""

    name: str
    family: str
    lut: int
    ff: int
    bram: int
    dsp: int
    nextpnr: str
    power: PowerModel


@cache
def _catalogue() -> dict[str, Device]:
    raw: dict[str, dict[str, Any]] = tomllib.loads((Path(__file__).parent / "devices.toml").read_text())
    return {
        name: Device(name=name, **{**values, "power": PowerModel(**values["power"])}) for name, values in raw.items()
    }


def device_names() -> tuple[str, ...]:
    """Names of all devices."""
    return tuple(_catalogue())


def device(name: str) -> Device:
    """The device called ``name``.

    Raises
    ------
    UserError
        for an unknown name.
    """
    if name not in _catalogue():
        raise UserError(f"unknown device {name!r}; known: {', '.join(device_names())}")
    return _catalogue()[name]
