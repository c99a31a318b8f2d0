"""Ranks of registers behind the levels of a circuit, for whatever the circuit keeps alive there."""

from dataclasses import is_dataclass
from functools import cache
from typing import Any

from amaranth.hdl import Const, Module, Mux, Signal, Value

from .terms import Masked

__all__ = ["Rank", "alive", "settled"]


@cache
def _is_signal(kind: type) -> bool:
    return issubclass(kind, Masked | Value)


@cache
def _is_container(kind: type) -> bool:
    return issubclass(kind, list | tuple) or is_dataclass(kind)


def alive(value: Any, register: Any) -> Any:
    """``value``, a nest of containers, with every signal in it replaced by ``register(signal)``."""
    kind: Any = type(value)
    if _is_signal(kind):
        return register(value)
    if isinstance(value, list | tuple):
        return kind([alive(item, register) for item in value])
    if _is_container(kind):
        own: dict[str, Any] = vars(value)
        return kind(**own | {k: alive(v, register) for k, v in own.items() if _is_container(v.__class__)})
    if kind is dict:
        return {key: alive(item, register) for key, item in value.items()}
    return value


def settled(state: Any) -> Any:
    """``state`` without a rank: masks become gates."""
    return alive(state, lambda v: Mux(v.mask, v.fill, v.value) if isinstance(v, Masked) else v)


class Rank:
    """Registers for whatever passes; the same signal gets one register, however often it is read."""

    def __init__(self, m: Module, enable: Value, name: str):
        self._m = m
        self._enable = enable
        self._name = name
        self._made: dict[int, tuple[Any, Value]] = {}

    def __call__(self, state: Any) -> Any:
        return alive(state, self._register)

    def _register(self, value: Any) -> Value:
        if isinstance(value, Const) or (isinstance(value, Value) and len(value) == 0):
            return value
        if id(value) not in self._made:
            m, masked = self._m, isinstance(value, Masked)
            source = value.value if masked else value
            register = Signal(len(source), name=f"{self._name}_{len(self._made)}", reset_less=True)
            if masked:
                with m.If(value.mask):
                    m.d.sync += register.eq(value.fill)
                with m.Elif(self._enable):
                    m.d.sync += register.eq(source)
            else:
                with m.If(self._enable):
                    m.d.sync += register.eq(source)
            # The value is kept, so that no other object can get its identity.
            self._made[id(value)] = (value, register)
        return self._made[id(value)][1]
