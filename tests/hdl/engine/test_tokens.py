# amaranth: UnusedElaboratable=no
"""Products of tokens: whose words are the weights of a step, and what memory holds behind it."""

import random
import re
from dataclasses import replace

import numpy as np
import pytest
from addax.common.errors import UserError
from addax.hdl.engine.compile.image import compiled
from addax.hdl.engine.compile.traffic import traffic_of
from addax.hdl.engine.core.lanes import HeldWeights
from addax.hdl.engine.cycles.model import predicted
from addax.hdl.engine.driver.flat import flat_image
from addax.hdl.engine.layout import TensorLayout
from addax.hdl.engine.plan import EnginePlan
from addax.hdl.engine.records import Stream
from addax.quant import golden
from addax.quant.formats import signed, unsigned
from addax.quant.program import ArgMax, MatMul, MaxPool, Select, Slice
from engine_blocks import cycles_of, fields, packed
from engine_executor import assert_golden, executed
from engine_networks import small_plan
from engine_tokens import attention_layer, attentive, one_product
from token_networks import TokenBuilder

PLANS = {
    "4x4, 16 bit": small_plan(matmul=True, feature_bytes=8192),
    "8x8, 8 bit": small_plan(bits=8, pin=8, pout=8, matmul=True, feature_bytes=4096),
    "4x4, heads beside depthwise layers": small_plan(matmul=True, depthwise=2, feature_bytes=8192, weight_bytes=256),
}


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("plan", PLANS.values(), ids=list(PLANS))
def test_attention_is_that_of_the_golden_model(plan, seed):
    """Both kernels, any heads and tokens, keys of fewer rows and tokens, cuts of one layer; a run ends, too."""
    program = attentive(seed, bits=plan.bits, lanes=plan.pin)
    image = compiled(program, plan, reuse=seed % 3 == 0)
    fmt = program.input.format
    pixels = np.random.default_rng(seed).integers(fmt.lo, fmt.hi, program.input.shape, endpoint=True)

    words = executed(image, pixels)

    if not image.reuse:
        assert_golden(image, pixels, words)
    assert np.array_equal(image.tensor(words, image.network.output), golden_result(program, pixels))
    assert predicted(image).total > 0


def golden_result(program, pixels):
    return golden.run(program, pixels[None], trace=[program.ops[-1].name]).tensors[program.ops[-1].name][0]


@pytest.mark.parametrize("kernel, grid", [("mult", signed(8)), ("adder", signed(8)), ("adder", unsigned(8))])
@pytest.mark.parametrize("form", ["scores", "context"])
@pytest.mark.parametrize("heads, channels, tokens", [(1, 5, 3), (2, 6, 5), (3, 24, 8), (2, 32, 9)])
def test_heads_and_tokens_that_fill_no_blocks_count_nothing(form, kernel, grid, heads, channels, tokens):
    """Heads of 5, 3, 8 and 16 channels, rows of 3 to 9 tokens, on lanes of 8: what fills a block is no distance."""
    program = one_product(form, kernel, shape=(channels, 2, tokens), others=tokens, heads=heads, grid=grid)
    image = compiled(program, PLANS["8x8, 8 bit"])
    pixels = np.random.default_rng(0).integers(0, 256, program.input.shape)

    assert_golden(image, pixels, executed(image, pixels))


def test_scores_read_keys_where_they_stand():
    """Of 2 rows with 9 tokens of 8 channels, 16 words for the scores of a row: 9 of them in the tensor, 7 are zeros."""
    image = compiled(one_product("scores", shape=(8, 2, 9), others=9), PLANS["8x8, 8 bit"])
    layer, area = image.network.layers[-1], image.areas["req4"]
    assert (layer.other, image.layouts["req4"].words) == ("req4", 18)

    read = [
        command["address"] + word for command in image.reads for word in range(command["words"])
        if command["stream"] == Stream.WEIGHTS
    ]  # fmt: skip

    assert [word - area for word in read if area <= word < area + 18] == list(range(18))
    assert len(read) == sum(layer.weights for layer in traffic_of(image))
    zeros = [word for word in read if word < area and not image.words[word].any()]
    assert len(zeros) >= 2 * 7


