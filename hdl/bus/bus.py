"""What every bus in front of a register file has."""

from abc import abstractmethod
from typing import Any, ClassVar

from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .registers import Request, Response

__all__ = ["Bus"]


class Bus(wiring.Component):
    """A bus on one side, a `RegisterFile` on the other.

    Members
    -------
    request, response : of the register file
    all others : `pins`, by their names in the standard

    Attributes
    ----------
    PREFIX : of its pins at the top
    """

    PREFIX: ClassVar[str]

    @staticmethod
    @abstractmethod
    def pins(address_bits: int) -> dict[str, Any]:
        """The bus itself."""

    def __init__(self, address_bits: int):
        super().__init__({
            "request": Out(Request(address_bits)), "response": In(Response()), **self.pins(address_bits),
        })  # fmt: skip
