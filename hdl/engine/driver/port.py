"""How a driver in Python reaches an engine: four methods, which a simulator or a board has."""

from typing import Protocol

__all__ = ["EnginePort"]


class EnginePort(Protocol):
    """The registers of an engine and its memory.

    On a board: registers where the control bus is mapped, memory that the engine and the processor both reach. Caches
    are the port's: what is written is in memory before the next register is written, and what is read is what the
    engine has written before ``busy`` fell.
    """

    def read_register(self, offset: int) -> int:
        """The 32 bits at ``offset`` bytes."""
        ...

    def write_register(self, offset: int, value: int) -> None:
        """Write 32 bits at ``offset`` bytes."""
        ...

    def read_memory(self, address: int, count: int) -> bytes:
        """``count`` bytes from ``address`` on, which counts bytes as the engine does."""
        ...

    def write_memory(self, address: int, data: bytes) -> None:
        """Write ``data`` from ``address`` on."""
        ...
