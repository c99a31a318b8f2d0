"""Layer norms, softmax and products of tokens in one engine."""

import numpy as np
import pytest
from addax.common.errors import UserError
from addax.hdl.engine.compile.image import compiled
from addax.hdl.engine.cycles.model import predicted
from addax.hdl.engine.driver.flat import flat_image
from addax.quant.fold.scheme import Scheme
from addax.quant.lower.lowering import lower
from engine_encoders import encoder
from engine_executor import assert_golden, executed
from engine_networks import small_plan
from small_transformers import lively, tnt

PLANS = {
    "4x4, 16 bit": small_plan(norms=2, softmax=True, tables=6, matmul=True, feature_bytes=8192),
    "8x8, 8 bit": small_plan(bits=8, pin=8, pout=8, norms=4, softmax=True, tables=6, matmul=True, feature_bytes=8192),
}


def test_windows_of_the_image_stand_in_its_place():
    """A TNT's first layer, on the second executor; a driver in C stores images as they are."""
    images = np.random.default_rng(0).integers(0, 256, (4, 1, 8, 8), np.uint8)
    plan = small_plan(
        bits=8, pin=8, pout=8, norms=4, softmax=True, tables=8, matmul=True, divide=True, depthwise=2, factor_bits=18,
        feature_bytes=16384,
    )  # fmt: skip
    program = lower(lively(tnt, "mult"), images, scheme=Scheme(most_bits=8))
    image = compiled(program, plan)

    assert image.network.unfold is not None and image.network.input == image.network.unfold.name
    assert_golden(image, images[0], executed(image, images[0]))
    with pytest.raises(UserError, match="a driver in C stores an image as it is, not the windows that"):
        flat_image(image)


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
