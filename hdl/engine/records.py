"""The records of an engine: descriptors of layers, commands of transfers, constants of channels.

The engine is two machines that meet in queues. The *transfers* follow commands: read so many words from here into that
queue, write so many results there. The *array* follows descriptors, one for a layer, and knows no address: it takes
words from its queues. So all that is irregular about memory is a list that the compiler makes, and which is read ahead.
"""

from enum import IntEnum

from ...quant.ops.tokens.width import MOST_WIDE_BITS
from .plan import CHANNEL_BITS, FRACTION_BITS, STEP_BITS, EnginePlan
from .record import Record
from .record import RecordField as Field

__all__ = [
    "ACTIVATIONS", "MOST_APART", "PASSES", "READ", "SKIP", "TWICE", "WRITE", "Across", "Stream", "Unit",
    "constants_record", "descriptor_record", "further_records", "levels_record", "slopes_record",
]  # fmt: skip


class Stream(IntEnum):
    """What a read command fills. Residuals of one and of two words stand in one queue. One that skips fills none, see
    `SKIP`."""

    COMMANDS = 0
    DESCRIPTORS = 1
    WEIGHTS = 2
    FEATURES = 3
    RESIDUALS = 4
    WRITES = 5
    WIDE_RESIDUALS = 6
    SKIP = 7


class Unit(IntEnum):
    """What computes a layer. All but the array are pools. The first tap of a pixel of a choice is the number of the one
    behind it that is kept, or the last one is, in channel 0."""

    ARRAY = 0
    MAXIMUM = 1
    SUM = 2
    CHOICE = 3


class Across(IntEnum):
    """What becomes of the channels of a pixel of results."""

    NOTHING = 0
    NUMBER = 1
    LARGEST = 2


STREAM_BITS = 3
ADDRESS_BITS = 32
"""Of an address in words: 64 GiB of words of 128 bits."""
RUN_BITS = 20
"""Of a number of words in one command."""
STRIDE_BITS = 8
WAIT_BITS = 24
"""Of a number of write commands since the start."""

READ = Record("read", (
    Field(name="stream", bits=STREAM_BITS, meaning="queue that is filled, of `Stream`"),
    Field(name="words", bits=RUN_BITS, meaning="how many words are read"),
    Field(name="address", bits=ADDRESS_BITS, meaning="of the first word, in words"),
    Field(name="wait", bits=WAIT_BITS, meaning="write commands that must have been answered before"),
))  # fmt: skip
"""A read command."""

SKIP = Record("skip", (
    Field(name="first", bits=12, meaning="of the bands of arg-maxes that are looked at, in the order of their results"),
    Field(name="bands", bits=12, meaning="bands that are looked at behind the first"),
    Field(name="number", bits=6, meaning="the number of the arg-max that is looked for"),
    Field(name="where", bits=1, meaning="1: commands are skipped where the number is there, 0: where it is not"),
))  # fmt: skip
"""What stands in the address of a read command that skips as many commands as it has words."""

WRITE = Record("write", (
    Field(name="words", bits=RUN_BITS, meaning="how many words of results are written"),
    Field(name="address", bits=ADDRESS_BITS, meaning="of the first word, in words"),
    Field(
        name="stride", bits=STRIDE_BITS, meaning="words from one word to the next; where not 1, each is a burst; 0: "
        "nothing is written, and as many commands as the address says count as answered"
    ),
))  # fmt: skip
"""A write command."""

ACTIVATIONS = {
    "slopes": "its requantise has a second slope", "ties_even": "it rounds ties to the even number",
    "levels": "its results are counts of levels that are reached",
}  # fmt: skip
"""Fields of a descriptor that an engine has whose Plan has the value of that name, and what they say of a layer."""
_SIZE = 12
_SMALL = 6
MOST_APART = (1 << _SMALL) - 1
"""Rows from one tap of a window to the next."""


