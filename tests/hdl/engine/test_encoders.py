"""Layer norms, softmax and products of tokens in one engine."""

import numpy as np
import pytest
from addax.hdl.engine.compile.image import compiled
from addax.hdl.engine.cycles.model import predicted
from engine_encoders import encoder
from engine_executor import assert_golden, executed
from engine_networks import small_plan

PLANS = {
    "4x4, 16 bit": small_plan(norms=2, softmax=True, tables=6, matmul=True, feature_bytes=8192),
    "8x8, 8 bit": small_plan(bits=8, pin=8, pout=8, norms=4, softmax=True, tables=6, matmul=True, feature_bytes=8192),
}


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("plan", PLANS.values(), ids=list(PLANS))
def test_a_block_of_a_transformer_is_that_of_the_golden_model(plan, seed):
    """Every stored tensor; what one unit makes another one reads, and a run ends."""
    program = encoder(seed, bits=plan.bits, lanes=plan.pin)
    image = compiled(program, plan)
    fmt = program.input.format
    pixels = np.random.default_rng(seed).integers(fmt.lo, fmt.hi, program.input.shape, endpoint=True)

    assert_golden(image, pixels, executed(image, pixels))
    assert predicted(image).total > 0
