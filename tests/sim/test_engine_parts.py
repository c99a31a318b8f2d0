"""Engines whose words hold more than lanes read, or than rows make: whole networks, every word, every cycle."""

from pathlib import Path

import numpy as np
import pytest
from addax.common.errors import UserError
from addax.hdl.engine.compile.image import compiled
from addax.hdl.engine.cycles.transfers import Memory
from addax.hdl.engine.plan import EnginePlan
from addax.quant.quantize import quantize
from engine_choices import choosing, halves, routed
from engine_executor import executed
from engine_gates import joined_gates
from engine_networks import (
    bottlenecks,
    engine_program,
    gated,
    grouped_program,
    moving,
    small_plan,
    super_resolution,
)  # fmt: skip
from engine_runs import checked_run

pytestmark = pytest.mark.slow
SHARED = Path(__file__).parents[2] / ".." / "shared" / "data"
SMALL = {"bits": 8, "memory_bits": 64, "feature_bytes": 8192, "weight_bytes": 4096, "depthwise": 3}
RICH = {"product": True, "tables": 8, "choices": True, "predicates": 64, "slopes": True, "levels": 3}
PLANS = {
    "4x8": small_plan(pin=4, pout=8, **SMALL), "8x4": small_plan(pin=8, pout=4, **SMALL),
    "4x16, everything": small_plan(pin=4, pout=16, factor_bits=24, **SMALL, **RICH),
    "16x4, everything": small_plan(pin=16, pout=4, factor_bits=24, **SMALL, **RICH),
    "8x16, 16 bit, two beats": small_plan(pin=8, pout=16, **{**SMALL, "bits": 16, "memory_bits": 128}),
}  # fmt: skip
GUARDS = ("4x8", "8x4")


def networks_for(plan, seed):
    """Programs of every kind that the engine has, with how many pixels of each are tried."""
    bits = plan.bits
    found = [
        engine_program(seed, bits=bits), super_resolution(seed, bits=bits), moving(seed), bottlenecks(seed),
        grouped_program(seed, bits=bits, lanes=plan.channels),
    ]  # fmt: skip
    if plan.product:
        found += [gated(seed, bits=bits, table_bits=plan.tables), joined_gates(seed)]
    if plan.choices:
        found += [choosing(seed, bits=bits, lanes=plan.pout)]
    return found


@pytest.mark.parametrize(
    "plan",
    [pytest.param(plan, id=name, marks=pytest.mark.guard if name in GUARDS else ()) for name, plan in PLANS.items()],
)
def test_random_networks_are_exact_to_the_word_and_to_the_cycle(plan):
    """Stems, groups, depthwise layers, shuffles, gates and choices, any latency and number of bursts in memory; half of
    the images use areas again."""
    tried = 0
    for seed in range(3):
        rng = np.random.default_rng(seed)
        for program in networks_for(plan, seed):
            try:
                image = compiled(program, plan, reuse=seed % 2 == 1)
            except UserError as error:
                assert "needs" in str(error), error  # a row that does not fit
                continue
            tried += 1
            fmt = program.input.format
            pixels = rng.integers(fmt.lo, fmt.hi, program.input.shape, endpoint=True)

            run = checked_run(image, pixels, Memory(latency=int(rng.integers(1, 200)), slots=int(rng.integers(1, 12))))

            assert (run.words == executed(image, pixels)).all(), seed
    assert tried >= 12


@pytest.mark.parametrize("name", ["4x16, everything", "16x4, everything"])
def test_bands_that_nobody_asks_for_are_skipped(name):
    """In the cycles that were predicted for the picture."""
    plan = PLANS[name]
    for seed in range(2):
        program = routed(seed)
        image = compiled(program, plan)
        for pixels in halves(seed, program.input.shape):
            run = checked_run(image, pixels, Memory(latency=1 + 30 * seed))

            assert (run.words == executed(image, pixels)).all(), seed


@pytest.mark.parametrize("pin, pout", [(8, 16), (16, 8)])
def test_published_resnet_20_is_exact(pin, pout):
    """The published AdderNet weights on 128 lanes, an image of CIFAR-10, at 98 % of what the lanes can do."""
    if not SHARED.is_dir():
        pytest.skip(f"no {SHARED}")
    data = SHARED / "cifar10" / "cifar10_lossless_train4000.npz"
    program = quantize(
        "addernet-resnet20", kernel=None, bits=8, data_source=str(data),
        weights=SHARED / "pretrained_addernet" / "ResNet20-AdderNet-CIFAR10.pth",
    )  # fmt: skip
    plan = EnginePlan(device="xczu7ev", clock_mhz=200.0, pin=pin, pout=pout)
    image = compiled(program, plan)
    pixels = np.load(data)["train_x"][0].transpose(2, 0, 1).astype(np.int64)

    run = checked_run(image, pixels)

    assert program.macs() / plan.lanes / run.cycles >= 0.98
