"""Engines that multiply tokens: whole networks, every word, every cycle."""

from dataclasses import replace

import numpy as np
import pytest
from addax.common.errors import UserError
from addax.hdl.engine.compile.image import compiled
from addax.hdl.engine.cycles.transfers import Memory
from engine_executor import executed
from engine_networks import small_plan
from engine_plans import random_engine
from engine_runs import checked_run
from engine_tokens import attentive, vision

pytestmark = pytest.mark.slow
PLANS = {
    "4x4, 16 bit": small_plan(matmul=True, feature_bytes=8192),
    "8x8, 8 bit": small_plan(bits=8, pin=8, pout=8, matmul=True, feature_bytes=4096),
    "random 3": replace(random_engine(3), matmul=True, depthwise=2),
    "random 0": replace(random_engine(0), matmul=True, product=True, tables=6),
}
GUARDS = ("4x4, 16 bit",)


@pytest.mark.parametrize(
    "plan",
    [pytest.param(plan, id=name, marks=pytest.mark.guard if name in GUARDS else ()) for name, plan in PLANS.items()],
)
def test_random_attention_is_exact_to_the_word_and_to_the_cycle(plan):
    """Heads and tokens that fill no blocks, both kernels, keys of one row for all, maps that become tokens behind a
    class token, words that become channels; any latency, number of bursts and width of memory."""
    found, seed, kinds, moves = 0, 0, set(), 0
    while found < 10:
        seed += 1
        assert seed < 60, "too few networks fit"
        rng = np.random.default_rng(seed)
        make = vision if seed % 2 else attentive
        program = make(seed, bits=plan.bits, lanes=plan.pin)
        try:
            image = compiled(program, plan, reuse=seed % 3 == 0)
        except UserError as error:
            assert "needs" in str(error) or "need take" in str(error), error  # what does not fit
            continue
        found += 1
        kinds |= {(layer.kernel, layer.turned, layer.groups > 1) for layer in image.network.layers if layer.other}
        moves += len(image.network.moves)
        fmt = program.input.format
        pixels = rng.integers(fmt.lo, fmt.hi, program.input.shape, endpoint=True)
        memory = Memory(latency=int(rng.integers(1, 200)), slots=int(rng.integers(1, 33)))

        run = checked_run(image, pixels, memory)

        assert (run.words == executed(image, pixels)).all(), seed
    assert {kernel for kernel, _, _ in kinds} == {"mult", "adder"}
    assert moves and {turned for _, turned, _ in kinds} == {0, 1}
