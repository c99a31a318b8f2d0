"""Registers one behind the other."""

from amaranth.hdl import Module, Signal, Value

__all__ = ["later"]


def later(m: Module, value: Value, ranks: int = 1, *, name: str = "later") -> Value:
    """``value`` so many cycles later."""
    for rank in range(ranks):
        kept = Signal(value.shape(), name=f"{name}_{rank}" if ranks > 1 else name)
        m.d.sync += kept.eq(value)
        value = kept
    return value