def descriptor_record(plan: EnginePlan) -> Record:
    """A descriptor: one layer, or a part of its rows, cut into bands of rows.

    The loops, from the outermost: bands, blocks of ``pout`` output channels, blocks of ``pin`` input channels, rows and
    columns of the window, pixels of the band. In each of them but the last the array uses one set of weights. Pools
    have the window innermost and one block of outputs for each of inputs, which are blocks of ``pout`` then.

    An engine that is ``plan.grouped`` has a loop more, over groups, between bands and blocks of outputs: each group has
    blocks of outputs and of inputs of its own. In a depthwise layer the window's columns are taken some at a time: what
    is issued are neighbouring words of a row, and the last ones meet in the lanes.
    """
    steps = plan.ring_words.bit_length()
    return Record("descriptor", (
        Field(name="unit", bits=2, meaning="what computes, of `Unit`"),
        Field(name="kernel", bits=2, meaning="of the array, by its place among the kernels of the Plan"),
        Field(name="last", bits=1, meaning="the engine is done when this layer has been written"),
        Field(name="signed", bits=1, meaning="features have a sign"),
        Field(name="padded", bits=1, meaning="a word of pad stands in front of the weights of each input block"),
        Field(name="residual", bits=1, meaning="a residual joins"),
        Field(name="residual_signed", bits=1, meaning="it has a sign"),
        Field(name="residual_words", bits=2, meaning="words of a pixel of the residual"),
        Field(name="result_words", bits=3, meaning="words of a pixel of the result"),
        Field(name="bands", bits=_SIZE, meaning="bands of rows"),
        Field(name="out_blocks", bits=_SIZE, meaning="blocks of output channels; 1 for pools"),
        Field(name="in_blocks", bits=_SIZE, meaning="blocks of input channels"),
        *(
            Field(name=f"{what}_{band}", bits=_SIZE, meaning=f"{meaning} of the {band} band")
            for band in ("first", "middle", "final")
            for what, meaning in (("rows", "output rows"), ("taken", "input rows"))
        ),
        *(
            Field(name=f"{what}_{band}", bits=bits, meaning=f"{meaning} of the {band} band")
            for band in ("first", "middle", "final")
            for what, bits, meaning in (
                ("pixels", plan.pixels.bit_length(), "output pixels"), ("chunk", steps, "words of an input block"),
            )
        ),
        *_option_fields(plan),
        Field(name="columns", bits=_SIZE, meaning="output columns"),
        Field(name="width", bits=_SIZE, meaning="input columns"),
        Field(name="kernel_rows", bits=_SMALL, meaning="rows of the window"),
        Field(name="kernel_columns", bits=_SMALL, meaning="columns of the window"),
        Field(name="top", bits=_SMALL, meaning="rows of padding above the first band"),
        Field(name="left", bits=_SMALL, meaning="columns of padding"),
        Field(name="stride_rows", bits=_SMALL, meaning="vertical stride"),
        Field(name="stride_columns", bits=_SMALL, meaning="horizontal stride"),
        Field(name="dilation_rows", bits=_SMALL, meaning="vertical dilation"),
        Field(name="dilation_columns", bits=_SMALL, meaning="horizontal dilation"),
        Field(name="origin", bits=steps, meaning="place of the first tap in the first band's chunk, modulo the ring"),
        Field(name="next_row", bits=steps, meaning="from the last pixel of a row to the next, modulo the ring"),
        Field(name="next_line", bits=steps, meaning="from the last tap of a window row to the next, modulo the ring"),
        Field(name="low", bits=plan.result.bits, signed=True, meaning="smallest result"),
        Field(name="high", bits=plan.result.bits, signed=True, meaning="largest result"),
    ))  # fmt: skip


def _option_fields(plan: EnginePlan) -> tuple[Field, ...]:
    """What an engine has beside plain layers."""
    return (
        *(_GROUP_FIELDS if plan.grouped else ()),
        *(_depthwise_fields(plan) if plan.depthwise else ()),
        *(_MATMUL_FIELDS if plan.matmul else ()),
        *(_PRODUCT_FIELDS if plan.product else ()),
        *(_table_fields(plan) if plan.tables else ()),
        *(_CHOICE_FIELDS if plan.choices else ()),
        *(_PREDICATE_FIELDS if plan.predicates else ()),
        *_twice_fields(plan),
        *(_DIVIDE_FIELDS if plan.divide else ()),
        *(_MEAN_FIELDS if plan.means else ()),
        *_activation_fields(plan),
    )


def _depthwise_fields(plan: EnginePlan) -> tuple[Field, ...]:
    count = plan.depthwise.bit_length()
    return (
        Field(name="depthwise", bits=1, meaning="an output channel reads the input channel of its own number alone"),
        Field(name="lead", bits=count, meaning="words of a row in front of the last one of its first pixel"),
        Field(name="shared", bits=count, meaning="those of them that are the pad at the end of the row before"),
        Field(name="between", bits=_SMALL, meaning="words between two pixels of a row"),
        Field(name="kept", bits=count, meaning="columns of the window's first part that count, its last ones"),
    )  # fmt: skip


_GROUP_FIELDS = (Field(name="groups", bits=_SIZE, meaning="groups; blocks of outputs and inputs are those of one"),)
"""Of a descriptor of an engine that has groups, or heads."""
_MATMUL_FIELDS = (
    Field(name="turned", bits=1, meaning="word k of a set has the weights of lane k of all rows, else all of row k"),
    Field(name="inverted", bits=1, meaning="the highest bit of every weight is inverted: it has a sign in memory"),
)
"""Of a descriptor of an engine whose weights may be stored tensors."""
_PRODUCT_FIELDS = (
    Field(name="product", bits=1, meaning="what is read is multiplied by the residual, which joins nothing then"),
    Field(name="hold", bits=1, meaning="a block has one residual for all pixels of a band"),
)
"""Of a descriptor of an engine that multiplies tensors."""


