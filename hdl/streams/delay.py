"""Registers one behind the other."""

from amaranth.hdl import Module, Signal, Value

__all__ = ["later", "trail"]


def later(
    m: Module, value: Value, ranks: int = 1, *, name: str = "later", enable: Value | None = None,
    resets: bool = True,
) -> Value:  # fmt: skip
    """``value`` so many cycles later; of those in which ``enable`` is up, where it is given.

    Parameters
    ----------
    resets : whether the registers have a reset; of those that have none synthesis may use it for a choice in front
    """
    for rank in range(ranks):
        kept = Signal(value.shape(), name=f"{name}_{rank}" if ranks > 1 else name, reset_less=not resets)
        if enable is None:
            m.d.sync += kept.eq(value)
        else:
            with m.If(enable):
                m.d.sync += kept.eq(value)
        value = kept
    return value


def trail(m: Module, signal: Signal, ranks: int, *, enable: Value | None = None) -> Signal:
    """`later`, where every register is named after the one before it: ``valid``, ``valid_1``, ``valid_1_2``."""
    for rank in range(ranks):
        signal = later(m, signal, name=f"{signal.name}_{rank + 1}", enable=enable)
    return signal