@pytest.mark.parametrize("head", [0, 3, 4, 6])
def test_heads_of_a_tensor_begin_with_blocks_of_their_own(head):
    """12 channels in words of 4, as one, or as heads of 3, 4 or 6: each channel in the word that `channels_of` says."""
    rng = np.random.default_rng(head)
    layout = TensorLayout(shape=(12, 2, 3), format=signed(16), channels=4, bits=16, head=head)
    tensor = rng.integers(-(1 << 15), 1 << 15, layout.shape)

    words = layout.pack(tensor)

    assert np.array_equal(layout.unpack(words), tensor)
    assert layout.blocks == {0: 3, 3: 4, 4: 3, 6: 4}[head] and len(words) == layout.blocks * 6
    for block in range(layout.blocks):
        place, count = layout.run(block, 1, 1)
        row, held = words[place : place + count].view("<i2"), layout.channels_of(block)
        assert np.array_equal(row[:, : len(held)].T, tensor[held.start : held.stop, 1])
        assert not row[:, len(held) :].any()
    assert [channel for block in range(layout.blocks) for channel in layout.channels_of(block)] == list(range(12))


def test_sets_of_weights_come_row_by_row_or_column_by_column():
    """Any order of both; the highest bits of some are inverted, those of the set in use stay."""
    plan, rng = small_plan(matmul=True), random.Random(4)
    dut, n, top = HeldWeights(plan), plan.pout, 1 << plan.bits - 1
    sets = [[[rng.getrandbits(plan.bits) for _ in range(n)] for _ in range(n)] for _ in range(6)]
    kinds = [(rng.getrandbits(1), rng.getrandbits(1)) for _ in sets[:-2]] + [(1, 0), (0, 1)]

    def drive(cycle):
        number = min(cycle // n, len(sets) - 1)
        turned, inverted = kinds[number]
        return {"word": packed(sets[number][cycle % n], plan.bits), "shift": cycle < n * len(sets), "turned": turned,
                "inverted": inverted, "swap": cycle and cycle % n == 0}  # fmt: skip

    seen = cycles_of(dut, drive, n * (len(sets) + 1) + 1, "weights")

    for number, (own, (turned, inverted)) in enumerate(zip(sets, kinds, strict=True)):
        expected = [[value ^ top * inverted for value in row] for row in own]
        expected = [list(column) for column in zip(*expected, strict=True)] if turned else expected
        (held,) = seen[n * (number + 1) + 1]
        assert [fields(held >> row * plan.word_bits, plan.bits, n, sign=False) for row in range(n)] == expected, number


def soon_needed():
    """Keys that take few weights to make, and are weights themselves right behind: a queue has room for both."""
    b = TokenBuilder(np.random.default_rng(0), (3, 2, 4))
    b.convolution("mult", 32)
    x = b.measured(signed(8))
    keys = b.emit(MaxPool(name="keys", source=x, size=1, stride=1))
    b.emit(MatMul(name="product", source=x, other=keys, form="scores"))
    b.measured(signed(8))
    return b.raw()


@pytest.mark.parametrize("weight_bytes", [32 * 8, 64 * 8, 1024 * 8])
def test_weights_that_the_array_makes_are_no_further_ahead_than_they_are_written(weight_bytes):
    """With a queue of any size no command waits for what stands behind it; so a run ends."""
    plan = small_plan(matmul=True, feature_bytes=8192, weight_bytes=weight_bytes)
    waits = 0
    for program in (soon_needed(), *(attentive(seed, bits=16) for seed in range(4))):
        image = compiled(program, plan)
        waits += sum(command["wait"] > 0 and command["stream"] == Stream.WEIGHTS for command in image.reads)

        executed(image, np.zeros(image.network.program.input.shape, np.int64))
        assert predicted(image).total > 0
    assert waits


def refused(program, message, **changes):
    with pytest.raises(UserError, match=f"^{re.escape(message)}") as caught:
        compiled(program, small_plan(bits=8, pin=8, pout=8, **{"matmul": True, **changes}))
    assert "\n" not in str(caught.value)


def test_what_the_engine_does_not_multiply_is_refused_in_one_line():
    """The option, the kernel, the format of weights and sequences that are too long, each with what would help."""
    refused(one_product("scores"), "the engine multiplies no tokens, as 'product' does: build it with --matmul",
            matmul=False)  # fmt: skip
    refused(one_product("scores", "adder"), "'product' needs adder lanes; the engine has mult, shift: build it with "
            "--kernels mult,shift,adder", kernels=("mult", "shift"))  # fmt: skip
    refused(one_product("context", grid=unsigned(8)), "'product' multiplies by tokens of 'req4', which has uint8; the "
            "lanes' weights have int8; build it with --bits 16")  # fmt: skip
    refused(one_product("scores", shape=(8, 1, 40), others=40), "a row of 'req2', 40 columns, needs 1,280 bytes of "
            "sums, the engine has 1,024; build it with --pixels 64", pixels=32)  # fmt: skip


def test_sums_of_tokens_are_not_stored():
    b = TokenBuilder(np.random.default_rng(0), (8, 1, 4))
    b.convolution("mult", 8)
    b.measured(signed(8))
    b.emit(MatMul(name="product", source=b.last, other=b.last, form="scores"))

    refused(b.raw(), "the engine stores no sums: 'product' must be read by requantises or thresholds alone")


def test_channels_that_cannot_be_zero_fill_no_blocks():
    """A clamp of 3..7: what fills a block of keys would be a 3 as well, and a distance from any other number."""
    b = TokenBuilder(np.random.default_rng(0), (2, 1, 4))
    b.convolution("mult", 5)
    b.measured(unsigned(3))
    b.ops[b.last] = replace(b.ops[b.last], lo=3)
    b.emit(MatMul(name="product", source=b.last, other=b.last, form="scores", kernel="adder"))
    b.measured(signed(8))

    refused(b.raw(), "'req4' multiplies tokens of 5 channels, which fill no blocks of 8, as 'req2' is in 3..7, which")


def test_heads_that_others_cut_otherwise_are_named():
    """A tensor whose channels are no whole heads, as a product of tokens of a part of them needs."""
    b = TokenBuilder(np.random.default_rng(0), (2, 1, 4))
    b.convolution("mult", 10)
    whole = b.measured(signed(8))
    part = b.emit(Slice(name="part", source=whole, axis="C", start=4, stop=10))
    b.emit(MatMul(name="product", source=part, other=part, form="scores", heads=2))
    b.measured(signed(8))

    refused(b.raw(), "'conv1' has 10 channels, which are no heads of 3 channels, as a product of tokens needs them")


def test_keys_of_a_branch_are_made_where_its_product_may_be_skipped():
    """Of two branches the second is a product of tokens: its bands are skipped, those of its keys never, as a row of
    them may be for all rows."""
    b = TokenBuilder(np.random.default_rng(3), (3, 4, 4))
    b.convolution("mult", 4)
    x = b.measured(signed(8))
    b.convolution("mult", 2)
    b.measured(signed(8))
    mask = b.emit(ArgMax(name="mask", source=b.last))
    b.last = x
    b.convolution("mult", 4)
    keys = b.measured(signed(8))
    b.emit(MatMul(name="product", source=x, other=keys, form="scores"))
    scores = b.measured(signed(8))
    b.emit(Select(name="chosen", source=mask, branches=(x, scores)))
    b.convolution("mult", 3)
    b.measured(signed(8))
    plan = small_plan(matmul=True, choices=True, predicates=16)
    program = b.raw()
    image = compiled(program, plan)

    assert scores in image.skips and keys not in image.skips
    for seed in range(3):
        pixels = np.random.default_rng(seed).integers(0, 256, program.input.shape)
        assert_golden(image, pixels, executed(image, pixels))


def test_a_driver_in_c_has_no_heads():
    """An image whose result is stored head by head is not flattened."""
    image = compiled(one_product("context", shape=(6, 1, 4), heads=2), PLANS["8x8, 8 bit"])
    with pytest.raises(UserError, match=r"^a driver in C knows no heads, and 'req6' is stored as heads of 3 "):
        flat_image(image)


@pytest.mark.slow
@pytest.mark.parametrize("size, cycles", [((192, 3, 1, 197), 175_494), ((24, 4, 196, 16), 196_434)])
def test_published_attention_takes_the_cycles_that_docs_say(size, cycles):
    """A layer of DeiT-Ti, and of TNT-S' inner words, without softmax, on 16 x 16 lanes, as docs/engine.md has it."""
    plan = EnginePlan(device="xczu7ev", clock_mhz=200.0, matmul=True)

    assert predicted(compiled(attention_layer(*size), plan)).total == cycles
