"""Pins of a Gowin device for a design that is placed to be measured: its placer wants one for every port.

Which pin a port has is of no meaning; a board's designer gives pins of his own.
"""

import json
from functools import cache
from importlib import resources
from pathlib import Path

from ...common.cache import reading
from ...common.errors import UserError

__all__ = ["constraints"]

_CLOCKS = ("aclk", "clk")


def constraints(netlist: Path, top: str, part: str) -> str:
    """A constraints file that gives every bit of the ports of ``top`` a pin of ``part``, the clock one that is made
    for clocks.

    Raises
    ------
    UserError
        when the part has too few pins.
    """
    with reading(netlist.parent, "netlist"):
        ports = json.loads(netlist.read_text())["modules"][top]["ports"]
    clocks, plain = _pins(part)
    names = [
        (name, f"{name}[{bit}]" if len(port["bits"]) > 1 else name)
        for name, port in ports.items() for bit in range(len(port["bits"]))
    ]  # fmt: skip
    others = [name for port, name in names if port not in _CLOCKS]
    if len(others) > len(plain):
        raise UserError(f"{len(others)} ports are too many for the {len(plain)} pins of {part}")
    chosen = [(name, clocks[0]) for port, name in names if port in _CLOCKS] + list(zip(others, plain, strict=False))
    return "".join(f'IO_LOC "{name}" {pin};\n' for name, pin in chosen)


@cache
def _pins(part: str) -> tuple[list[str], list[str]]:
    """Pins for clocks, and pins that are nothing else but pins."""
    from apycula.chipdb import load_chipdb  # type: ignore[import-untyped]

    family = {"GW2A": "GW2A-18", "GW1N": "GW1N-9"}[part.partition("-")[0]]
    known = load_chipdb(str(resources.files("apycula") / f"{family}.msgpack.xz"))
    package, variant, _ = known.packages[part]
    pins = known.pinout[variant][package]
    clocks = sorted(pin for pin, (_, what) in pins.items() if any(name.startswith("GCLKT") for name in what))
    return clocks, sorted(pin for pin, (_, what) in pins.items() if not what)
