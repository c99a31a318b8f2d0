"""The device catalogue, read from ``devices.toml``."""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ...common.errors import UserError
from .cell_library import CellLibrary
from .resources import UNITS, Units

__all__ = ["Device", "cell_library", "device", "device_names", "is_cell_library"]


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
    flatten : its option that makes one module of all; "" where it does so by itself
    memories_left : the label of its script at which memories are left that became neither block RAM nor distributed
        RAM: then constants go into tables by ``constants.v``; "" where synthesis does that well enough by itself
    map_tables : the command of yosys that makes its cells of such tables
    no_pads : its option that leaves out the pads of ports, for parts that are joined with others
    array_options : its options when an array is priced by itself; registers are to stay registers
    nextpnr, place : the program that places and routes, and its options; None where there is none
    pins_of : its part, where place and route needs a pin for every port and chooses none itself
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
    flatten: str = "-flatten"
    memories_left: str = ""
    map_tables: str = ""
    no_pads: str = ""
    array_options: str = "-flatten"
    nextpnr: str | None = None
    place: str = ""
    pins_of: str = ""
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
def _entries() -> dict[str, dict[str, Any]]:
    return tomllib.loads((Path(__file__).parent / "devices.toml").read_text())


@cache
def _catalogue() -> dict[str, Device]:
    return {name: Device(name=name, **values) for name, values in _entries().items() if not is_cell_library(name)}


def is_cell_library(name: str) -> bool:
    """Whether ``name`` is one of standard cells, for which there is a `cell_library` and no `device`."""
    return "liberty" in _entries().get(name, {})


def cell_library(name: str) -> CellLibrary:
    """The library of standard cells called ``name``.

    Raises
    ------
    UserError
        for an unknown name.
    """
    if not is_cell_library(name):
        known = ", ".join(entry for entry in _entries() if is_cell_library(entry))
        raise UserError(f"unknown library of cells {name!r}; known: {known}")
    values = _entries()[name]
    return CellLibrary(name=name, **{**values, "flip_flops": tuple(values["flip_flops"])})


def device_names() -> tuple[str, ...]:
    """Names of all devices."""
    return tuple(_catalogue())


def device(name: str) -> Device:
    """The device called ``name``.

    Raises
    ------
    UserError
        for an unknown name, and for a library of standard cells.
    """
    if is_cell_library(name):
        raise UserError(
            f"{name} is a library of standard cells, not an FPGA; it prices arrays (addax kernels --device {name}) and "
            "BUILDs that were made for any FPGA (addax cells BUILD)"
        )
    if name not in _catalogue():
        raise UserError(f"unknown device {name!r}; known: {', '.join(device_names())}")
    return _catalogue()[name]
