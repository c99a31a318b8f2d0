"""Carry chains of AMD's devices."""

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Cat, Const, Instance, Module, Signal, Value

from .chains import Cell, Chained, adding, deciding, inverted
from .functions import complement, majority, one_pair, parity, same, two_pairs
from .tables import LookupTable, bits_of, init_of
from .words import Bit, Function, Word

__all__ = ["Xilinx"]


class Xilinx(Chained):
    """7-series and UltraScale+: LUT6_2 in front of every carry bit, and three words per adder.

    The lower output of a LUT6_2 feeds the carry (or, in a sum of three words, the next bit); its upper output is the
    propagate. Both read the same five inputs, the sixth is tied high.
    """

    arity = 3
    cell_inputs = 5
    lut_inputs = 6

    def __init__(self, name: str, carry_cell: str):
        self.name = name
        self._carry_cell = carry_cell
        self._length = {"CARRY4": 4, "CARRY8": 8}[carry_cell]

    def group(self, words: Sequence[Word]) -> int:
        if len(words) >= 3 and sum(len(word.inputs) for word in words[:3]) <= 4:
            return 3
        return super().group(words)

    def add(self, m: Module, words: Sequence[Word], carries: Sequence[Value], bits: int, name: str) -> Value:
        if len(words) < 3:
            return super().add(m, words, carries, bits, name)
        assert len(words) == 3 and len(carries) < 3
        words = list(words)
        while sum(len(word.inputs) for word in words) > 4:
            worst = max(range(3), key=lambda k: len(words[k].inputs))
            words[worst] = self._computed(m, words[worst], f"{name}_operand{worst}")
        first, second = [*carries, Const(0, 1), Const(0, 1)][:2]
        width = max(word.width for word in words)
        top = bits if any(word.extends for word in words) else min(bits, width + 1)
        propagates, kept = [], [second]
        for k in range(top):
            table_inputs = [word.bit(k) for word in words]
            union = LookupTable(*table_inputs, Bit((kept[-1],), same))
            majority, parity = Signal(name=f"{name}_majority{k}"), Signal(name=f"{name}_parity{k}")

            def upper(*values: int, table: LookupTable = union) -> int:
                return table(0, values) ^ table(1, values) ^ table(2, values) ^ table(3, values)

            def lower(*values: int, table: LookupTable = union) -> int:
                return int(table(0, values) + table(1, values) + table(2, values) > 1)

            self._lut(m, union.inputs, upper, parity, lower if k < top - 1 else None, majority, f"{name}_{k}")
            propagates.append(parity)
            kept.append(majority)
        sums, out = self._carries(m, propagates, kept[:top], first, name, read_carry=bits > top)
        result = Signal(bits, name=name)
        m.d.comb += result.eq(sums if out is None else Cat(sums, out))
        return result

    def less(self, m: Module, a: Word, b: Word, name: str, enable: Value | None = None) -> Value:
        """Two bits per cell: they are equal, or they decide. The fifth input takes ``enable`` for nothing."""
        pairs = [(a.bit(k), b.bit(k)) for k in range(a.width)]
        cells = [deciding(pairs[k : k + 2], enable) for k in range(0, len(pairs), 2)]
        carry = self._chain(m, cells, Const(0, 1), name, read_carry=True)[1]
        assert carry is not None
        return carry

    def subtract(self, m: Module, a: Word, b: Word, name: str) -> tuple[Word, Value]:
        """The chain adds ``~a + b``: it carries out when ``a < b``, and its sum is the complement of the difference,
        which is inverted for nothing by whatever table reads it."""
        cells = [adding(inverted(a.bit(k)), b.bit(k)) for k in range(a.width)]
        sums, carry = self._chain(m, cells, Const(0, 1), name, read_carry=True)
        assert carry is not None
        return Word(inputs=(sums,), function=complement), carry

    def count3(self, m: Module, bits: Sequence[Value], name: str) -> Value:
        ones, twos = Signal(name=f"{name}_ones"), Signal(name=f"{name}_twos")
        self._lut(m, list(bits), parity, ones, majority, twos, name)
        return Cat(ones, twos)

    def count7(self, m: Module, bits: Sequence[Value], name: str) -> Value:
        """Two cells: the parity of six bits, then the twos among five of them; the seventh bit is the carry in."""
        six, rest = Bit(tuple(bits[:6]), parity), tuple(bits[:5])
        cells = [
            Cell(six, Bit((bits[5],), same)),
            Cell(Bit(rest, one_pair), Bit(rest, two_pairs)),
        ]
        sums, carry = self._chain(m, cells, bits[6], name, read_carry=True)
        assert carry is not None
        return Cat(sums, carry)

    def select(self, m: Module, word: Word, name: str) -> Value:
        """Two bits per lookup table where they read five inputs together."""
        result = Signal(word.width, name=name)
        position = 0
        while position < word.width:
            low, high = word.bit(position), word.bit(position + 1)
            union = LookupTable(low, high)
            if position + 1 < word.width and len(union.inputs) <= 5:
                outputs = [Signal(name=f"{name}_{position + k}") for k in range(2)]
                self._lut(
                    m, union.inputs, lambda *v, t=union: t(1, v), outputs[1], lambda *v, t=union: t(0, v), outputs[0],
                    f"{name}_{position}",
                )  # fmt: skip
                m.d.comb += [result[position + k].eq(outputs[k]) for k in range(2)]
                position += 2
            else:
                single = LookupTable(low)
                output = Signal(name=f"{name}_{position}")
                self._lut(m, single.inputs, lambda *v, t=single: t(0, v), output, None, None, f"{name}_{position}")
                m.d.comb += result[position].eq(output)
                position += 1
        return result

    def _fits(self, a: Bit, b: Bit) -> bool:
        cell = adding(a, b)
        union = LookupTable(cell.propagate, cell.generate)
        count = len(union.inputs)
        return count <= 5 or (count == 6 and self._wire(cell, union) is not None)

    def _chain(
        self, m: Module, cells: Sequence[Cell], carry: Value, name: str, *, read_carry: bool
    ) -> tuple[Value, Value | None]:
        propagates, generates = [], []
        for k, cell in enumerate(cells):
            union = LookupTable(cell.propagate, cell.generate)
            propagate = Signal(name=f"{name}_p{k}")
            propagates.append(propagate)
            wire = self._wire(cell, union)
            output = None if wire is not None else Signal(name=f"{name}_g{k}")
            self._lut(
                m, union.inputs, lambda *v, t=union: t(0, v), propagate,
                None if output is None else lambda *v, t=union: t(1, v), output, f"{name}_{k}",
            )  # fmt: skip
            generates.append(output if wire is None else wire)
        return self._carries(m, propagates, generates, carry, name, read_carry=read_carry)

    @staticmethod
    def _wire(cell: Cell, union: LookupTable) -> Value | None:
        """An input that may stand for ``generate``, which is only read where ``propagate`` is 0."""
        stops = [k for k, passes in enumerate(union.column(0)) if not passes]
        wanted = union.column(1)
        for constant in (0, 1):
            if all(wanted[k] == constant for k in stops):
                return Const(constant, 1)
        for place, value in enumerate(union.inputs):
            if all(wanted[k] == (k >> place) & 1 for k in stops):
                return value
        return None

    @staticmethod
    def _lut(
        m: Module, inputs: Sequence[Value], upper: Function, output: Value, lower: Function | None,
        other: Value | None, name: str,
    ) -> None:  # fmt: skip
        """A lookup table with one output, or with two that read the same five inputs."""
        count = len(inputs)
        if lower is None:
            assert count <= 6, f"{name}: {count} inputs do not fit a lookup table"
            table = [upper(*bits_of(k, count)) & 1 for k in range(1 << count)]
            if count == 0:
                m.d.comb += output.eq(table[0])
                return
            pins = {f"i_I{k}": value for k, value in enumerate(inputs)}
            m.submodules[f"lut_{name}"] = Instance(f"LUT{count}", p_INIT=init_of(table), o_O=output, **pins)
            return
        assert count <= 5, f"{name}: {count} inputs do not fit a lookup table with two outputs"
        padded = [*inputs, *[Const(0, 1)] * (5 - count)]
        tables = [[f(*bits_of(k, 5)[:count]) & 1 for k in range(32)] for f in (lower, upper)]
        pins = {f"i_I{k}": value for k, value in enumerate([*padded, Const(1, 1)])}
        m.submodules[f"lut_{name}"] = Instance(
            "LUT6_2", p_INIT=init_of(tables[0] + tables[1]), o_O6=output, o_O5=other, **pins
        )

    def _carries(
        self, m: Module, propagates: Sequence[Value], generates: Sequence[Value], carry: Value, name: str, *,
        read_carry: bool,
    ) -> tuple[Value, Value | None]:  # fmt: skip
        size, length = self._length, len(propagates)
        sums = Signal(length, name=f"{name}_sums")
        chained: Value = carry
        outs = Signal(size)
        for start in range(0, length, size):
            part = min(size, length - start)
            outs, results = Signal(size, name=f"{name}_carry{start}"), Signal(size, name=f"{name}_sum{start}")
            padding = [Const(0, 1)] * (size - part)
            pins: dict[str, Any] = {
                "i_S": Cat(*propagates[start : start + part], *padding),
                "i_DI": Cat(*generates[start : start + part], *padding),
                "o_O": results,
                "o_CO": outs,
            }
            if self._carry_cell == "CARRY4":
                pins |= {"i_CI": Const(0, 1), "i_CYINIT": chained} if start == 0 else {
                    "i_CI": chained, "i_CYINIT": Const(0, 1)
                }  # fmt: skip
            else:
                pins |= {"i_CI": chained, "i_CI_TOP": Const(0, 1)}
            m.submodules[f"carry_{name}_{start}"] = Instance(self._carry_cell, **pins)
            m.d.comb += sums[start : start + part].eq(results[:part])
            chained = outs[size - 1]
        if not read_carry:
            return sums, None
        return sums, outs[(length - 1) % size] if length else carry
