"""The layers of an engine: what one descriptor says, still with names of tensors and whole weights."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from .....quant.formats import Format
from .....quant.ops.window import Window
from .....quant.program import Program, Unfold
from ...layout import blocks_of
from ...plan import EnginePlan
from ...records import Across, Unit

__all__ = ["BlockRange", "EngineLayer", "EngineNetwork", "SecondSlope", "TokenNorm", "WordMove"]

Ints = NDArray[np.int64]
Shape = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class BlockRange:
    """Some blocks of a stored tensor."""

    tensor: str
    first: int
    blocks: int


@dataclass(frozen=True, kw_only=True, eq=False)
class WordMove:
    """A tensor whose words are those of stored tensors, in another order.

    Attributes
    ----------
    tensors : their names
    tensor, pixel : (blocks, H, W), of each word the number of its tensor, and of its pixel there, block after block
    """

    tensors: tuple[str, ...]
    tensor: Ints
    pixel: Ints


@dataclass(frozen=True, kw_only=True, eq=False)
class SecondSlope:
    """What stands for M and B where a sum is below its channel's knee, (O,) each."""

    multiplier: Ints
    offset: Ints
    knee: Ints


@dataclass(frozen=True, kw_only=True)
class TokenNorm:
    """What a layer norm has beside a requantise, by the names of its descriptor's fields."""

    channels: int
    fraction: int
    eps: int
    digits: int
    places: int
    longest: int


