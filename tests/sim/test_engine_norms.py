"""Engines with layer norms and softmaxes: whole networks of tokens, every word, every cycle."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from addax.common.errors import UserError
from addax.hdl.engine.compile.image import compiled
from addax.hdl.engine.cycles.transfers import Memory
from engine_executor import executed
from engine_networks import small_plan
from engine_norms import normed_tokens, scored_tokens
from engine_plans import random_engine
from engine_runs import checked_run

pytestmark = pytest.mark.slow
PLANS = {
    "4x4, 16 bit, two roots": small_plan(norms=2, feature_bytes=4096),
    "8x8, 8 bit, both": small_plan(
        bits=8, pin=8, pout=8, norms=2, softmax=True, tables=6, depthwise=2, feature_bytes=4096, counters=True,
    ),
    "random 1": replace(random_engine(1), softmax=True, tables=6, depthwise=1),
    "random 4": replace(random_engine(4), norms=8, choices=True),
}  # fmt: skip
GUARDS = ("8x8, 8 bit, both",)


@pytest.mark.parametrize(
    "plan",
    [pytest.param(plan, id=name, marks=pytest.mark.guard if name in GUARDS else ()) for name, plan in PLANS.items()],
)
def test_random_networks_of_tokens_are_exact_to_the_word_and_to_the_cycle(plan):
    """Bands of one token and of many, norms in front of all, between and behind, scores of one head and of several, any
    latency, number of bursts and width of memory."""
    makers = [*[normed_tokens] * (plan.norms > 0), *[scored_tokens] * plan.softmax]
    twice = 0
    for seed, maker in product(range(1, 9), makers):
        rng = np.random.default_rng(seed)
        program = maker(seed, bits=plan.bits, kernels=plan.kernels, lanes=plan.pin)
        try:
            image = compiled(program, plan, reuse=seed % 3 == 0)
        except UserError as error:
            assert "needs" in str(error) or "takes" in str(error), error  # a row that does not fit
            continue
        pixels = rng.integers(0, 256, program.input.shape)
        memory = Memory(latency=int(rng.integers(1, 200)), slots=int(rng.integers(1, 33)))

        run = checked_run(image, pixels, memory)

        assert (run.words == executed(image, pixels)).all(), seed
        twice += sum(layer.twice for layer in image.network.layers)
    assert twice > 4 * len(makers)
