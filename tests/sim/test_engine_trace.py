"""Stored tensors beside the golden model's: the first that differs, and where."""

import numpy as np
from addax.hdl.engine.compile.image import compiled
from addax.sim.engine_trace import compare_tensors
from engine_executor import executed
from engine_networks import engine_program, small_plan


def test_the_first_difference_is_named_by_tensor_pixel_and_channel():
    """Layers behind a wrong word may differ everywhere: what a person needs is where it began."""
    image = compiled(engine_program(7), small_plan())
    program, plan = image.network.program, image.plan
    pixels = np.random.default_rng(0).integers(0, 256, (2, *program.input.shape))
    memories = [executed(image, own) for own in pixels]
    assert not any(stage.mismatches for stage in compare_tensors(image, pixels, memories))

    name = image.network.tensors[2]
    layout = image.layouts[name]
    block, row, column, lane = layout.blocks - 1, 1, 2, 0
    word = image.areas[name] + layout.run(block, row, 1)[0] + column * layout.pixel_words
    memories[1] = memories[1].copy()
    memories[1][word, lane * plan.bits // 8] ^= 1
    stages = compare_tensors(image, pixels, memories)

    assert [stage.name for stage in stages] == list(image.network.tensors[1:])
    (wrong,) = [stage for stage in stages if stage.mismatches]
    found = wrong.first
    assert (wrong.name, wrong.mismatches) == (name, 1)
    assert (found.image, found.y, found.x, found.channel) == (1, row, column, block * plan.pin + lane)
    assert found.expected ^ found.found == 1
