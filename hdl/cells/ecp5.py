"""Carry chains of Lattice's ECP5."""

from collections.abc import Sequence
from functools import cache
from itertools import permutations

from amaranth.hdl import Const, Instance, Module, Signal, Value

from .chains import Cell, Chained, adding, inverted
from .fabric import full_adders
from .functions import majority, parity
from .tables import LookupTable
from .words import Bit, Word, plain

__all__ = ["Ecp5"]


class Ecp5(Chained):
    """ECP5 (and its relatives): half a CCU2C per bit.

    A half has a table of four inputs for the propagate; the generate is the same table read at C = D = 0, so it sees A
    and B only. With three inputs, D is tied high and both are free functions; with four, the propagate itself must say
    at C = D = 0 what the carry is to be.
    """

    name = "ecp5"
    arity = 2
    cell_inputs = 4
    lut_inputs = 4

    def less(self, m: Module, a: Word, b: Word, name: str, enable: Value | None = None) -> Value:
        less = self.subtract(m, a, b, name)[1]
        if enable is None:
            return less
        gated = Signal(name=f"{name}_gated")
        m.d.comb += gated.eq(less & enable)
        return gated

    def subtract(self, m: Module, a: Word, b: Word, name: str) -> tuple[Word, Value]:
        """``a + ~b + 1`` carries out when ``a >= b``; the cell that reads the carry inverts it for nothing."""
        cells = [adding(a.bit(k), inverted(b.bit(k))) for k in range(a.width)]
        sums, carry = self._chain(m, cells, Const(1, 1), name, read_carry=True, invert_carry=True)
        assert carry is not None
        return plain(sums), carry

    def select(self, m: Module, word: Word, name: str) -> Value:
        result = Signal(word.width, name=name)
        value = word.value()
        for k in range(word.width):
            table = LookupTable(word.bit(k))
            if len(table.inputs) <= 4:
                self._lut(m, table, 0, result[k], f"{name}_{k}")
            else:
                m.d.comb += result[k].eq(value[k])
        return result

    def count3(self, m: Module, bits: Sequence[Value], name: str) -> Value:
        """Two tables, placed by hand: synthesis would merge levels into wider functions of four tables each."""
        result = Signal(2, name=name)
        inputs = tuple(bits)
        table = LookupTable(Bit(inputs, parity), Bit(inputs, majority))
        for k in range(2):
            self._lut(m, table, k, result[k], f"{name}_{k}")
        return result

    def count7(self, m: Module, bits: Sequence[Value], name: str) -> Value:
        return full_adders(self, m, bits, name)

    @staticmethod
    def _lut(m: Module, table: LookupTable, index: int, output: Value, name: str) -> None:
        column = table.column(index)
        if not table.inputs:
            m.d.comb += output.eq(column[0])
            return
        repeated = Const(sum(column[k % len(column)] << k for k in range(16)), 16)
        pins = dict(zip("ABCD", [*table.inputs, *[Const(0, 1)] * (4 - len(table.inputs))], strict=True))
        m.submodules[f"lut_{name}"] = Instance(
            "LUT4", p_INIT=repeated, o_Z=output, **{f"i_{pin}": value for pin, value in pins.items()}
        )

    def _fits(self, a: Bit, b: Bit) -> bool:
        return self._half(adding(a, b)) is not None

    @staticmethod
    def _half(cell: Cell) -> tuple[list[Value], int] | None:
        """Inputs A..D and the table of a half that does what ``cell`` says, if there is one."""
        union = LookupTable(cell.propagate, cell.generate)
        found = _half_table(len(union.inputs), union.column(0), union.column(1)) if len(union.inputs) <= 4 else None
        if found is None:
            return None
        order, table = found
        return [union.inputs[k] for k in order] + [Const(1, 1)] * (4 - len(order)), table

    def _chain(
        self, m: Module, cells: Sequence[Cell], carry: Value, name: str, *, read_carry: bool,
        invert_carry: bool = False,
    ) -> tuple[Value, Value | None]:  # fmt: skip
        halves: list[tuple[list[Value], int]] = []
        for cell in cells:
            half = self._half(cell)
            assert half is not None, f"{name}: no half of a CCU2C does this"
            halves.append(half)
        constant = isinstance(carry, Const)
        offset = 0
        one, zero = Const(1, 1), Const(0, 1)
        if not constant:
            # A carry that is a signal enters through a cell of its own: it never passes, it generates.
            halves.insert(0, ([carry, zero, one, one], 0b1010))
            offset = 1
        if read_carry:
            halves.append(([zero, zero, one, one], 0xFFF0 if invert_carry else 0))
        if len(halves) % 2:
            halves.append(([zero, zero, one, one], 0))
        sums = Signal(len(halves), name=f"{name}_sums")
        chained: Value = carry if constant else zero
        for k in range(0, len(halves), 2):
            (pins0, init0), (pins1, init1) = halves[k : k + 2]
            after = Signal(name=f"{name}_carry{k}")
            pins = {
                f"i_{pin}{n}": value
                for n, half in enumerate((pins0, pins1))
                for pin, value in zip("ABCD", half, strict=True)
            }
            m.submodules[f"carry_{name}_{k}"] = Instance(
                "CCU2C", p_INIT0=Const(init0, 16), p_INIT1=Const(init1, 16), p_INJECT1_0="NO", p_INJECT1_1="NO",
                i_CIN=chained, o_S0=sums[k], o_S1=sums[k + 1], o_COUT=after, **pins,
            )  # fmt: skip
            chained = after
        results = sums[offset : offset + len(cells)]
        return results, sums[offset + len(cells)] if read_carry else None


@cache
def _half_table(
    count: int, propagate: tuple[int, ...], generate: tuple[int, ...]
) -> tuple[tuple[int, ...], int] | None:
    """Which inputs go to A, B, C, D (free ones are high) and the table, for a cell of ``count`` inputs.

    Where the cell does not propagate, its carry is the table at (A, B, 0, 0).
    """
    for order in permutations(range(count)):
        table: dict[int, int] = {}
        carries: dict[int, int] = {}
        fits = True
        for assignment in range(1 << count):
            pins = [(assignment >> k) & 1 for k in order] + [1] * (4 - count)
            index = sum(bit << pin for pin, bit in enumerate(pins))
            table[index] = propagate[assignment]
            if not propagate[assignment]:
                fits &= carries.setdefault(index & 3, generate[assignment]) == generate[assignment]
        if fits and all(table.get(low, carry) == carry for low, carry in carries.items()):
            return order, sum(bit << index for index, bit in {**carries, **table}.items())
    return None
