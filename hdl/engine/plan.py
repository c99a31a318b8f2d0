"""The Plan of an engine: everything that its RTL depends on. Frozen, hashable, saved as JSON."""

from dataclasses import asdict, dataclass, field, fields
from typing import Any

from ...common.errors import UserError
from ...quant.formats import Format, format_for, signed, unsigned
from ...quant.ops.kernels import KERNELS
from ...quant.ops.requantise import (
    MAX_PRODUCT_BITS,
    MAX_SHIFT,
    MOST_MULTIPLIER_BITS,
    MULTIPLIER_BITS,
    RESIDUAL_MULTIPLIER_BITS,
)
from ..cells.known import fabric_named
from ..family import CONTROLS
from .vector.quotients import quotient_cycles

__all__ = ["ENGINE", "LANES", "EnginePlan"]

ENGINE = "engine"
LANES = (4, 8, 16, 32, 64)
"""What Pin and Pout may be: words are then whole bytes, and memories are addressed by whole bits."""
_MEMORY_BITS = (64, 128, 256, 512)
LEVELS = (0, 3, 7, 15)
"""What levels of a threshold may be: they are found by halving."""
NORMS = (0, 2, 4, 8, 16)
"""What tokens whose roots are made side by side may be: rounds are then counted by bits."""
FACTOR_BITS = tuple(range(MULTIPLIER_BITS, MOST_MULTIPLIER_BITS + 1, 2))
_LATER = {"later": True}
"""Of a field that came later: Plans that do not use it are written without it, as they were before."""
_SUM_BITS = {8: 32, 16: 44}
"""Default width of the sums for elements of so many bits: 4,096 products of 16 bits have 28, of 32 bits 44."""


