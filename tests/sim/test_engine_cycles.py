"""Predicted cycles against simulated ones over random engines, networks and memories; and their bound."""

import numpy as np
import pytest
from addax.common.errors import UserError
from addax.hdl.engine.compile.image import compiled
from addax.hdl.engine.cycles.model import predicted
from addax.hdl.engine.cycles.transfers import Memory
from addax.hdl.engine.plan import EnginePlan
from addax.sim.engine import run_engine
from engine_networks import engine_program, super_resolution
from engine_plans import SHAPES, random_engine
from engine_runs import assert_stored, checked_run, simulator_of

pytestmark = pytest.mark.slow
ENGINES = len(SHAPES)
NETWORKS = 30
"""On every engine: 210 cases together."""


def cases(engine, count, first=0):
    """So many images of networks that fit, each with pixels and a memory; every third uses areas again."""
    plan, found, seed = random_engine(engine), 0, first
    while found < count:
        seed += 1
        assert seed < first + 200, "too few networks fit"
        rng = np.random.default_rng([engine, seed])
        make = super_resolution if seed % 5 == 0 else engine_program
        try:
            image = compiled(make(5000 + 97 * engine + seed, bits=plan.bits), plan, reuse=seed % 3 == 0)
        except UserError as error:
            assert "needs" in str(error), error  # a row that does not fit buffers as small as these
            continue
        found += 1
        fmt = image.network.program.input.format
        pixels = rng.integers(fmt.lo, fmt.hi, image.network.program.input.shape, endpoint=True)
        yield seed, image, pixels, Memory(latency=int(rng.integers(1, 201)), slots=int(rng.integers(1, 33)))


@pytest.mark.parametrize("engine", range(ENGINES))
def test_cycles_are_those_that_were_predicted(engine):
    """Any network, any latency from 1 to 200, any number of bursts in memory, every width of memory: not one cycle
    differs, and not one element of a stored tensor."""
    for _, image, pixels, memory in cases(engine, NETWORKS):
        checked_run(image, pixels, memory)


@pytest.mark.parametrize("engine", range(ENGINES))
def test_random_latencies_stay_between_the_cycles_of_the_least_and_the_largest(engine):
    """Everything that an engine does waits for what is behind it in an order that no latency changes, so each thing
    happens at a sum and maximum of latencies, and more of them are never fewer cycles."""
    for seed, image, pixels, memory in cases(engine, 6, first=500):
        most, spread = memory.latency, 1 + seed % memory.latency
        least = predicted(image, Memory(latency=most - spread + 1, slots=memory.slots)).total
        run = run_engine(
            simulator_of(image.plan), image, pixels, latency=most, spread=spread, seed=seed + 1, slots=memory.slots
        )

        assert_stored(image, pixels, run.words)
        assert least <= run.cycles <= predicted(image, memory).total, (seed, memory, spread)


def test_cycles_of_a_port_of_512_bits_are_those_that_were_predicted():
    """The widest memory needs 32 lanes of 16 bits in a row; minutes to generate and to compile."""
    plan = EnginePlan(
        device="ecp5-85k", pin=32, pout=32, bits=16, memory_bits=512, burst=8, outstanding=3, pixels=64,
        feature_bytes=32 * 1024, weight_bytes=16 * 1024, kernels=("adder",),
    )  # fmt: skip
    for seed in range(4):
        rng = np.random.default_rng(seed)
        image = compiled(engine_program(7000 + seed, bits=16, kernels=plan.kernels), plan)
        memory = Memory(latency=int(rng.integers(1, 200)))
        pixels = rng.integers(0, 256, image.network.program.input.shape)

        checked_run(image, pixels, memory)