_CHOICE_FIELDS = (
    Field(name="across", bits=2, meaning="what a result has in channel 0, and nothing beside it, of `Across`"),
)
"""Of a descriptor of an engine whose pixels choose."""
_PREDICATE_FIELDS = (
    Field(name="marks", bits=1, meaning="the numbers of its bands are kept for commands that may be skipped"),
)
"""Of an engine that skips commands."""
_MEAN_FIELDS = (
    Field(name="resumes", bits=1, meaning="its sums begin with those that the descriptor before it kept"),
    Field(name="keeps", bits=1, meaning="its sums, one for each block, are kept and become no results"),
)  # fmt: skip
"""Of a descriptor of an engine whose means are cut."""


TWICE = ("norm", "softmax")
"""Fields of a descriptor, where an engine has them, of a layer whose bands go by twice: for what its tokens have in all
blocks, and for its results. The loops have these times as blocks of outputs."""
PASSES = 2
_NORM_FIELDS = (
    Field(name="norm", bits=1, meaning="channels less their mean, over their deviation, in the place of sums"),
    Field(name="channels", bits=CHANNEL_BITS, meaning="channels of a token"),
    Field(name="fraction", bits=FRACTION_BITS, meaning="bits of a root behind the point"),
    Field(name="eps", bits=MOST_WIDE_BITS, meaning="what is added under the root"),
    Field(name="digits", bits=STEP_BITS, meaning="digits of a reciprocal"),
    Field(name="places", bits=STEP_BITS, meaning="steps of a reciprocal, which is moved up in those behind its digits"),
    Field(name="longest", bits=STEP_BITS, meaning="steps of a root or a reciprocal, whichever has more"),
)
"""Of a descriptor of an engine with layer norms."""
_SOFTMAX_FIELDS = (
    Field(name="softmax", bits=1, meaning="distances to the largest channel of a pixel, in the place of sums"),
)
"""Of a descriptor of an engine with softmaxes."""


_DIVIDE_FIELDS = (
    Field(
        name="divides", bits=1, meaning="results are divided by the residual, of which a group has one channel; 0 is 1"
    ),
)  # fmt: skip
"""Of a descriptor of an engine that divides."""


def _twice_fields(plan: EnginePlan) -> tuple[Field, ...]:
    return (*(_NORM_FIELDS if plan.norms else ()), *(_SOFTMAX_FIELDS if plan.softmax else ()))


def _table_fields(plan: EnginePlan) -> tuple[Field, ...]:
    return (
        Field(name="table", bits=plan.tables + 1, meaning="entries of the table that results go through; 0 for none"),
        Field(name="own_tables", bits=1, meaning="each block has a table for each of its channels, else there is one"),
    )  # fmt: skip


def _activation_fields(plan: EnginePlan) -> tuple[Field, ...]:
    """What a layer does with sums beside a plain requantise, where the engine has it."""
    return tuple(Field(name=name, bits=1, meaning=text) for name, text in ACTIVATIONS.items() if getattr(plan, name))


def constants_record(plan: EnginePlan) -> Record:
    """The constants of one output channel.

    In memory the records of the ``pout`` channels of a block stand side by side: word k holds element k of each, the
    lowest bits first. So every channel takes one element per word into its own shift register.
    """
    return Record("constants", (
        Field(name="multiplier", bits=plan.factor.bits, signed=True, meaning="M"),
        Field(name="offset", bits=plan.offset.bits, signed=True, meaning="B"),
        Field(name="shift", bits=plan.shift_steps.bits, meaning="S in steps of `plan.SHIFT_STEP`"),
        Field(name="residual_multiplier", bits=plan.residual_factor.bits, signed=True, meaning="R"),
    ))  # fmt: skip


def slopes_record(plan: EnginePlan) -> Record:
    """What a channel of a second slope has in front of its constants, element by element as those."""
    return Record("second slope", (
        Field(name="multiplier", bits=plan.factor.bits, signed=True, meaning="N, which stands for M below the knee"),
        Field(name="offset", bits=plan.offset.bits, signed=True, meaning="D, which stands for B below the knee"),
        Field(name="knee", bits=plan.knee.bits, signed=True, meaning="the least sum that is not below the knee"),
    ))  # fmt: skip


def levels_record(plan: EnginePlan) -> Record:
    """What a channel of a threshold of several levels has in front of its constants: its levels, ascending."""
    return Record("levels", tuple(
        Field(name=f"level{k}", bits=plan.level.bits, signed=True, meaning=f"the result from which on it is {k + 1}")
        for k in range(plan.levels)
    ))  # fmt: skip


def further_records(plan: EnginePlan) -> dict[str, Record]:
    """The records that may stand in front of a layer's constants, by the field of its descriptor that says so.

    A layer has one of them at most. Whoever holds them takes all words of any, and so ends with those of the last.
    """
    makers = {"slopes": slopes_record, "levels": levels_record}
    return {name: make(plan) for name, make in makers.items() if getattr(plan, name)}