@dataclass(frozen=True, kw_only=True)
class EnginePlan:
    """An engine of ``pin`` x ``pout`` lanes and what stands around it.

    A *word* is what one access moves everywhere in the engine: ``channels`` elements of ``bits`` bits, as many as the
    larger of ``pin`` and ``pout``. All buffers, records and transfers are counted in words; memory is addressed in
    words, too.

    Attributes
    ----------
    device, clock_mhz : what it is meant for, and the clock at which rates are quoted
    pin, pout : lanes of a row, and rows: input and output channels at once
    kernels : that its lanes have, see `quant.ops.kernels.KERNELS`
    bits : of a stored element and of a weight, 8 or 16
    memory_bits : of the AXI4 port; a word is a whole number of its beats
    feature_bytes, weight_bytes : of the ring of features and the queue of weights
    pixels : that a set of weights is used for at most: the depth of the sums
    sum_bits : of an accumulator, two's complement
    depthwise : columns of a window that a depthwise layer takes at once; 0: the engine has no groups of channels
    product : two tensors may be multiplied, element by element
    tables : bits of what a table of any function reads at most; 0: the engine has none
    choices : pixels choose: the number of the largest channel, and one of several tensors by such a number
    matmul : weights may be tokens of a stored tensor: both operands of a product come from memory, head by head
    means : a mean of a map that the ring does not hold is cut, and its sums go on from one part to the next
    predicates : bands of arg-maxes by whose numbers commands may be skipped, in a run; 0: the engine skips none
    norms : tokens whose deviations are made side by side, one of `NORMS`; 0: the engine has no layer norm
    softmax : scores become exponentials of their distance to the largest one, which are looked up in tables
    divide : results of requantisers may be divided by a denominator, one for all channels of a head
    dividers : of a row, which take pixels in turn; each makes a digit of a quotient in a cycle
    burst : words of the longest AXI4 burst
    outstanding : read bursts on the way at most
    slopes : requantisers have a second slope, see `quant.ops.requantise`
    ties_even : and may round ties to the even number
    levels : of a threshold whose levels are not evenly spaced, at most; one of `LEVELS`, 0: the engine has none
    factor_bits : of a factor of a requantise, sign included, an even number; with more than 16, the factors of
        residuals are those of any Program, too
    counters : its control registers tell what the cycles of a run went to
    fabric, control : see `family.Envelope`
    """

    device: str
    clock_mhz: float = 50.0
    pin: int = 16
    pout: int = 16
    kernels: tuple[str, ...] = ("adder", "mult")
    bits: int = 8
    memory_bits: int = 128
    feature_bytes: int = 128 * 1024
    weight_bytes: int = 32 * 1024
    pixels: int = 256
    sum_bits: int = 0
    depthwise: int = 0
    product: bool = field(default=False, metadata=_LATER)
    tables: int = field(default=0, metadata=_LATER)
    choices: bool = field(default=False, metadata=_LATER)
    predicates: int = field(default=0, metadata=_LATER)
    norms: int = field(default=0, metadata=_LATER)
    matmul: bool = field(default=False, metadata=_LATER)
    means: bool = field(default=False, metadata=_LATER)
    softmax: bool = field(default=False, metadata=_LATER)
    divide: bool = field(default=False, metadata=_LATER)
    dividers: int = field(default=1, metadata=_LATER)
    burst: int = 16
    outstanding: int = 8
    fabric: str = "generic"
    control: str = "axi-lite"
    family: str = ENGINE
    fixed_weights: bool = False
    slopes: bool = field(default=False, metadata=_LATER)
    ties_even: bool = field(default=False, metadata=_LATER)
    levels: int = field(default=0, metadata=_LATER)
    factor_bits: int = field(default=MULTIPLIER_BITS, metadata=_LATER)
    counters: bool = field(default=False, metadata=_LATER)

    def __post_init__(self) -> None:
        if isinstance(self.kernels, list):
            object.__setattr__(self, "kernels", tuple(self.kernels))
        if self.sum_bits == 0 and self.bits in _SUM_BITS:
            object.__setattr__(self, "sum_bits", _SUM_BITS[self.bits])
        fabric_named(self.fabric)
        self._check_choices()
        self._check_numbers()
        if self.memory_bits > self.word_bits or self.word_bits % self.memory_bits:
            raise ValueError(
                f"a word of {self.channels} x {self.bits} = {self.word_bits} bits must be a whole number of beats, "
                f"not of {self.memory_bits} bits"
            )
        for name in ("feature_bytes", "weight_bytes"):
            words = getattr(self, name) // self.word_bytes
            if words < 2 * self.burst or words & (words - 1) or getattr(self, name) % self.word_bytes:
                raise ValueError(
                    f"{name} must be a power of two of at least {2 * self.burst * self.word_bytes} bytes, "
                    f"not {getattr(self, name)}"
                )

    def _check_choices(self) -> None:
        known = {
            "family": (ENGINE,), "pin": LANES, "pout": LANES, "bits": tuple(_SUM_BITS), "control": CONTROLS,
            "memory_bits": _MEMORY_BITS, "fixed_weights": (False,), "product": (False, True),
            "choices": (False, True), "matmul": (False, True), "means": (False, True), "slopes": (False, True),
            "ties_even": (False, True), "levels": LEVELS, "factor_bits": FACTOR_BITS, "counters": (False, True),
            "norms": NORMS, "softmax": (False, True), "divide": (False, True),
        }  # fmt: skip
        for name, values in known.items():
            value = getattr(self, name)
            if value not in values or isinstance(value, bool) != isinstance(values[0], bool):
                raise ValueError(f"{name} of an engine must be {' or '.join(map(str, values))}, not {value!r}")
        if not isinstance(self.kernels, tuple) or not self.kernels or len(set(self.kernels)) != len(self.kernels):
            raise ValueError(f"kernels must be a list of different names, not {self.kernels!r}")
        if unknown := [kernel for kernel in self.kernels if kernel not in KERNELS]:
            raise ValueError(f"kernels must be some of {', '.join(KERNELS)}, not {unknown[0]!r}")
        if self.counters and self.control == "none":
            raise ValueError("counters are read through control registers, which an engine with control none has not")
        if self.dividers != 1 and not self.divide:
            raise ValueError("dividers are those of an engine that divides: say divide as well")
        tokens = [name for name in ("norms", "softmax", "matmul", "divide") if getattr(self, name)]
        if tokens and self.pin != self.pout:
            raise ValueError(f"an engine with {tokens[0]} must have pin and pout alike, not {self.pin} and {self.pout}")

    def _check_numbers(self) -> None:
        if not isinstance(self.device, str):
            raise ValueError(f"device must be a name, not {self.device!r}")
        if not isinstance(self.clock_mhz, int | float) or not 0 < self.clock_mhz <= 10_000:
            raise ValueError(f"clock must be a positive number of MHz, not {self.clock_mhz!r}")
        ranges = {
            "feature_bytes": (1, MOST_BYTES), "weight_bytes": (1, MOST_BYTES), "pixels": (16, MOST_PIXELS),
            "sum_bits": (16, MOST_SUM_BITS), "burst": (2, 256), "outstanding": (1, 64), "depthwise": (0, self.pin),
            "tables": (0, MOST_TABLE_BITS), "predicates": (0, MOST_PREDICATES),
            "dividers": (1, quotient_cycles(self.operand)),
        }  # fmt: skip
        for name, (least, most) in ranges.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
                raise ValueError(f"{name} must be in {least}..{most}, not {value!r}")
        for name in ("pixels", "burst"):
            if getattr(self, name) & (getattr(self, name) - 1):
                raise ValueError(f"{name} must be a power of two, not {getattr(self, name)}")
        if self.sum_bits + self.factor_bits > MAX_PRODUCT_BITS:
            raise ValueError(
                f"sum_bits and factor_bits together must be at most {MAX_PRODUCT_BITS}, not "
                f"{self.sum_bits} + {self.factor_bits}"
            )
        if self.predicates & (self.predicates - 1) or self.predicates == 1:
            raise ValueError(f"predicates must be a power of two, 2 at least, or 0, not {self.predicates}")
        if self.predicates and not self.choices:
            raise ValueError("predicates are numbers of an arg-max, which an engine without choices has not")
        if self.softmax and not self.tables:
            raise ValueError("a softmax looks up its exponentials, which an engine without tables has not")
        if self.burst > self.pixels:
            raise ValueError(f"a burst of {self.burst} words must be at most {self.pixels}, the pixels of a round")
        if self.burst * self.word_bytes > PAGE_BYTES or self.burst * self.beats > MOST_BEATS:
            raise ValueError(f"a burst of {self.burst} words must be at most {PAGE_BYTES} bytes and {MOST_BEATS} beats")

    @property
    def twice(self) -> bool:
        """Whether bands of some layers go by twice: of layer norms, of softmaxes."""
        return self.norms > 0 or self.softmax

    @property
    def lanes(self) -> int:
        """Lanes of the array."""
        return self.pin * self.pout

    @property
    def channels(self) -> int:
        """Channels of a word: what is read or what is made at once, whichever is more."""
        return max(self.pin, self.pout)

    @property
    def read_parts(self) -> int:
        """Parts of a word that lanes read one after the other."""
        return self.channels // self.pin

    @property
    def made_parts(self) -> int:
        """Parts of a word that rows make one after the other."""
        return self.channels // self.pout

    @property
    def set_words(self) -> int:
        """Words of a set of weights, one for each lane."""
        return self.lanes // self.channels

    @property
    def grouped(self) -> bool:
        """Whether its descriptors have a loop over groups, which heads of tokens are, too."""
        return self.depthwise > 0 or self.matmul or self.divide

    @property
    def word_bits(self) -> int:
        """Bits of a word."""
        return self.channels * self.bits

    @property
    def word_bytes(self) -> int:
        """Bytes of a word."""
        return self.word_bits // 8

    @property
    def beats(self) -> int:
        """AXI4 beats of a word."""
        return self.word_bits // self.memory_bits

    @property
    def ring_words(self) -> int:
        """Words of the ring of features."""
        return self.feature_bytes // self.word_bytes

    @property
    def weight_words(self) -> int:
        """Words of the queue of weights."""
        return self.weight_bytes // self.word_bytes

    @property
    def result_words(self) -> int:
        """Words of the queue of results, room for two rounds of pixels."""
        return 2 * self.pixels

    @property
    def residual_pixels(self) -> int:
        """Pixels of the queue of residuals, room for two rounds."""
        return 2 * self.pixels

    @property
    def total(self) -> Format:
        """Format of the sums."""
        return signed(self.sum_bits)

    @property
    def operand(self) -> Format:
        """Format that holds features with and without a sign."""
        return signed(self.bits + 1)

    @property
    def result(self) -> Format:
        """Format of the widest result of a requantise, a class score: as wide as sums may be, in whole elements."""
        return signed(-(-self.sum_bits // self.bits) * self.bits)

    @property
    def residual(self) -> Format:
        """Format that holds every residual: 16 bits with and without a sign."""
        return signed(RESIDUAL_BITS + 1)

    @property
    def denominator(self) -> Format:
        """Format of a denominator: a residual without a sign."""
        return unsigned(RESIDUAL_BITS)

    @property
    def factor(self) -> Format:
        """Format of M as a requantiser holds it: moved up by what brings S to a whole number of steps."""
        return signed(self.factor_bits + SHIFT_STEP - 1)

    @property
    def residual_factor(self) -> Format:
        """Format of R as a requantiser holds it: one operand of a multiplier of UltraScale+, or any R of a Program,
        moved up as M is."""
        wide = self.factor_bits > MULTIPLIER_BITS
        return signed(RESIDUAL_MULTIPLIER_BITS + SHIFT_STEP - 1 if wide else RESIDUAL_FACTOR_BITS)

    @property
    def offset(self) -> Format:
        """Format of B as a requantiser holds it: as wide as the product that it is added to."""
        return signed(self.sum_bits + self.factor.bits)

    @property
    def wide(self) -> Format:
        """Format of ``acc * M + r * R + B`` as a requantiser has it."""
        pairs = ((self.total, self.factor), (self.residual, self.residual_factor), (self.offset, signed(2)))
        bound = sum(value.lo * (factor.lo + 1) for value, factor in pairs)
        return format_for(-bound, bound)

    @property
    def knee(self) -> Format:
        """Format of the sum at which a second slope ends."""
        return self.total

    @property
    def level(self) -> Format:
        """Format of a level of a threshold: two elements, or what a result has."""
        return signed(min(2 * self.bits, self.result.bits))

    @property
    def shift_steps(self) -> Format:
        """Format of S as a requantiser holds it, in steps of `SHIFT_STEP`: as many as bring any number to its sign."""
        most = min(-(-MAX_SHIFT // SHIFT_STEP), -(-(self.wide.bits - 1) // SHIFT_STEP))
        return unsigned(most.bit_length())

    @property
    def element(self) -> Format:
        """Bits of a stored element."""
        return unsigned(self.bits)

    def to_json(self) -> dict[str, Any]:
        """Plain values, from which `from_json` makes the Plan again."""
        later = [item for item in fields(self) if item.metadata == _LATER]
        unused = [item.name for item in later if getattr(self, item.name) == item.default]
        values = {name: value for name, value in asdict(self).items() if name not in unused}
        return {**values, "kernels": list(self.kernels)}

    @classmethod
    def from_json(cls, value: Any) -> "EnginePlan":
        """The Plan that `to_json` wrote, perhaps edited since; raises `UserError` for impossible values."""
        if not isinstance(value, dict):
            raise UserError(f"not a plan: it must be an object of keys and values, not {value!r}")
        names = [item.name for item in fields(cls)]
        if unknown := [key for key in value if key not in names]:
            raise UserError(f"not a plan: unknown key {unknown[0]!r}; known: {', '.join(names)}")
        try:
            return cls(**value)
        except (TypeError, ValueError) as error:
            raise UserError(f"not a plan: {error}") from error


PAGE_BYTES = 4096
"""No AXI4 burst crosses a page of so many bytes; one that is aligned to its longest length never does."""
MOST_BEATS = 256
MOST_BYTES = 1 << 24
"""Of the ring of features, and of the queue of weights."""
MOST_PIXELS = 4096
MOST_SUM_BITS = MAX_PRODUCT_BITS - MULTIPLIER_BITS
WIDEST = max(_SUM_BITS)
"""Bits of the widest element."""
MOST_TABLE_BITS = 12
MOST_PREDICATES = 4096
RESIDUAL_BITS = 16
"""Residuals of up to so many bits join in a requantise."""
RESIDUAL_FACTOR_BITS = 27
CHANNEL_BITS = 12
"""Of a number of channels of a layer norm."""
FRACTION_BITS = 5
"""Of a number of bits of a root behind the point."""
STEP_BITS = 7
"""Of a number of steps of a reciprocal."""
SHIFT_STEP = 3
"""Requantisers shift by multiples of this: M, R and B are multiplied by 1, 2 or 4, which M has room for in the 18 bits
of a multiplier's operand, and a shifter of a third of the places does."""
