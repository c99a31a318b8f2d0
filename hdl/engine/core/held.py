"""Numbers of a row that come element by element with the weights and stand until others come."""

from amaranth.hdl import Cat, Module, Signal, Value

from ..plan import EnginePlan
from ..record import Record

__all__ = ["held_fields"]


def held_fields(
    m: Module, plan: EnginePlan, record: Record, row: int, *, word: Value, shift: Value, name: str
) -> dict[str, Value]:  # fmt: skip
    """The fields of ``record`` of row ``row``, by name: a register that takes the row's element of ``word`` while
    ``shift`` is up. The last elements that came are the record."""
    held = Signal(record.words(plan.bits) * plan.bits, name=f"{name}{row}", reset_less=True)
    with m.If(shift):
        m.d.sync += held.eq(Cat(held, word.word_select(row, plan.bits))[plan.bits :])
    at = 0
    field: dict[str, Value] = {}
    for item in record.fields:
        bits = held[at : at + item.bits]
        field[item.name] = bits.as_signed() if item.signed else bits
        at += item.bits
    return field
