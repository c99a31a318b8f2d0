# amaranth: UnusedElaboratable=no
"""Means of maps that the ring does not hold: they are cut, and their sums go on."""

import random

import numpy as np
import pytest
from addax.common.errors import UserError
from addax.hdl.engine.compile.image import compiled
from addax.hdl.engine.compile.traffic import traffic_of
from addax.hdl.engine.core.sums import PixelSums
from addax.hdl.engine.cycles.model import predicted
from addax.hdl.engine.records import Stream
from addax.quant.formats import signed, unsigned
from addax.quant.program import AveragePool
from engine_blocks import cycles_of, fields, packed
from engine_executor import assert_golden, executed
from engine_means import whole_means
from engine_networks import small_plan
from network_builder import Builder


def mean_plan(pin=8, pout=8, **changes):
    """An engine whose ring holds 64 pixels of a block."""
    word = max(pin, pout) * changes.get("bits", 8) // 8
    return small_plan(**{
        "pin": pin, "pout": pout, "bits": 8, "memory_bits": 64, "burst": 8, "feature_bytes": 64 * word,
        "weight_bytes": 512 * word, "means": True, "tables": 8, **changes,
    })  # fmt: skip


@pytest.mark.parametrize("pin, pout", [(8, 8), (4, 8), (16, 4)])
@pytest.mark.parametrize("seed", range(4))
def test_cut_means_are_those_of_the_golden_model(seed, pin, pout):
    """Several parts, blocks, signs, residuals of one word and of two, tables; and what is moved is what is counted."""
    plan, program = mean_plan(pin, pout), whole_means(seed, tables=True)
    image = compiled(program, plan)
    pixels = np.random.default_rng(seed).integers(0, 256, program.input.shape)

    words = executed(image, pixels)

    assert_golden(image, pixels, words)
    assert any(descriptor["keeps"] and descriptor["resumes"] for descriptor in image.descriptors)
    predicted(image)
    named = (Stream.WEIGHTS, Stream.FEATURES, Stream.RESIDUALS, Stream.WIDE_RESIDUALS)
    read = sum(command["words"] for command in image.reads if command["stream"] in named)
    counted = traffic_of(image)
    assert read == sum(own.features + own.weights + own.residuals for own in counted)
    assert sum(command["words"] for command in image.writes) == sum(own.results for own in counted)


def test_means_that_the_ring_holds_are_not_cut():
    """One descriptor each, whatever the engine could."""
    image = compiled(whole_means(1, size=(5, 4)), mean_plan(feature_bytes=4096))

    assert not any(descriptor["keeps"] for descriptor in image.descriptors)


def test_other_engines_refuse_them_with_the_option_that_has_them():
    with pytest.raises(
        UserError, match=r"bytes of features, the engine has 512; build it with --feature-bytes [0-9]* or with --means"
    ):
        compiled(whole_means(1, size=(20, 10)), mean_plan(means=False))


def test_more_sums_than_are_kept_are_refused():
    """Of 66 channels in blocks of 4 rows."""
    with pytest.raises(UserError, match="are cut, and keep 17 sums; the engine has 16; build it with --pixels 32"):
        compiled(many_channels(66), mean_plan(4, 4, bits=16, pixels=16, feature_bytes=1024))


def many_channels(channels):
    """A mean of 30 x 5 pixels of so many channels."""
    b = Builder(np.random.default_rng(0), (channels, 30, 5))
    b.varied = lambda op: op
    b.emit(AveragePool(name="mean", source=b.last, size=(30, 5), stride=1))
    b.rescale(unsigned(8))
    return b.raw()


def test_kept_sums_go_on():
    """Parts of several means, one behind the other, with other taps' sums in between; only the last part is told."""
    plan, rng = mean_plan(4, 4, bits=16, pixels=16), random.Random(1)
    dut, script, wanted = PixelSums(plan, signed(24)), [], []
    totals = {slot: [0] * 4 for slot in range(5)}
    for part in range(3):
        for slot, total in totals.items():
            count = rng.randint(1, 6)
            for k in range(count):
                taps = [rng.randint(0, 65535) for _ in range(4)]
                total[:] = [a + b for a, b in zip(total, taps, strict=True)]
                script.append((slot, taps, k == 0, k == count - 1, part))
            script += [None] * 4
            if part == 2:
                wanted.append(list(total))

    def drive(cycle):
        ahead, soon, now = (script[k] if 0 <= k < len(script) else None for k in (cycle, cycle - 1, cycle - 2))
        inputs = {"fetch": ahead[0] if ahead else 0, "valid": 0, "pool": 0, "largest": 0}
        inputs["fresh"] = bool(soon) and not (soon[2] and soon[4] > 0)
        if now:
            inputs |= {"words": packed(now[1], 24), "valid": 1, "pool": 1, "first": now[2], "last": now[3],
                       "keeps": now[4] < 2}  # fmt: skip
        return inputs

    seen = cycles_of(dut, drive, len(script) + 4, "done", "sums")

    assert [fields(sums, plan.sum_bits, 4) for done, sums in seen if done] == wanted
