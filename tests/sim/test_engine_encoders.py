"""Engines with norms, softmax, products of tokens and divisions: blocks of transformers, every word, every cycle."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from addax.hdl.engine.compile.image import compiled
from addax.hdl.engine.cycles.transfers import Memory
from addax.quant.fold.scheme import Scheme
from addax.quant.lower.lowering import lower
from engine_encoders import encoder, quotients
from engine_executor import executed
from engine_networks import small_plan
from engine_runs import checked_run
from small_transformers import KERNELS, lively, tnt, vit

pytestmark = pytest.mark.slow
PLAN = small_plan(norms=2, softmax=True, tables=6, matmul=True, feature_bytes=8192)

NARROW = small_plan(
    bits=8, pin=8, pout=8, norms=4, softmax=True, tables=8, matmul=True, divide=True, dividers=4, depthwise=2,
    means=True, factor_bits=18, feature_bytes=16384, pixels=128,
)  # fmt: skip


@pytest.mark.parametrize(
    "plan",
    [
        pytest.param(PLAN, id="4x4, 16 bit"),
        pytest.param(
            replace(PLAN, bits=8, pin=8, pout=8, norms=4, product=True, choices=True, counters=True), id="8x8, 8 bit",
            marks=pytest.mark.guard,
        ),
    ],
)  # fmt: skip
def test_random_blocks_of_transformers_are_exact_to_the_word_and_to_the_cycle(plan):
    """Attention by exponentials of normed tokens, less the division behind it, and the layers around it; any latency
    and number of bursts."""
    for seed in range(8):
        run_exactly(encoder(seed, bits=plan.bits, lanes=plan.pin), plan, seed)


@pytest.mark.parametrize(
    "plan",
    [
        pytest.param(replace(PLAN, divide=True), id="4x4, 16 bit"),
        pytest.param(
            replace(PLAN, bits=8, pin=8, pout=8, divide=True, dividers=5, product=True, depthwise=2, levels=3),
            id="8x8, 8 bit", marks=pytest.mark.guard,
        ),
    ],
)  # fmt: skip
def test_random_blocks_with_their_divisions_are_exact_to_the_word_and_to_the_cycle(plan):
    """Whole attention: products of tokens, or exponentials, divided by the sums of these; and stored tensors divided by
    any others, 0 among them."""
    for seed in range(8):
        run_exactly(encoder(seed, bits=plan.bits, lanes=plan.pin, divided=True), plan, seed)
        run_exactly(quotients(seed, bits=plan.bits, lanes=plan.pin), plan, seed)


def test_an_engine_that_has_divisions_alone_is_exact_to_the_word_and_to_the_cycle():
    plan = small_plan(bits=8, pin=8, pout=8, divide=True)
    for seed in range(8, 14):
        run_exactly(quotients(seed, lanes=plan.pin), plan, seed)


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_whole_vision_transformer_is_exact_to_the_word_and_to_the_cycle(kernel):
    """As it comes from torch: patches, class token, positions, two blocks, class scores."""
    images = np.random.default_rng(0).integers(0, 256, (20, 1, 8, 8), np.uint8)
    image = compiled(lower(lively(vit, kernel), images), replace(PLAN, divide=True, tables=8))

    run = checked_run(image, images[0])

    assert (run.words == executed(image, images[0])).all()


@pytest.mark.guard
@pytest.mark.parametrize("kernel", KERNELS)
def test_tokens_that_are_many_follow_each_other_without_a_pause(kernel):
    """65 tokens of 8 bits throughout: the first ones of a layer have been written, and are read by a layer norm or a
    softmax, while the array still computes the last ones. Nothing of the one may reach the other."""
    images = np.random.default_rng(0).integers(0, 256, (4, 1, 16, 16), np.uint8)
    program = lower(lively(partial(vit, side=16), kernel), images, scheme=Scheme(most_bits=8))
    checked_run(compiled(program, NARROW), images[0])


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_whole_tnt_is_exact_to_the_word_and_to_the_cycle(kernel):
    """Words in patches and patches among each other, whose windows stand in the image's place; 8 bits throughout."""
    images = np.random.default_rng(0).integers(0, 256, (4, 1, 8, 8), np.uint8)
    image = compiled(lower(lively(tnt, kernel), images, scheme=Scheme(most_bits=8)), NARROW)

    assert image.network.input != image.network.program.input.name
    run = checked_run(image, images[0])

    assert (run.words == executed(image, images[0])).all()


def run_exactly(program, plan, seed):
    """Any pixels, latency and number of bursts: tensors are the golden model's, words the second executor's."""
    rng = np.random.default_rng(seed)
    image = compiled(program, plan, reuse=seed % 3 == 0)
    fmt = program.input.format
    pixels = rng.integers(fmt.lo, fmt.hi, program.input.shape, endpoint=True)
    memory = Memory(latency=int(rng.integers(1, 200)), slots=int(rng.integers(1, 33)))

    run = checked_run(image, pixels, memory)

    assert (run.words == executed(image, pixels)).all(), seed
