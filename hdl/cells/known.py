"""The fabrics by name: an array of lanes names the one it is built of."""

from .ecp5 import Ecp5
from .fabric import Fabric
from .generic import Generic
from .xilinx import Xilinx

__all__ = ["FABRICS", "fabric_named"]

FABRICS: dict[str, Fabric] = {
    fabric.name: fabric for fabric in (Generic(), Ecp5(), Xilinx("xc7", "CARRY4"), Xilinx("xcup", "CARRY8"))
}
"""Fabrics by name."""


def fabric_named(name: str) -> Fabric:
    """The fabric called ``name``.

    Raises
    ------
    ValueError
        for an unknown name.
    """
    if name not in FABRICS:
        raise ValueError(f"fabric must be one of {', '.join(FABRICS)}, not {name!r}")
    return FABRICS[name]
