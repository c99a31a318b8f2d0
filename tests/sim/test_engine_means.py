"""Engines whose means are cut: whole networks, every word, every cycle."""

import numpy as np
import pytest
from addax.common.errors import UserError
from addax.hdl.engine.compile.image import compiled
from addax.hdl.engine.cycles.transfers import Memory
from engine_executor import executed
from engine_means import whole_means
from engine_networks import small_plan
from engine_runs import checked_run

pytestmark = pytest.mark.slow
PLANS = {
    "8x8": small_plan(
        pin=8, pout=8, bits=8, memory_bits=64, burst=8, feature_bytes=512, weight_bytes=4096, means=True, tables=8
    ),
    "16x4": small_plan(
        pin=16, pout=4, bits=8, memory_bits=128, burst=8, feature_bytes=1024, weight_bytes=8192, means=True,
    ),
}  # fmt: skip


@pytest.mark.parametrize("plan", PLANS.values(), ids=list(PLANS))
def test_cut_means_are_exact_to_the_word_and_to_the_cycle(plan):
    """Means behind maps and behind other means, signs, residuals, tables, any latency and number of bursts."""
    tried = 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        program = whole_means(seed, tables=plan.tables > 0)
        try:
            image = compiled(program, plan, reuse=seed % 2 == 1)
        except UserError as error:
            assert "needs" in str(error) or "need take" in str(error), error  # a window that does not fit
            continue
        tried += any(descriptor["keeps"] for descriptor in image.descriptors)
        pixels = rng.integers(program.input.format.lo, program.input.format.hi, program.input.shape, endpoint=True)

        run = checked_run(image, pixels, Memory(latency=int(rng.integers(1, 200)), slots=int(rng.integers(1, 12))))

        assert (run.words == executed(image, pixels)).all(), seed
    assert tried >= 4
