"""Counters and pointers that walk over images and rings."""

from amaranth.hdl import Const, Module, Mux, Signal, Value

__all__ = ["Counter", "Pointer"]


class Counter:
    """Counts 0..n-1 and around; a counter to 1 is no register."""

    def __init__(self, m: Module, n: int, name: str):
        self.m = m
        self.n = n
        self.value = Signal(range(max(2, n)), name=name) if n > 1 else Const(0, 1)
        self.at_end = self.value == n - 1

    def step(self) -> None:
        """Count one further at the end of the cycle, from n - 1 to 0."""
        if self.n > 1:
            self.m.d.sync += self.value.eq(Mux(self.at_end, 0, self.value + 1))

    def clear(self) -> None:
        """Go back to 0 at the end of the cycle."""
        if self.n > 1:
            self.m.d.sync += self.value.eq(0)


class Pointer:
    """An address that runs around a ring of ``depth`` words, from ``init`` on."""

    def __init__(self, m: Module, depth: int, name: str, *, init: int = 0):
        self.m = m
        self.depth = depth
        self.value = Signal(range(depth), name=name, init=init)

    def after(self, distance: int) -> Value:
        """The address ``distance`` words further, at most once around."""
        assert distance <= self.depth
        # Choosing between two constants costs no table: adders take the comparison as an input.
        wraps = self.value >= self.depth - distance
        return (self.value + Mux(wraps, distance - self.depth, distance))[: len(self.value)]

    def advance(self, distance: int) -> None:
        """Move the pointer ``distance`` words further at the end of the cycle."""
        self.m.d.sync += self.value.eq(self.after(distance))

    def set(self, value: Value) -> None:
        """Put the pointer to ``value`` at the end of the cycle."""
        self.m.d.sync += self.value.eq(value)