@dataclass(frozen=True, kw_only=True, eq=False)
class EngineLayer:
    """One pass over a stored tensor that makes another one.

    Attributes
    ----------
    name : of the operation of the Program whose result is stored
    source, residual : names of the tensors or views that are read; no residual: None
    unit, kernel : what computes; the kernel is "" for pools
    weight : (O, I, rows, columns) of words as the lanes take them; None for pools
    neutral : the word that stands for a weight of 0, where a block has more lanes than channels
    window : of what slides over the map
    pad : (I,) what a tap outside the map reads; of a layer norm the places by which channels are moved up
    multiplier, offset, shift, residual_multiplier : M, B, S and R of every channel, (O,), for sums as the array has
        them
    second : of a requantise with a second slope, for sums as the array has them
    even : its ties go to the even number
    low, high : clamp of the result, of one that is looked up: of the entry's number
    levels : (O, n) of a threshold of several levels, ascending: what is clamped is compared with them, and the result
        is how many it reaches
    table : of results that are looked up, the entries: (N,), one of which is 0 where a block has channels too many,
        or (O, N), for each channel its own; else None
    other : of a product of tokens, the tensor whose tokens are the weights; ``weight`` is None
    turned : its words hold the channels of a token where the lanes of a row need tokens
    product : the sums are products of the source and the residual, which are stored tensors
    hold : the residual has one pixel, which is that of all pixels
    stacked : of a choice, what it reads: the numbers, and the tensors among which they choose; a band of each stands
        behind that of the one before it, as rows of one map
    across : what becomes of the channels of a pixel
    norm : of a layer norm, whose blocks go by twice; its sums are the normalised values
    softmax : its sums are the distances to the largest score of a group; ``pad`` is 1
    divides : what its requantise makes is divided by the residual, whose channel k is the denominator of group k
    marks : its results say which commands are skipped, see `compile.skipping`
    shuffle : r of a pixel shuffle through which the result is stored; 1 for none. The output channels are in an order
        in which each block goes to one place of the r x r; channels that its last blocks have too many are zeros.
    groups : parts of the output channels, each of which reads input channels of its own; all of whole words, but of a
        depthwise layer each block of rows is one
    together : of a depthwise layer, whose channels read one channel each, the window columns that are taken at a time;
        else 0
    macs : terms per image, as they are counted
    """

    name: str
    source: str
    unit: Unit
    window: Window
    pad: Ints
    multiplier: Ints
    offset: Ints
    shift: Ints
    residual_multiplier: Ints
    low: int
    high: int
    kernel: str = ""
    weight: Ints | None = None
    neutral: int = 0
    residual: str | None = None
    macs: int = 0
    shuffle: int = 1
    groups: int = 1
    together: int = 0
    second: SecondSlope | None = None
    even: bool = False
    levels: Ints | None = None
    table: Ints | None = None
    other: str | None = None
    turned: bool = False
    product: bool = False
    hold: bool = False
    stacked: tuple[str, ...] = ()
    across: Across = Across.NOTHING
    marks: bool = False
    norm: TokenNorm | None = None
    softmax: bool = False
    divides: bool = False

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of all that it reads."""
        others = (name for name in (self.other, self.residual) if name is not None)
        return (*(self.stacked or (self.source,)), *others)

    @property
    def spare_offset(self) -> int:
        """B of channels that a block has too many, whose results must be 0: where they are looked up, the place of an
        entry of 0 that all channels share; where they are compared with others, the lowest one."""
        if self.across is not Across.NOTHING:
            return self.low
        return 0 if self.table is None or self.table.ndim == 2 else int(np.abs(self.table).argmin())

    @property
    def twice(self) -> bool:
        """Whether its bands go by twice."""
        return self.norm is not None or self.softmax

    @property
    def apart(self) -> bool:
        """Whether each row reads a channel of its own, as in pools and depthwise layers."""
        return self.unit is not Unit.ARRAY or self.together > 0

    def blocks(self, plan: EnginePlan) -> int:
        """Blocks of ``plan.pout`` output channels."""
        return blocks_of(len(self.multiplier), plan.pout)

    def inputs(self, plan: EnginePlan) -> int:
        """Blocks of ``plan.pin`` input channels that a block of outputs reads; where rows are `apart`, one word."""
        if self.twice or self.other is not None:
            return blocks_of(len(self.pad), plan.pin) // self.groups
        return 1 if self.apart or self.weight is None else blocks_of(self.weight.shape[1], plan.pin)

    def sharing(self, plan: EnginePlan) -> int:
        """Blocks of outputs, one behind the other, that read the same words."""
        return plan.made_parts if self.apart and not self.twice else self.blocks(plan) // self.groups

    def runs(self, plan: EnginePlan) -> int:
        """Times that its blocks of outputs begin anew with inputs that no earlier one has read."""
        return -(-self.blocks(plan) // self.sharing(plan))

    def read_block(self, block: int, inner: int, plan: EnginePlan) -> int:
        """The block of words of the source that a block of outputs reads as its block ``inner`` of inputs."""
        words = -(-self.inputs(plan) // plan.read_parts)
        return block // self.sharing(plan) * words + inner // plan.read_parts


@dataclass(frozen=True, kw_only=True, eq=False)
class EngineNetwork:
    """Layers in order, and the shape and format of every stored tensor as the engine sees it.

    Attributes
    ----------
    columns : of a stem whose window columns are folded into channels: how many; 1 where the input is stored as it is
    views : what layers read beside stored tensors: blocks of several, one behind the other
    heads : channels of a head of tensors and views whose heads begin with blocks, see `layout`
    moves : what layers read beside those, word by word
    unfold : of which the input is stored as its windows, see `stem.stored_input`; None where it is stored as pixels
    constants : values of stored tensors that no layer makes, (C, H, W)
    """

    program: Program
    layers: tuple[EngineLayer, ...]
    shapes: dict[str, Shape]
    columns: int = 1
    views: Mapping[str, tuple[BlockRange, ...]] = field(default_factory=dict)
    heads: Mapping[str, int] = field(default_factory=dict)
    moves: Mapping[str, WordMove] = field(default_factory=dict)
    constants: Mapping[str, Ints] = field(default_factory=dict)
    unfold: Unfold | None = None

    @property
    def input(self) -> str:
        """The tensor that whoever runs the engine writes."""
        return self.program.input.name if self.unfold is None else self.unfold.name

    @cached_property
    def tensors(self) -> tuple[str, ...]:
        """Names of the stored tensors, the input first."""
        return (self.input, *(layer.name for layer in self.layers))

    def stored(self, name: str) -> tuple[str, ...]:
        """The stored tensors whose words a layer reads as ``name``."""
        if name in self.moves:
            return self.moves[name].tensors
        parts = self.views.get(name)
        if parts is None:
            return (name,)
        return tuple(dict.fromkeys(tensor for part in parts for tensor in self.stored(part.tensor)))

    def format(self, name: str) -> Format:
        """Format of a stored tensor."""
        return self.program.format(name)

    @property
    def output(self) -> str:
        """The tensor that holds the result: of a classifier its scores."""
        return self.layers[-1].name
