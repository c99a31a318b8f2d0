"""The image of a network: what the second executor makes of it is what the golden model says, for every tensor."""

import numpy as np
import pytest
from addax.hdl.engine.compile.image import compiled
from addax.quant import golden
from engine_executor import executed
from engine_networks import engine_program, small_plan, super_resolution


def images_of(program, count, seed):
    fmt, rng = program.input.format, np.random.default_rng(seed)
    return rng.integers(fmt.lo, fmt.hi, (count, *program.input.shape), endpoint=True)


@pytest.mark.parametrize("seed", range(24))
def test_every_stored_tensor_is_that_of_the_golden_model(seed):
    """Records, layouts, bands, order of weights and of transfers agree, or some word differs."""
    bits = (8, 16)[seed % 2]
    plan = small_plan(bits=bits, pin=(8, 4)[seed % 2], pout=(8, 4)[seed % 2])
    program = engine_program(seed, bits=bits)
    image = compiled(program, plan)
    (pixels,) = images_of(program, 1, seed)

    words = executed(image, pixels)

    expected = golden.run(program, pixels[None], trace=True).tensors
    for name in image.network.tensors[1:]:
        assert np.array_equal(image.tensor(words, name), expected[name][0]), name


@pytest.mark.parametrize("factor, features", [(2, 4), (2, 6), (3, 5)])
def test_pixels_are_shuffled_on_their_way_to_memory(factor, features):
    """Blocks that hold fewer channels than lanes, bands whose rows wait for several blocks of the layer before."""
    program = super_resolution(factor + features, factor=factor, features=features)
    image = compiled(program, small_plan())
    (pixels,) = images_of(program, 1, factor)

    words = executed(image, pixels)

    assert any(write["stride"] == factor for write in image.writes)
    assert any(len(bands) > 1 for bands in image.bands.values())
    expected = golden.run(program, pixels[None], trace=True).tensors
    for name in image.network.tensors[1:]:
        assert np.array_equal(image.tensor(words, name), expected[name][0]), name
