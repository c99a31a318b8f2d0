"""The device catalogue, read from ``devices.toml`` and ``parts.toml``, and devices that a user describes by sizes."""

import tomllib
from dataclasses import dataclass, replace
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
    like : device of its family whose commands it shares; "" where they are its own
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
    like: str = ""

    @property
    def units(self) -> Units:
        """What the cells of its family are called in reports."""
        return UNITS[self.family]

    @property
    def names_cells(self) -> bool:
        """Whether its synthesis itself names the cells that it made after the nets that they drive."""
        return not self.synth.startswith("synth_xilinx")

    @property
    def pairs_luts(self) -> bool:
        """Whether two small functions can share a lookup table, see `pairing`."""
        return self.family in ("xc7", "xcup")


@cache
def _entries() -> dict[str, dict[str, Any]]:
    folder = Path(__file__).parent
    whole = tomllib.loads((folder / "devices.toml").read_text())
    parts = tomllib.loads((folder / "parts.toml").read_text())
    return {**whole, **{name: {**whole[own["like"]], **own} for name, own in parts.items()}}


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
    """The device called ``name``, or described as ``FAMILY:lut=20800,ff=41600,bram=50,dsp=90``.

    A described device is estimated and synthesised; it is not placed, since nobody knows its wires.

    Raises
    ------
    UserError
        for an unknown name, a description that lacks a size, and for a library of standard cells.
    """
    if ":" in name:
        return _described(name)
    if is_cell_library(name):
        raise UserError(
            f"{name} is a library of standard cells, not an FPGA; it prices arrays (addax kernels --device {name}) and "
            "BUILDs that were made for any FPGA (addax cells BUILD)"
        )
    if name not in _catalogue():
        raise UserError(
            f"unknown device {name!r}; known: {', '.join(device_names())}; or its family and sizes: "
            f"{_FAMILIES[0]}:lut=20800,ff=41600,bram=50,dsp=90"
        )
    return _catalogue()[name]


_FAMILIES = ("xc7", "xcup", "ecp5", "ice40", "gowin")
_SIZES = ("lut", "ff", "bram", "dsp")
_MOST = 10_000_000
"""The most of anything that a described device has: several times the largest there is."""


def _described(name: str) -> Device:
    """The device that ``name`` describes: family and sizes."""
    family, _, text = name.partition(":")
    if family not in _FAMILIES:
        raise UserError(f"unknown family {family!r} of device {name!r}; known: {', '.join(_FAMILIES)}")
    sizes: dict[str, int] = {}
    for entry in text.split(","):
        key, _, value = entry.partition("=")
        if key not in _SIZES or key in sizes or not value.isascii() or not value.isdecimal() or int(value) > _MOST:
            wanted = ",".join(f"{size}=.." for size in _SIZES)
            raise UserError(f"device {name!r} must say {family}:{wanted}, each once, not {entry!r}")
        sizes[key] = int(value)
    if missing := [key for key in _SIZES if not sizes.get(key) and (key in ("lut", "ff") or key not in sizes)]:
        raise UserError(f"device {name!r} does not say its {missing[0]}, a positive integer")
    like = next(known for known in _catalogue().values() if known.family == family)
    return replace(
        like, name=name, like=like.name, lut=sizes["lut"], ff=sizes["ff"], bram=sizes["bram"], dsp=sizes["dsp"],
        carry=like.carry * sizes["lut"] // like.lut, nextpnr=None, place="",
        pins_of="", source="as described; carry cells in proportion to tables",
        with_dsp=like.with_dsp if sizes["dsp"] else "",
    )  # fmt: skip
