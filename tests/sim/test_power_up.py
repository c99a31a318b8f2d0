"""Registers power up with anything, and reset makes that good: no score depends on what stood in them.

An FPGA loads registers with the values that Verilog gives them; an ASIC does not, and a reset in operation finds
others.
"""

import random
import re

import pytest
from addax.hdl.dataflow.planning.fold import fold
from addax.hdl.folder.build import Build
from addax.hdl.folder.generate import generate
from addax.hdl.folder.vectors import sample_vectors
from addax.sim.cosim import simulate
from networks import random_built, random_images

REGISTER = re.compile(r"^(\s*reg (?:signed )?(?:\[(\d+):0\] )?\\?\S+ ?= )\d+'[hbd][0-9a-fA-FxX]+;$", re.MULTILINE)
"""A register with the value with which it powers up, as the Verilog of a BUILD says it."""


def scrambled(text, seed):
    """``text`` with any values in its registers, and how many registers there are."""
    rng = random.Random(seed)

    def anything(found):
        bits = int(found[2] or 0) + 1
        return f"{found[1]}{bits}'h{rng.getrandbits(bits):x};"

    return REGISTER.subn(anything, text)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [pytest.param(1, marks=pytest.mark.guard), 2, 3])
def test_scores_do_not_depend_on_power_up(tmp_path, monkeypatch, seed):
    """Protects a reset that leaves something out: stalled streams, two sets of values that registers begin with."""
    program = random_built(seed)
    plan = fold(program, device="ecp5-85k", clock_mhz=50.0, lanes=40)
    build = generate(program, plan, tmp_path / "build", vectors=sample_vectors(program))
    verilog, harness = build.sources
    pixels = random_images(program, 4, seed)
    for values in (10 * seed, 10 * seed + 1):
        text, count = scrambled(verilog.read_text(), values)
        assert count > 20
        changed = tmp_path / f"changed{values}.v"
        changed.write_text(text)
        monkeypatch.setattr(Build, "sources", property(lambda self, own=changed: (own, harness)))
        outcome = simulate(build, pixels, stall=0.3, seed=values)
        assert outcome.mismatches == 0 and outcome.images == len(pixels)
        monkeypatch.undo()
