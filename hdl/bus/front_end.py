"""The bus side of ``--control``: which component speaks it, and which ports it adds to the top."""

from typing import Any

from .axi_lite import AxiLite
from .bus import Bus
from .wishbone import Wishbone

__all__ = ["FRONT_ENDS", "front_end", "pins"]

FRONT_ENDS: dict[str, type[Bus]] = {"axi-lite": AxiLite, "wishbone": Wishbone}


def front_end(control: str, address_bits: int) -> Bus:
    """The bus side of ``--control``."""
    return FRONT_ENDS[control](address_bits)


def pins(control: str, address_bits: int) -> dict[str, Any]:
    """What the bus of ``--control`` adds to the ports of the top: members by their name there."""
    kind = FRONT_ENDS[control]
    return {f"{kind.PREFIX}{name}": member for name, member in kind.pins(address_bits).items()}
