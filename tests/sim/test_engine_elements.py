"""Engines that multiply tensors and look results up: whole networks, every word, every cycle."""

from dataclasses import replace

import numpy as np
import pytest
from addax.common.errors import UserError
from addax.hdl.engine.compile.image import compiled
from addax.hdl.engine.cycles.transfers import Memory
from addax.hdl.engine.plan import EnginePlan
from engine_executor import executed
from engine_gates import efficientnet_b0, joined_gates, tinynet_e
from engine_networks import gated, resnet_18, small_plan
from engine_plans import random_engine
from engine_runs import checked_run

pytestmark = pytest.mark.slow
PLANS = {
    "4x4, 16 bit": small_plan(product=True, tables=10),
    "8x8, 8 bit, products alone": small_plan(bits=8, pin=8, pout=8, product=True, factor_bits=24),
    "8x8, 8 bit, tables alone": small_plan(bits=8, pin=8, pout=8, tables=8, depthwise=2, feature_bytes=4096),
    "random 0": replace(random_engine(0), product=True, tables=8),
    "random 5": replace(random_engine(5), product=True, tables=8),
    "random 6": replace(random_engine(6), product=True, tables=9),
}
GUARDS = ("4x4, 16 bit",)


@pytest.mark.parametrize(
    "plan",
    [pytest.param(plan, id=name, marks=pytest.mark.guard if name in GUARDS else ()) for name, plan in PLANS.items()],
)
def test_random_networks_with_gates_are_exact_to_the_word_and_to_the_cycle(plan):
    """Factors of pixels and of channels, tables shared and not, any latency, number of bursts and width of memory."""
    found, seed = 0, 0
    while found < 10:
        seed += 1
        assert seed < 200, "too few networks fit"
        rng = np.random.default_rng(seed)
        program = gated(
            seed, bits=plan.bits, kernels=("adder", "mult"), table_bits=plan.tables or 8, products=plan.product,
            tables=plan.tables > 0,
        )  # fmt: skip
        try:
            image = compiled(program, plan, reuse=seed % 3 == 0)
        except UserError as error:
            assert "needs" in str(error), error  # a row that does not fit
            continue
        found += 1
        fmt = program.input.format
        pixels = rng.integers(fmt.lo, fmt.hi, program.input.shape, endpoint=True)
        memory = Memory(latency=int(rng.integers(1, 200)), slots=int(rng.integers(1, 33)))

        run = checked_run(image, pixels, memory)

        assert (run.words == executed(image, pixels)).all(), seed


def test_residuals_that_join_stored_products_are_exact():
    """Products of two maps and of a map and a gate, stored in two words each."""
    plan = PLANS["8x8, 8 bit, products alone"]
    for seed in range(4):
        program = joined_gates(seed)
        image = compiled(program, plan)
        pixels = np.random.default_rng(seed).integers(0, 256, program.input.shape)

        run = checked_run(image, pixels, Memory(latency=1 + 40 * seed))

        assert (run.words == executed(image, pixels)).all(), seed


@pytest.mark.parametrize(
    "make, cycles", [(tinynet_e, 357_155), (lambda: efficientnet_b0(96), 827_907)], ids=["tinynet-e", "efficientnet-b0"]
)
def test_published_networks_with_squeeze_and_excitation_are_exact(make, cycles):
    """TinyNet-E at its own size, EfficientNet-B0 on a smaller image, of 16 x 16 lanes: as docs/engine.md says."""
    plan = EnginePlan(device="xczu7ev", clock_mhz=200.0, depthwise=3, product=True, tables=8)
    image = compiled(make(), plan)

    run = checked_run(image, np.random.default_rng(1).integers(0, 256, image.network.program.input.shape))

    assert run.cycles == cycles


def test_one_build_runs_squeeze_and_excitation_and_a_residual_network():
    """The blocks of EfficientNet-B0 on small maps, then ResNet-18, then the first again, on the same simulator."""
    plan = EnginePlan(device="xczu7ev", clock_mhz=200.0, depthwise=3, product=True, tables=8)
    gates, residual = compiled(efficientnet_b0(64), plan), compiled(resnet_18(32), plan)
    assert any(layer.hold for layer in gates.network.layers)
    for image in (gates, residual, gates):
        program = image.network.program

        checked_run(image, np.random.default_rng(1).integers(0, 256, program.input.shape))
