"""The cycle model without a simulator: what it must say of any image. That it equals simulation,
tests/sim/test_engine.py shows."""

from dataclasses import replace

import pytest
from addax.hdl.engine.compile.image import compiled
from addax.hdl.engine.cycles.model import predicted
from addax.hdl.engine.cycles.transfers import Memory
from addax.hdl.engine.records import Stream, Unit
from engine_networks import engine_program, small_plan


@pytest.mark.parametrize("seed", range(200, 206))
def test_time_adds_up(seed):
    """Every layer is its work and its waits; none is shorter than its taps; a slower memory is never faster."""
    image = compiled(engine_program(seed, bits=16), small_plan())
    totals = []
    for latency in (1, 20, 150):
        found = predicted(image, Memory(latency=latency))
        totals.append(found.total)
        for descriptor, layer in zip(image.descriptors, found.layers, strict=True):
            assert layer.end - layer.begin == layer.busy + sum(layer.waits.values())
            if descriptor["unit"] == Unit.ARRAY and descriptor["bands"] == 1:
                taps = descriptor["kernel_rows"] * descriptor["kernel_columns"]
                steps = descriptor["out_blocks"] * descriptor["in_blocks"] * taps
                assert layer.busy >= steps * descriptor["pixels_first"]
        assert all(a.end <= b.begin for a, b in zip(found.layers, found.layers[1:], strict=False))
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
