"""The cycle model without a simulator: what it must say of any image. That it equals simulation,
tests/sim/test_engine.py shows."""

from dataclasses import replace

import pytest
from addax.hdl.engine.activity import CycleUse
from addax.hdl.engine.compile.image import compiled
from addax.hdl.engine.cycles.model import predicted
from addax.hdl.engine.cycles.transfers import Memory
from addax.hdl.engine.records import Stream, Unit
from engine_networks import engine_program, small_plan


@pytest.mark.parametrize("seed", range(200, 206))
def test_time_adds_up(seed):
    """Every cycle is work or one wait; no layer is shorter than its taps; a slower memory is never faster; beats that
    are read and written are those of the image."""
    image = compiled(engine_program(seed, bits=16), small_plan())
    totals = []
    for latency in (1, 20, 150):
        found = predicted(image, Memory(latency=latency))
        totals.append(found.total)
        assert found.spent.sum() == found.together.sum() == found.total
        assert found.together[1].sum() == found.spent[:, CycleUse.WORK].sum()
        beats = image.plan.beats
        assert found.together[:, 1].sum() == found.read_words * beats
        assert found.together[:, :, 1].sum() == found.written_words * beats
        begin = -1
        for descriptor, layer in zip(image.descriptors, found.layers, strict=True):
            assert layer.end - begin == layer.busy + sum(layer.waits.values())
            begin = layer.end
            if descriptor["unit"] == Unit.ARRAY and descriptor["bands"] == 1:
                taps = descriptor["kernel_rows"] * descriptor["kernel_columns"]
                steps = descriptor["out_blocks"] * descriptor["in_blocks"] * taps
                assert layer.busy >= steps * descriptor["pixels_first"]
        assert found.total > found.layers[-1].end
    assert totals == sorted(totals)


def test_image_that_would_stand_still_is_found():
    """A command that waits for a write that only something behind it could bring about."""
    image = compiled(engine_program(200, bits=16), small_plan())
    first = next(k for k, read in enumerate(image.reads) if read["stream"] == Stream.FEATURES)
    reads = [dict(read) for read in image.reads]
    reads[first]["wait"] = 1
    with pytest.raises(ValueError, match="the engine stands still"):
        predicted(replace(image, reads=tuple(reads)))
