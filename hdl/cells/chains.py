"""Carry chains: a `Cell` per bit, and the adders that every device with such cells builds of them."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Signal, Value

from .fabric import Fabric
from .words import Bit, Word, plain

__all__ = ["Cell", "Chained", "adding", "deciding", "inverted"]


@dataclass(frozen=True)
class Cell:
    """One bit of a chain: the carry passes where ``propagate`` is 1, else ``generate`` takes its place."""

    propagate: Bit
    generate: Bit


class Chained(Fabric):
    """A device form: everything is a chain of cells."""

    @abstractmethod
    def _chain(
        self, m: Module, cells: Sequence[Cell], carry: Value, name: str, *, read_carry: bool
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
        cells = [adding(a.bit(k), b.bit(k)) for k in range(length)]
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


def deciding(pairs: Sequence[tuple[Bit, Bit]], enable: Value | None = None) -> Cell:
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
    return Cell(Bit(read, equal), Bit(read, smaller))


def inverted(bit: Bit) -> Bit:
    """The complement of ``bit``, of the same inputs."""
    return Bit(bit.inputs, lambda *values: ~bit.function(*values))


def adding(a: Bit, b: Bit) -> Cell:
    """The cell that adds two bits."""
    count = len(a.inputs)

    def either(*values: int) -> int:
        return (a.function(*values[:count]) ^ b.function(*values[count:])) & 1

    return Cell(Bit(a.inputs + b.inputs, either), a)
