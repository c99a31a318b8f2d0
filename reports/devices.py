"""The device catalogue, read from ``devices.toml``."""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ..common.errors import UserError
from .resources import UNITS, Units

__all__ = ["Device", "device", "device_names"]


@dataclass(frozen=True, kw_only=True)
class Device:
    """A device.

    Attributes
    ----------
    family : how its cells are counted
    fabric : of `hdl.fabric`, the form in which lanes are built for it
    lut, ff, bram, dsp, carry : its lookup tables, flip-flops, block RAMs, multiplier blocks and carry cells
    source : of these figures
    synth : the command of yosys
    no_dsp, with_dsp : its options that keep multiplications out of DSP blocks, and that put them there
    array_options : its options when an array is priced by itself; registers are to stay registers
    nextpnr, place : the program that places and routes, and its options; None where there is none
    serial_ports : place and route needs pins for all ports, so arrays are fed serially there
    """

    name: str
    family: str
    fabric: str
    lut: int
    ff: int
    bram: int
    dsp: int
    carry: int
    source: str
    synth: str
    no_dsp: str = ""
    with_dsp: str = ""
    array_options: str = "-flatten"
    nextpnr: str | None = None
    place: str = ""
    serial_ports: bool = False

    @property
    def units(self) -> Units:
        """What its cells are called."""
        return UNITS[self.family]

    @property
    def names_cells(self) -> bool:
        """Whether its synthesis ends with naming what it made after what that drives."""
        return not self.synth.startswith("synth_xilinx")

    @property
    def pairs_luts(self) -> bool:
        """Whether two small functions can share a lookup table, see `pairing`."""
        return self.family in ("xc7", "xcup")


@cache
def _catalogue() -> dict[str, Device]:
    raw: dict[str, dict[str, Any]] = tomllib.loads((Path(__file__).parent / "devices.toml").read_text())
    return {name: Device(name=name, **values) for name, values in raw.items()}


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
