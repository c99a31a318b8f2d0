"""What the carry logic of a device can do: words, chains, and adders of two or three words.

Everything a lane computes is a sum of *words*: numbers whose bit ``i`` is a small function of bit ``i`` of a few
signals, for instance ``d[i] ^ s``. A carry chain has one cell per bit with a lookup table in front of it, so a function
of the right size costs nothing beside the sum. How large it may be is what distinguishes devices:

=========  =======================================  =====================================================
fabric     cell                                     adds per cell
=========  =======================================  =====================================================
generic    ``+``; synthesis decides                 two words
xilinx     LUT6_2 with CARRY4 (CARRY8)              two words of five inputs together, six if one is a
                                                    plain signal; three words of four inputs together
ecp5       half a CCU2C                             two words of four inputs together, with a restriction
=========  =======================================  =====================================================

A function is written once, as a Python function of ``&``, ``|``, ``^`` and ``~`` that is evaluated on signals in the
generic form and on zeros and ones for the lookup tables of the device forms. Tests prove by SAT that the forms agree.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import permutations
from typing import Any

from amaranth.hdl import Cat, Const, Instance, Module, Signal, Value
from amaranth.hdl._ast import Concat, Slice  # private; the only way to see that two bits are the same

__all__ = ["FABRICS", "Bit", "Ecp5", "Fabric", "Generic", "Word", "Xilinx", "fabric_named", "plain"]

Function = Callable[..., Any]


@dataclass(frozen=True, kw_only=True)
class Word:
    """A number whose bit ``i`` is ``function`` of bit ``i`` of the inputs.

    Attributes
    ----------
    inputs : the words and single bits that the function reads; a single bit is read at every position
    function : of as many arguments; called with signals, and with zeros and ones
    bits : width; by default that of the widest input
    signed : beyond its width, and beyond that of its inputs, the word repeats the top bit; else it is zero there
    flip : its top bit is inverted, which turns a signed number into one that counts from the lowest
    places : it stands so many places to the left, above zeros
    """

    inputs: tuple[Any, ...]
    function: Function
    bits: int | None = None
    signed: bool = False
    flip: bool = False
    places: int = 0

    @property
    def width(self) -> int:
        """Bits of the word, the places below it included."""
        return self.places + (self.bits or max(len(value) for value in self.inputs))

    @property
    def extends(self) -> bool:
        """Whether the word repeats its top bit beyond its width."""
        return self.signed and not self.flip

    @property
    def is_plain(self) -> bool:
        """Whether the word is just a signal."""
        return self.function is _same and not self.flip

    def value(self) -> Value:
        """The word as an expression, unsigned or signed."""
        width = self.width - self.places
        wide = []
        for value in self.inputs:
            if len(value) == 1:
                wide.append(value.replicate(width))
            else:
                top = value[-1] if self.signed else Const(0, 1)
                wide.append(Cat(value, top.replicate(width - len(value))) if len(value) < width else value[:width])
        result = self.function(*wide)[:width]
        if self.flip:
            result = result ^ Const(1 << (width - 1), width)
        result = Cat(Const(0, self.places), result)
        return result.as_signed() if self.extends else result

    def bit(self, position: int) -> "Bit":
        """What stands at ``position``."""
        position -= self.places
        width = self.width - self.places
        if position < 0 or (position >= width and not self.extends):
            return Bit((), _zero)
        position = min(position, width - 1)
        reads = tuple(_bit_of(value, position, signed=self.signed) for value in self.inputs)
        if self.flip and position == width - 1:
            function = self.function
            return Bit(reads, lambda *values: ~function(*values))
        return Bit(reads, self.function)


def _same(value: Any) -> Any:
    return value


def _zero() -> int:
    return 0


def plain(value: Value, *, signed: bool = False) -> Word:
    """The word that is just ``value``."""
    return Word(inputs=(value,), function=_same, signed=signed)


def _bit_of(value: Value, position: int, *, signed: bool) -> Value:
    """Bit ``position`` of ``value``, through slices and concatenations, so that equal bits are recognised."""
    if len(value) == 1:
        position = 0
    elif position >= len(value):
        if not signed:
            return Const(0, 1)
        position = len(value) - 1
    while True:
        if isinstance(value, Const):
            return Const((value.value >> position) & 1, 1)
        if isinstance(value, Slice):
            value, position = value.value, position + value.start
        elif isinstance(value, Concat):
            for part in value.parts:
                if position < len(part):
                    value = part
                    break
                position -= len(part)
        else:
            return value[position]


@dataclass(frozen=True)
class Bit:
    """A function of single bits."""

    inputs: tuple[Value, ...]
    function: Function


class _Table:
    """Several functions over the union of their inputs, constants removed."""

    def __init__(self, *bits: Bit):
        self.inputs: list[Value] = []
        places: dict[Any, int] = {}
        self._readers = []
        for bit in bits:
            reader: list[tuple[bool, int]] = []
            for value in bit.inputs:
                value = _bit_of(value, 0, signed=False)
                if isinstance(value, Const):
                    reader.append((True, value.value & 1))
                    continue
                key = (id(value.value), value.start) if isinstance(value, Slice) else id(value)
                if key not in places:
                    places[key] = len(self.inputs)
                    self.inputs.append(value)
                reader.append((False, places[key]))
            self._readers.append((bit.function, reader))

    def __call__(self, index: int, assignment: Sequence[int]) -> int:
        """Value of function ``index`` when the inputs are ``assignment``."""
        function, reader = self._readers[index]
        return int(function(*(place if is_const else assignment[place] for is_const, place in reader))) & 1

    def column(self, index: int) -> tuple[int, ...]:
        """Function ``index`` for every assignment, the first input counting fastest."""
        count = len(self.inputs)
        return tuple(self(index, _bits_of(k, count)) for k in range(1 << count))


class Fabric(ABC):
    """The arithmetic of a family of devices. Widths are free, results are exact.

    Attributes
    ----------
    name : what users call it
    arity : words that one adder takes
    cell_inputs : inputs that the two words of a carry cell may read together
    lut_inputs : inputs of a lookup table
    """

    name: str
    arity: int
    cell_inputs: int
    lut_inputs: int

    def group(self, words: Sequence[Word]) -> int:
        """How many of the first ``words`` one adder takes: at least two, unless there is only one."""
        return min(2, len(words))

    @abstractmethod
    def add(self, m: Module, words: Sequence[Word], carries: Sequence[Value], bits: int, name: str) -> Value:
        """``sum(words) + sum(carries)`` modulo ``2**bits``, of `group` words and up to one carry fewer."""

    @abstractmethod
    def less(self, m: Module, a: Word, b: Word, name: str, enable: Value | None = None) -> Value:
        """``a < b`` of two unsigned words of equal width; 0 while ``enable`` is low."""

    @abstractmethod
    def subtract(self, m: Module, a: Word, b: Word, name: str) -> tuple[Word, Value]:
        """``a - b`` of two unsigned words of equal width, in as many bits, and whether ``a < b``."""

    @abstractmethod
    def count7(self, m: Module, bits: Sequence[Value], name: str) -> Value:
        """How many of seven bits are set, in three bits."""

    @abstractmethod
    def select(self, m: Module, word: Word, name: str) -> Value:
        """The value of ``word`` in lookup tables."""

    def count3(self, m: Module, bits: Sequence[Value], name: str) -> Value:
        """How many of three bits are set, in two bits."""
        a, b, c = bits
        result = Signal(2, name=name)
        m.d.comb += result.eq(Cat(a ^ b ^ c, (a & b) | (c & (a | b))))
        return result


def _sum_of(words: Sequence[Word], carries: Sequence[Value], bits: int) -> Value:
    """Plain operators; the first carry enters below the lowest bit, so that it takes no adder of its own."""
    values = [_extended(word, bits) for word in words]
    total = values[0]
    rest = list(carries)
    for value in values[1:]:
        if rest:
            carry = rest.pop(0)
            total = ((Cat(Const(1, 1), total) + Cat(carry, value)) >> 1)[:bits]
        else:
            total = (total + value)[:bits]
    for carry in rest:
        total = (total + carry)[:bits]
    return total


def _extended(word: Word, bits: int) -> Value:
    """A signed word in ``bits`` bits; an unsigned one stays narrow, so that no adder is wider than it must."""
    value = word.value()
    if not value.shape().signed:
        return value
    return Cat(value, value[-1].replicate(max(0, bits - len(value))))[:bits]


def _full_adders(fabric: Fabric, m: Module, bits: Sequence[Value], name: str) -> Value:
    """Count seven bits, the last of which may be constantly zero."""
    low = fabric.count3(m, bits[:3], f"{name}_a")
    high = fabric.count3(m, bits[3:6], f"{name}_b")
    ones = fabric.count3(m, [low[0], high[0], bits[6]], f"{name}_1")
    twos = fabric.count3(m, [low[1], high[1], ones[1]], f"{name}_2")
    return Cat(ones[0], twos)


class Generic(Fabric):
    """Operators of the language; any synthesis tool knows what to do with them."""

    name = "generic"
    arity = 2
    cell_inputs = 4
    lut_inputs = 6

    def add(self, m: Module, words: Sequence[Word], carries: Sequence[Value], bits: int, name: str) -> Value:
        result = Signal(bits, name=name)
        m.d.comb += result.eq(_sum_of(words, carries, bits))
        return result

    def less(self, m: Module, a: Word, b: Word, name: str, enable: Value | None = None) -> Value:
        result = Signal(name=name)
        smaller = a.value() < b.value()
        m.d.comb += result.eq(smaller if enable is None else smaller & enable)
        return result

    def subtract(self, m: Module, a: Word, b: Word, name: str) -> tuple[Word, Value]:
        difference, borrow = Signal(a.width, name=name), Signal(name=f"{name}_borrow")
        m.d.comb += Cat(difference, borrow).eq(a.value() - b.value())
        return plain(difference), borrow

    def count7(self, m: Module, bits: Sequence[Value], name: str) -> Value:
        return _full_adders(self, m, bits, name)

    def select(self, m: Module, word: Word, name: str) -> Value:
        result = Signal(word.width, name=name)
        m.d.comb += result.eq(word.value())
        return result


@dataclass(frozen=True)
class _Cell:
    """One bit of a chain: the carry passes where ``propagate`` is 1, else ``generate`` takes its place."""

    propagate: Bit
    generate: Bit


class _Chained(Fabric):
    """A device form: everything is a chain of cells."""

    @abstractmethod
    def _chain(
        self, m: Module, cells: Sequence[_Cell], carry: Value, name: str, *, read_carry: bool
    ) -> tuple[Value, Value | None]:
        """Sums (``propagate ^ carry``) of all cells, and the carry behind the last."""

    @abstractmethod
    def _fits(self, a: Bit, b: Bit) -> bool:
        """Whether one cell adds the two."""

    def add(self, m: Module, words: Sequence[Word], carries: Sequence[Value], bits: int, name: str) -> Value:
        if len(words) == 1:
            words = [*words, plain(Const(0, 1))]
        assert len(words) == 2 and len(carries) < 2
        a, b = self._fitting(m, list(words), name)
        carry = carries[0] if carries else Const(0, 1)
        # Where both words are zero only the carry is left: the chain's carry out is that bit, without a cell.
        top = bits if a.extends or b.extends else max(a.width, b.width)
        length = min(bits, top)
        cells = [_adding(a.bit(k), b.bit(k)) for k in range(length)]
        sums, out = self._chain(m, cells, carry, name, read_carry=bits > length)
        result = Signal(bits, name=name)
        m.d.comb += result.eq(sums if out is None else Cat(sums, out))
        return result

    def _fitting(self, m: Module, words: list[Word], name: str) -> list[Word]:
        """The two words, the larger one computed beforehand while the cells cannot hold the functions of both."""
        width = max(word.width for word in words)
        while not all(self._fits(words[0].bit(k), words[1].bit(k)) for k in range(width)):
            _, worst = max((len(word.inputs), k) for k, word in enumerate(words) if not word.is_plain)
            words[worst] = self._computed(m, words[worst], f"{name}_operand{worst}")
        return words

    def _computed(self, m: Module, word: Word, name: str) -> Word:
        return plain(self.select(m, word, name), signed=word.extends)


def _deciding(pairs: Sequence[tuple[Bit, Bit]], enable: Value | None = None) -> _Cell:
    """The cell that compares digits of one or more bits, the lowest first: they are equal and the carry passes, or the
    cell generates whether the first is smaller."""
    inputs: list[Value] = []
    spans = []
    for a, b in pairs:
        spans.append((len(inputs), len(a.inputs), len(b.inputs)))
        inputs += [*a.inputs, *b.inputs]
    gate = Const(1, 1) if enable is None else enable

    def digits(values: Sequence[int]) -> list[tuple[int, int]]:
        return [
            (
                pairs[k][0].function(*values[at : at + first]) & 1,
                pairs[k][1].function(*values[at + first : at + first + second]) & 1,
            )
            for k, (at, first, second) in enumerate(spans)
        ]

    def equal(*values: int) -> int:
        return int(values[-1] and all(a == b for a, b in digits(values)))

    def smaller(*values: int) -> int:
        result = 0
        for a, b in digits(values):
            result = result if a == b else b
        return int(values[-1] and result)

    read = (*inputs, gate)
    return _Cell(Bit(read, equal), Bit(read, smaller))


def _inverted(bit: Bit) -> Bit:
    return Bit(bit.inputs, lambda *values: ~bit.function(*values))


def _complement(value: Any) -> Any:
    return ~value


def _adding(a: Bit, b: Bit) -> _Cell:
    """The cell that adds two bits."""
    count = len(a.inputs)

    def either(*values: int) -> int:
        return (a.function(*values[:count]) ^ b.function(*values[count:])) & 1

    return _Cell(Bit(a.inputs + b.inputs, either), a)


def _parity(*values: int) -> int:
    return sum(values) & 1


def _majority(*values: int) -> int:
    return int(sum(values) > 1)


def _one_pair(*values: int) -> int:
    return int(sum(values) in (2, 3))


def _two_pairs(*values: int) -> int:
    return int(sum(values) > 3)


class Xilinx(_Chained):
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
            union = _Table(*table_inputs, Bit((kept[-1],), _same))
            majority, parity = Signal(name=f"{name}_majority{k}"), Signal(name=f"{name}_parity{k}")

            def upper(*values: int, table: _Table = union) -> int:
                return table(0, values) ^ table(1, values) ^ table(2, values) ^ table(3, values)

            def lower(*values: int, table: _Table = union) -> int:
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
        cells = [_deciding(pairs[k : k + 2], enable) for k in range(0, len(pairs), 2)]
        carry = self._chain(m, cells, Const(0, 1), name, read_carry=True)[1]
        assert carry is not None
        return carry

    def subtract(self, m: Module, a: Word, b: Word, name: str) -> tuple[Word, Value]:
        """The chain adds ``~a + b``: it carries out when ``a < b``, and its sum is the complement of the difference,
        which is inverted for nothing by whatever table reads it."""
        cells = [_adding(_inverted(a.bit(k)), b.bit(k)) for k in range(a.width)]
        sums, carry = self._chain(m, cells, Const(0, 1), name, read_carry=True)
        assert carry is not None
        return Word(inputs=(sums,), function=_complement), carry

    def count3(self, m: Module, bits: Sequence[Value], name: str) -> Value:
        ones, twos = Signal(name=f"{name}_ones"), Signal(name=f"{name}_twos")
        self._lut(m, list(bits), _parity, ones, _majority, twos, name)
        return Cat(ones, twos)

    def count7(self, m: Module, bits: Sequence[Value], name: str) -> Value:
        """Two cells: the parity of six bits, then the twos among five of them; the seventh bit is the carry in."""
        six, rest = Bit(tuple(bits[:6]), _parity), tuple(bits[:5])
        cells = [
            _Cell(six, Bit((bits[5],), _same)),
            _Cell(Bit(rest, _one_pair), Bit(rest, _two_pairs)),
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
            union = _Table(low, high)
            if position + 1 < word.width and len(union.inputs) <= 5:
                outputs = [Signal(name=f"{name}_{position + k}") for k in range(2)]
                self._lut(
                    m, union.inputs, lambda *v, t=union: t(1, v), outputs[1], lambda *v, t=union: t(0, v), outputs[0],
                    f"{name}_{position}",
                )  # fmt: skip
                m.d.comb += [result[position + k].eq(outputs[k]) for k in range(2)]
                position += 2
            else:
                single = _Table(low)
                output = Signal(name=f"{name}_{position}")
                self._lut(m, single.inputs, lambda *v, t=single: t(0, v), output, None, None, f"{name}_{position}")
                m.d.comb += result[position].eq(output)
                position += 1
        return result

    def _fits(self, a: Bit, b: Bit) -> bool:
        cell = _adding(a, b)
        union = _Table(cell.propagate, cell.generate)
        count = len(union.inputs)
        return count <= 5 or (count == 6 and self._wire(cell, union) is not None)

    def _chain(
        self, m: Module, cells: Sequence[_Cell], carry: Value, name: str, *, read_carry: bool
    ) -> tuple[Value, Value | None]:
        propagates, generates = [], []
        for k, cell in enumerate(cells):
            union = _Table(cell.propagate, cell.generate)
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
    def _wire(cell: _Cell, union: _Table) -> Value | None:
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
            table = [upper(*_bits_of(k, count)) & 1 for k in range(1 << count)]
            if count == 0:
                m.d.comb += output.eq(table[0])
                return
            pins = {f"i_I{k}": value for k, value in enumerate(inputs)}
            m.submodules[f"lut_{name}"] = Instance(f"LUT{count}", p_INIT=_init(table), o_O=output, **pins)
            return
        assert count <= 5, f"{name}: {count} inputs do not fit a lookup table with two outputs"
        padded = [*inputs, *[Const(0, 1)] * (5 - count)]
        tables = [[f(*_bits_of(k, 5)[:count]) & 1 for k in range(32)] for f in (lower, upper)]
        pins = {f"i_I{k}": value for k, value in enumerate([*padded, Const(1, 1)])}
        m.submodules[f"lut_{name}"] = Instance(
            "LUT6_2", p_INIT=_init(tables[0] + tables[1]), o_O6=output, o_O5=other, **pins
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


def _bits_of(number: int, count: int) -> tuple[int, ...]:
    return tuple((number >> k) & 1 for k in range(count))


def _init(table: Sequence[int]) -> Const:
    return Const(sum(bit << k for k, bit in enumerate(table)), len(table))


class Ecp5(_Chained):
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
        cells = [_adding(a.bit(k), _inverted(b.bit(k))) for k in range(a.width)]
        sums, carry = self._chain(m, cells, Const(1, 1), name, read_carry=True, invert_carry=True)
        assert carry is not None
        return plain(sums), carry

    def select(self, m: Module, word: Word, name: str) -> Value:
        result = Signal(word.width, name=name)
        value = word.value()
        for k in range(word.width):
            table = _Table(word.bit(k))
            if len(table.inputs) <= 4:
                self._lut(m, table, 0, result[k], f"{name}_{k}")
            else:
                m.d.comb += result[k].eq(value[k])
        return result

    def count3(self, m: Module, bits: Sequence[Value], name: str) -> Value:
        """Two tables, placed by hand: synthesis would merge levels into wider functions of four tables each."""
        result = Signal(2, name=name)
        inputs = tuple(bits)
        table = _Table(Bit(inputs, _parity), Bit(inputs, _majority))
        for k in range(2):
            self._lut(m, table, k, result[k], f"{name}_{k}")
        return result

    def count7(self, m: Module, bits: Sequence[Value], name: str) -> Value:
        return _full_adders(self, m, bits, name)

    @staticmethod
    def _lut(m: Module, table: _Table, index: int, output: Value, name: str) -> None:
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
        return self._half(_adding(a, b)) is not None

    @staticmethod
    def _half(cell: _Cell) -> tuple[list[Value], int] | None:
        """Inputs A..D and the table of a half that does what ``cell`` says, if there is one."""
        union = _Table(cell.propagate, cell.generate)
        found = _half_table(len(union.inputs), union.column(0), union.column(1)) if len(union.inputs) <= 4 else None
        if found is None:
            return None
        order, table = found
        return [union.inputs[k] for k in order] + [Const(1, 1)] * (4 - len(order)), table

    def _chain(
        self, m: Module, cells: Sequence[_Cell], carry: Value, name: str, *, read_carry: bool,
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
