"""Engines in RTL, built once for each Plan, and runs whose every stored tensor and number of cycles are checked."""

import tempfile
from functools import cache
from pathlib import Path

import numpy as np
from addax.hdl.engine.compile.asked import asked_by
from addax.hdl.engine.cycles.model import predicted
from addax.hdl.engine.cycles.transfers import Memory
from addax.hdl.folder.engine import generate_engine
from addax.quant import golden
from addax.sim.engine import engine_simulator, run_engine

__all__ = ["assert_stored", "checked_run", "simulator_of"]


@cache
def simulator_of(plan):
    """The simulator of an engine; tests that use the same one share it."""
    with tempfile.TemporaryDirectory() as folder:
        return engine_simulator(generate_engine(plan, Path(folder, "build")))


def assert_stored(image, pixels, words):
    """Every stored tensor that still stands in ``words`` of memory after a run on ``pixels`` is the golden model's, but
    for bands that were skipped."""
    expected = golden.run(image.network.program, pixels[None], trace=True).tensors
    asked = asked_by(image, pixels)
    for name in image.intact:
        rows = slice(None) if asked is None else image.computed(name, asked)
        assert np.array_equal(image.tensor(words, name)[:, rows], expected[name][0][:, rows]), name


def checked_run(image, pixels, memory=None):
    """A run whose tensors are those of the golden model, which takes the cycles that were predicted, and spends each of
    them as was predicted."""
    memory = memory or Memory()
    run = run_engine(simulator_of(image.plan), image, pixels, latency=memory.latency, slots=memory.slots)
    assert_stored(image, pixels, run.words)
    model = predicted(image, memory, asked_by(image, pixels))
    assert run.cycles == model.total, memory
    assert (run.spent == model.spent).all() and (run.together == model.together).all(), memory
    return run
