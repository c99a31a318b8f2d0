"""Stall patterns: who stops, how often, for how long; nothing that is computed may notice."""

import numpy as np
import pytest
from addax.common.errors import UserError
from addax.hdl.folder.generate import generate
from addax.sim.cosim import simulate
from addax.sim.stall import PATTERNS, Stall
from marks import guarded_but
from networks import random_images, random_plan, random_program


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A small network's build and images."""
    program = random_program(300)
    folder = tmp_path_factory.mktemp("stall") / "build"
    build = generate(program, random_plan(program, 300), folder, vectors=random_images(program, 1, 300))
    return build, random_images(program, 100, 300)


@pytest.mark.parametrize("share", guarded_but([0.01, 0.5, 0.99], 0.5))
@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_pattern_is_bit_exact_and_stalls_as_often_as_asked(small, pattern, share):
    """Protects the streams against one-sided and bursty stalls, and the figures against stalls that do not happen."""
    build, images = small

    outcome = simulate(build, images, stall=share, stall_pattern=pattern, seed=5)

    assert (outcome.images, outcome.mismatches, outcome.class_mismatches) == (100, 0, 0)
    # Of n independent cycles; cycles of bursts come some 16 or, at 99 %, 99 together.
    cycles = outcome.cycles / (2 * max(16, share / (1 - share)) if pattern == "burst" else 1)
    tolerance = 5 * (share * (1 - share) / cycles) ** 0.5
    source, sink = (share * (pattern != side) for side in ("sink", "source"))
    assert outcome.source_stalls == pytest.approx(source, abs=tolerance)
    assert outcome.sink_stalls == pytest.approx(sink, abs=tolerance)
    assert outcome.cycles_per_image == build.schedule.interval, "measured without stalls"


def test_without_stalls_none_are_counted(small):
    build, images = small
    outcome = simulate(build, images)
    assert (outcome.source_stalls, outcome.sink_stalls) == (0, 0)


@pytest.mark.parametrize("share", [0.01, 0.25, 0.5, 0.9, 0.99])
def test_bursts_are_geometric_with_the_share_that_was_asked_for(share):
    """The chain of the harness, solved: its steady share, and the mean of its bursts."""
    registers = Stall(share=share, pattern="burst").registers
    begin, stay = (registers[name] / 65536 for name in ("stall_in", "hold_in"))

    assert begin / (begin + 1 - stay) == pytest.approx(share, rel=0.02)
    assert 1 / (1 - stay) == pytest.approx(max(16, share / (1 - share)), rel=0.02)
    assert (registers["stall_out"], registers["hold_out"]) == (registers["stall_in"], registers["hold_in"])


def test_what_is_no_stall_is_said_in_one_line():
    with pytest.raises(UserError, match=r"stall must be a share in 0\.\.0\.99, not nan"):
        Stall(share=float(np.nan))
    with pytest.raises(UserError, match="unknown stall pattern 'wave'; known: both, source, sink, burst"):
        Stall(share=0.5, pattern="wave")
