"""Plans and records: what is impossible is refused at the door, in words; what is written is read again."""

import random
import re

import numpy as np
import pytest
from addax.common.errors import UserError
from addax.hdl.engine.compile.image import compiled
from addax.hdl.engine.compile.order import in_order
from addax.hdl.engine.compile.transfers import Item, Run
from addax.hdl.engine.layout import TensorLayout
from addax.hdl.engine.plan import EnginePlan
from addax.hdl.engine.records import READ, WRITE, Stream, constants_record, descriptor_record
from addax.quant.formats import signed, unsigned
from addax.quant.ops.ends import PIXEL
from addax.quant.program import AveragePool, Concat, Slice
from engine_networks import small_plan
from network_builder import Builder
from token_networks import on_tokens


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"pin": 12}, "pin of an engine must be 4 or 8"),
        ({"pout": 12}, "pout of an engine must be 4 or 8 or 16 or 32 or 64, not 12"),
        ({"bits": 12}, "bits of an engine must be 8 or 16"),
        ({"kernels": ()}, "kernels must be a list of different names"),
        ({"kernels": ("adder", "cosine")}, "kernels must be some of adder, mult, xnor, shift, not 'cosine'"),
        ({"memory_bits": 128}, "a word of 4 x 16 = 64 bits must be a whole number of beats, not of 128 bits"),
        ({"feature_bytes": 3000}, "feature_bytes must be a power of two of at least 256 bytes, not 3000"),
        ({"pixels": 100}, "pixels must be a power of two"),
        ({"burst": 512}, "burst must be in 2..256"),
        ({"depthwise": 5}, "depthwise must be in 0..4, not 5"),
        ({"clock_mhz": 0}, "clock must be a positive number of MHz"),
        ({"control": "usb"}, "control of an engine must be"),
    ],
)
def test_impossible_plans_are_refused(changes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        small_plan(**changes)


def test_plans_are_written_and_read():
    """JSON holds all of it; unknown keys and impossible values are a user's mistake."""
    plan = small_plan(kernels=("mult",))
    assert EnginePlan.from_json(plan.to_json()) == plan
    with pytest.raises(UserError, match="unknown key 'lanes'"):
        EnginePlan.from_json({**plan.to_json(), "lanes": 3})
    with pytest.raises(UserError, match="pin of an engine"):
        EnginePlan.from_json({**plan.to_json(), "pin": 5})


@pytest.mark.parametrize(
    "record",
    [
        READ,
        WRITE,
        descriptor_record(small_plan()),
        descriptor_record(small_plan(depthwise=3)),
        constants_record(small_plan()),
    ],
)
@pytest.mark.parametrize("word_bits", [32, 64, 256])
def test_records_are_split_into_words_and_joined(record, word_bits):
    """Extremes and random values of every field, with signs."""
    rng = random.Random(word_bits)
    for pick in (lambda f: f.format.lo, lambda f: f.format.hi, lambda f: rng.randint(f.format.lo, f.format.hi)):
        values = {field.name: pick(field) for field in record.fields}
        words = record.split(values, word_bits)
        assert len(words) == record.words(word_bits) and all(0 <= word < 1 << word_bits for word in words)
        assert record.joined(words, word_bits) == values
        assert record.layout.size == record.bits


def test_field_that_does_not_hold_a_value_is_named():
    with pytest.raises(ValueError, match="words of write: value must be in 0"):
        WRITE.pack({"words": 1 << 20, "address": 0, "stride": 1})
    with pytest.raises(ValueError, match="write has other fields: address, stride"):
        WRITE.pack({"words": 1})


@pytest.mark.parametrize("fmt", [unsigned(5), signed(8), signed(12), unsigned(16), signed(24)])
@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 3, 4), (9, 2, 3)])
@pytest.mark.parametrize("bits", [8, 16])
def test_tensors_are_packed_and_unpacked(fmt, shape, bits):
    """Blocks of channels, rows, pixels, words of a pixel; a run is some rows of a block."""
    rng = np.random.default_rng(fmt.bits)
    layout = TensorLayout(shape=shape, format=fmt, channels=4, bits=bits)
    tensor = rng.integers(fmt.lo, fmt.hi, shape, endpoint=True)
    words = layout.pack(tensor)
    assert words.shape == (layout.words, 4 * bits // 8)
    assert np.array_equal(layout.unpack(words), tensor)
    block, row = layout.blocks - 1, shape[1] - 1
    first, count = layout.run(block, row, 1)
    low = words[first : first + count].view(f"<u{bits // 8}")[:: layout.pixel_words, 0]
    assert np.array_equal(low, tensor[4 * block, row] & (1 << bits) - 1)


def program(shape=(4, 6, 6), outputs=4, fmt=PIXEL, **how):
    b = Builder(np.random.default_rng(0), shape, fmt)
    b.convolution("adder", outputs, **how)
    b.requantise(unsigned(8))
    return b


def wide_result(shape):
    """Results of 40 bits, five words of 8 bits each."""
    b = Builder(np.random.default_rng(0), shape)
    b.convolution("adder", 4)
    b.requantise(signed(40))
    return b


def pooled(shape, size):
    """An average over a window of any size."""
    b = Builder(np.random.default_rng(0), shape)
    b.varied = lambda op: op
    b.emit(AveragePool(name="mean", source=b.last, size=size, stride=1))
    b.rescale(unsigned(8))
    return b


@pytest.mark.parametrize(
    "make, changes, message",
    [
        (
            lambda: program((4, 6, 64), size=3, padding=1), {},
            "a row of 'req2', 64 columns, needs 1,408 bytes of sums, the engine has 704; build it with --pixels 64",
        ),
        (
            lambda: program((4, 3, 5000), outputs=1), {"feature_bytes": 1 << 16},
            "a row of 'req2', 5000 columns, needs 110,000 bytes of sums, the engine has 704; no engine has more than "
            "4,096 pixels",
        ),
        (
            lambda: wide_result((4, 6, 30)), {"sum_bits": 40, "bits": 8, "pin": 8, "pout": 8},
            "a row of 'req2', 30 columns, needs 1,200 bytes of the queue of results, the engine has 512; build it with "
            "--pixels 128",
        ),
        (
            lambda: program((96, 8, 8), size=3, padding=1), {},
            "the 3 rows of 96 channels that one row of 'req2' needs take 4,608 bytes of features, the engine has "
            "2,048; build it with --feature-bytes 8192",
        ),
        (
            lambda: program((64, 6, 6), size=3), {"sum_bits": 18},
            "'conv1' makes sums of int19, which take 20 bits; the engine's have 18; build it with --sum-bits 20",
        ),
        (
            lambda: program(), {"kernels": ("mult",)},
            "'conv1' needs adder lanes; the engine has mult: build it with --kernels mult,adder",
        ),
        (
            lambda: program(fmt=unsigned(12)), {"bits": 8, "pin": 8, "pout": 8},
            "'pixels' has uint12; the engine's lanes read at most 8 bits; build it with --bits 16",
        ),
        (
            lambda: pooled((4, 70, 2), (70, 1)), {},
            "'req2' has 70 rows of the window; a descriptor of the engine holds 0 to 63",
        ),
        (
            lambda: program(groups=4), {},
            "the engine has no groups, which 'conv1' has: build it with --depthwise 3",
        ),
        (
            lambda: program((8, 6, 6), 12, groups=4), {"depthwise": 1},
            "groups of adder lanes take whole blocks of 4 channels, or one channel each; those of 'conv1' take 2 and "
            "make 3",
        ),
    ],
)  # fmt: skip
def test_what_the_engine_lacks_is_refused_in_one_line(make, changes, message):
    """The layer, the buffer with what it has and what is needed, and what would help."""
    with pytest.raises(UserError, match=re.escape(message)):
        compiled(make().raw(), small_plan(**changes))


def test_operation_that_the_engine_lacks_is_named():
    b = program()
    b.shift()
    with pytest.raises(UserError, match="the engine moves no pixels, as 'move3' does: build it with --depthwise 3 and"):
        compiled(b.raw(), small_plan())
    with pytest.raises(UserError, match="lanes of mult or shift"):
        compiled(b.raw(), small_plan(depthwise=3, kernels=("adder",)))
    b = program()
    b.table(signed(8))
    with pytest.raises(
        UserError, match="the engine has no tables; 'table3' looks up 256 values: build it with --tables 8"
    ):
        compiled(b.raw(), small_plan())
    b = program()
    b.product(b.last)
    b.rescale(signed(8))
    with pytest.raises(UserError, match="the engine has no products, which 'product3' makes: build it with --product"):
        compiled(b.raw(), small_plan())


def test_windows_are_those_of_the_image_alone():
    """Whoever writes the image lays them out, so a stored tensor has none."""
    b = program()
    b.emit(on_tokens("Unfold", "here", b.last, *b.inferred[b.last]))

    with pytest.raises(UserError, match=r"^the engine takes windows of the image in its place, .*: 'here' takes"):
        compiled(b.raw(), small_plan())


@pytest.mark.parametrize("choices, message", [
    ({"dividers": 2}, "dividers are those of an engine that divides: say divide as well"),
    ({"divide": True, "dividers": 13}, r"dividers must be in 1\.\.12, not 13"),
])  # fmt: skip
def test_dividers_that_cannot_be(choices, message):
    with pytest.raises(ValueError, match=message):
        small_plan(bits=8, pin=8, pout=8, **choices)


def test_what_is_moved_and_not_stored_is_no_result():
    b = program()
    b.emit(Concat(name="both", source=b.last, others=(b.last,), axis="W"))

    with pytest.raises(UserError, match=r"^the engine stores no tensor 'both': what it joins or cuts is stored in "):
        compiled(b.raw(), small_plan())


def test_products_and_tables_have_their_limits():
    """What a residual's way and a row's block RAM do not hold, each with the layer, and the build that helps if one
    does."""
    b = program()
    b.table(signed(8))
    with pytest.raises(
        UserError, match="tables of at most 6 bits; 'table3' looks up 256 values: build it with --tables 8"
    ):
        compiled(b.raw(), small_plan(tables=6))
    b = program()
    b.table(signed(17))
    with pytest.raises(UserError, match="looks up elements of 16 bits; those of 'table3' have int17"):
        compiled(b.raw(), small_plan(tables=8))
    b = program()
    b.varied = lambda op: op
    b.rescale(signed(12))
    b.product(b.last)
    b.rescale(signed(8), residual="req2")
    message = "a residual joins products of at most 16 bits, but those of 'product4', which 'req5' reads, have int24"
    with pytest.raises(UserError, match=message):
        compiled(b.raw(), small_plan(product=True))
    b = program()
    b.varied = lambda op: op
    b.rescale(signed(12))
    b.product("req2")
    b.rescale(signed(8))
    with pytest.raises(UserError, match="'req3' has int12; the engine's lanes read at most 8 bits"):
        compiled(b.raw(), small_plan(product=True, bits=8, pin=8, pout=8))


@pytest.mark.parametrize(
    "first, message", [(3, "in 'joined' 'req4' does not begin with one"), (4, "which 'cut' does not")]
)
def test_channels_are_joined_and_cut_in_whole_blocks(first, message):
    """Another way of channels in memory would take another way of the lanes."""
    b = program(outputs=first)
    left, right = b.last, program_behind(b)
    b.emit(Concat(name="joined", source=left, others=(right,)))
    b.emit(Slice(name="cut", source=b.last, axis="C", start=1, stop=3))
    b.convolution("mult", 2)
    b.requantise(unsigned(8))
    with pytest.raises(UserError, match=re.escape(message)):
        compiled(b.raw(), small_plan())


def program_behind(b):
    b.convolution("adder", 4)
    b.requantise(unsigned(8))
    return b.last


def test_a_command_is_cut_where_its_count_would_not_hold_more():
    """The weights of a large dense layer are one run of more words than a command can name."""
    runs = [Item(stream=Stream.WEIGHTS, run=Run(address=600_000 * k, words=600_000)) for k in range(4)]
    first = Item(stream=Stream.FEATURES, run=Run(address=0, words=4))
    commands = [c for c in in_order([first, *runs], small_plan()) if c["stream"] == Stream.WEIGHTS]
    assert sum(c["words"] for c in commands) == 2_400_000
    assert all(READ.pack(command) for command in commands)
