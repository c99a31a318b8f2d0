"""A register map as one value, from which RTL, JSON, C header and documentation are made."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from amaranth.utils import ceil_log2

__all__ = ["ACCESS", "WORD", "BusRegister", "Field", "RegisterMap", "WritableMemory"]

WORD = 32
"""Bits of the bus, and of a word of the map."""
ACCESS = {
    "ro": "read only",
    "rw": "read and write",
    "wo": "write only",
    "w1c": "read; a one written clears the bit",
}
LEAST_ADDRESS_BITS = 12
"""The smallest window that systems give a peripheral, 4 KiB."""


@dataclass(frozen=True, kw_only=True)
class Field:
    """Bits ``bit .. bit + width - 1`` of a register."""

    name: str
    bit: int
    width: int = 1
    meaning: str

    @property
    def mask(self) -> int:
        """Ones where the field is."""
        return ((1 << self.width) - 1) << self.bit


@dataclass(frozen=True, kw_only=True)
class BusRegister:
    """A register of 1 to 32 bits, or of 64, which takes two words, the low one first.

    Reading the low word of 64 bits latches the high one, so that the two belong together.

    Attributes
    ----------
    offset : in bytes
    access : see `ACCESS`
    value : where it never changes
    fields : of a register that is no number
    counter : it counts cycles or images, so that it stands in a `CounterBank`
    """

    name: str
    offset: int
    width: int
    access: str
    meaning: str
    value: int | None = None
    fields: tuple[Field, ...] = ()
    counter: bool = False

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise ValueError(f"name of a register must be an identifier, not {self.name!r}")
        if self.access not in ACCESS:
            raise ValueError(f"access of {self.name} must be one of {', '.join(ACCESS)}, not {self.access!r}")
        if not (1 <= self.width <= WORD or (self.width == 2 * WORD and self.access == "ro")):
            raise ValueError(f"width of {self.name} must be 1..{WORD}, or {2 * WORD} read only, not {self.width}")
        if self.offset < 0 or self.offset % (4 * self.words):
            raise ValueError(f"offset of {self.name} must be a multiple of {4 * self.words}, not {self.offset}")
        if self.value is not None and (self.access != "ro" or not 0 <= self.value < 1 << self.width):
            raise ValueError(f"{self.name} must be read only and hold its value, not {self.value}")
        if self.counter and (self.access != "ro" or self.value is not None or self.width % WORD):
            raise ValueError(f"{self.name} is a counter, so it must be read only and of {WORD} or {2 * WORD} bits")
        taken = 0
        for field in self.fields:
            if field.mask >> self.width or field.mask & taken:
                raise ValueError(f"field {field.name} lies outside {self.name} or over another field")
            taken |= field.mask

    @property
    def words(self) -> int:
        """Words of the map that it takes."""
        return -(-self.width // WORD)

    def field(self, name: str) -> Field:
        """The field of that name."""
        return next(field for field in self.fields if field.name == name)


@dataclass(frozen=True, kw_only=True)
class WritableMemory:
    """A memory behind the window: ``depth`` words of ``width`` bits, each written in ``parts`` words of the bus."""

    number: int
    name: str
    width: int
    depth: int

    @property
    def parts(self) -> int:
        """Words of the bus per word of the memory, the lowest bits first."""
        return -(-self.width // WORD)


@dataclass(frozen=True, kw_only=True)
class RegisterMap:
    """All registers of an accelerator.

    Attributes
    ----------
    registers : those that there are once
    stages : names of the stages, each of which has ``stage_registers`` of its own
    stage_registers : with offsets within a block of ``stage_stride`` bytes; the first block is at ``stage_base``
    """

    registers: tuple[BusRegister, ...]
    stages: tuple[str, ...]
    stage_registers: tuple[BusRegister, ...]
    stage_base: int
    stage_stride: int
    memories: tuple[WritableMemory, ...]

    def __post_init__(self) -> None:
        names: set[str] = set()
        taken: dict[int, str] = {}
        for register in self:
            if register.name in names:
                raise ValueError(f"two registers are called {register.name}")
            names.add(register.name)
            for word in range(register.words):
                other = taken.setdefault(register.offset + 4 * word, register.name)
                if other != register.name:
                    raise ValueError(f"{register.name} and {other} are both at {register.offset + 4 * word:#x}")

    def __iter__(self) -> Iterator[BusRegister]:
        """Every register, those of the stages as ``stage<k>_<name>``."""
        yield from self.registers
        for k, stage in enumerate(self.stages):
            for register in self.stage_registers:
                yield BusRegister(
                    name=f"stage{k}_{register.name}", offset=self.stage_base + k * self.stage_stride + register.offset,
                    width=register.width, access=register.access, meaning=f"{stage}: {register.meaning}",
                    counter=register.counter,
                )  # fmt: skip

    def __getitem__(self, name: str) -> BusRegister:
        """The register of that name."""
        return next(register for register in self if register.name == name)

    @property
    def address_bits(self) -> int:
        """Bits of a byte address that reaches all registers."""
        end = max(register.offset + 4 * register.words for register in self)
        return max(LEAST_ADDRESS_BITS, ceil_log2(end))

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "word_bits": WORD,
            "address_bits": self.address_bits,
            "access": ACCESS,
            "registers": [_plain(register) for register in self],
            "stages": list(self.stages),
            "memories": [{**asdict(memory), "parts": memory.parts} for memory in self.memories],
        }

    def table(self) -> str:
        """The map as a table in Markdown; those of the stages for stage ``k``."""
        lines = ["| offset | register | bits | access | |", "|---|---|---|---|---|"]
        lines += [_row(f"`{r.offset:#05x}`", r.name, r) for r in self.registers]
        for register in self.stage_registers:
            where = f"`{self.stage_base + register.offset:#05x} + {self.stage_stride} k`"
            lines.append(_row(where, f"stage<k>_{register.name}", register))
        return "\n".join(lines) + "\n"


def _plain(register: BusRegister) -> dict[str, Any]:
    """What software needs to know of it."""
    return {name: value for name, value in asdict(register).items() if name != "counter"}


def _row(where: str, name: str, register: BusRegister) -> str:
    fields = "; ".join(f"{_bits(field)} `{field.name}`: {field.meaning}" for field in register.fields)
    meaning = f"{register.meaning}: {fields}" if fields else register.meaning
    return f"| {where} | `{name}` | {register.width} | {register.access} | {meaning} |"


def _bits(field: Field) -> str:
    return f"bit {field.bit}" if field.width == 1 else f"bits {field.bit}..{field.bit + field.width - 1}"
