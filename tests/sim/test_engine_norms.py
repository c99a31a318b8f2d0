"""Engines with layer norms: whole networks of tokens, every word, every cycle."""

from dataclasses import replace

import numpy as np
import pytest
from addax.common.errors import UserError
from addax.hdl.engine.compile.image import compiled
from addax.hdl.engine.cycles.transfers import Memory
from engine_executor import executed
from engine_networks import small_plan
from engine_norms import normed_tokens
from engine_plans import random_engine
from engine_runs import checked_run

pytestmark = pytest.mark.slow
PLANS = {
    "4x4, 16 bit, two roots": small_plan(norms=2, feature_bytes=4096),
    "8x8, 8 bit, four roots": small_plan(
        bits=8, pin=8, pout=8, norms=4, feature_bytes=4096, product=True, tables=4, depthwise=2, control="wishbone",
        counters=True,
    ),
    "random 1": replace(random_engine(1), norms=2),
    "random 4": replace(random_engine(4), norms=8, choices=True),
}  # fmt: skip
GUARDS = ("8x8, 8 bit, four roots",)


@pytest.mark.parametrize(
    "plan",
    [pytest.param(plan, id=name, marks=pytest.mark.guard if name in GUARDS else ()) for name, plan in PLANS.items()],
)
def test_random_networks_with_layer_norms_are_exact_to_the_word_and_to_the_cycle(plan):
    """Bands of one token and of many, norms in front of all, between and behind, any latency, number of bursts and
    width of memory."""
    norms = 0
    for seed in range(1, 9):
        rng = np.random.default_rng(seed)
        program = normed_tokens(seed, bits=plan.bits, kernels=plan.kernels, lanes=plan.pin)
        try:
            image = compiled(program, plan, reuse=seed % 3 == 0)
        except UserError as error:
            assert "needs" in str(error) or "takes" in str(error), error  # a row that does not fit
            continue
        pixels = rng.integers(0, 256, program.input.shape)
        memory = Memory(latency=int(rng.integers(1, 200)), slots=int(rng.integers(1, 33)))

        run = checked_run(image, pixels, memory)

        assert (run.words == executed(image, pixels)).all(), seed
        norms += sum(layer.norm is not None for layer in image.network.layers)
    assert norms > 8
