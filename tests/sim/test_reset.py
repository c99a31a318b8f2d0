"""A reset in operation: whatever an accelerator is in the middle of, the images behind the reset are answered right."""

import pytest
from addax.hdl.dataflow.planning.fold import fold
from addax.hdl.folder.generate import generate
from addax.hdl.folder.vectors import sample_vectors
from addax.sim.cosim import run_job_in, simulator_of
from addax.sim.stall import Stall
from marks import guarded_but
from networks import random_built, random_images


@pytest.mark.slow
@pytest.mark.parametrize("seed", guarded_but([1, 2, 3]))
def test_images_behind_a_reset_are_answered_right(tmp_path, seed):
    """Protects stages, queues, windows and counters that a reset must empty; stalled streams, so that every stage is
    full of the image that is broken off. As many packets come as images, each as long as it was predicted."""
    program = random_built(seed)
    plan = fold(program, device="ecp5-85k", clock_mhz=50.0, lanes=40)
    build = generate(program, plan, tmp_path / "build", vectors=sample_vectors(program))
    simulator, pixels = simulator_of(build), random_images(program, 4, seed)
    beats = build.design.interface.beats
    for number, after in enumerate((1, beats // 2, beats - 1, beats + beats // 3, 3 * beats + 1)):
        folder = tmp_path / f"run{number}"
        folder.mkdir()
        stall = Stall(share=0.3, pattern=("both", "sink")[number % 2])
        found = run_job_in(folder, build, simulator, pixels, stall=stall, seed=seed, reset_after=after)
        assert (found["images"], found["mismatches"], found["class_mismatches"]) == (4, 0, 0), after
        assert len(found["ends"]) == 4
