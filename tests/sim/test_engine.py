"""Engines in RTL: whole networks through memory, every word of every stored tensor, and every cycle as predicted."""

from pathlib import Path

import numpy as np
import pytest
from addax.hdl.engine.compile.image import compiled
from addax.hdl.engine.cycles.transfers import Memory
from addax.hdl.engine.plan import EnginePlan
from addax.quant.published import cnv_w1a1
from addax.quant.quantize import quantize
from addax.sim.engine import run_engine
from engine_executor import executed
from engine_networks import (
    bottlenecks,
    edsr,
    engine_program,
    grouped_program,
    mobilenet_v2,
    moving,
    resnet_18,
    resnet_50,
    small_plan,
    super_resolution,
)
from engine_runs import checked_run, simulator_of

pytestmark = pytest.mark.slow
SHARED = Path(__file__).parents[2] / ".." / "shared" / "data"
PLANS = {
    "4x4, 16 bit": small_plan(),
    "8x8, 8 bit": small_plan(bits=8, pin=8, pout=8, burst=8, outstanding=3, kernels=("shift", "adder", "mult")),
    "4x4, two beats": small_plan(
        pin=8, pout=8, memory_bits=64, pixels=64, sum_bits=40, weight_bytes=2048, feature_bytes=8192
    ),
    "4x4, cells of ECP5": small_plan(fabric="ecp5"),
    "4x4, depthwise": small_plan(depthwise=3, pixels=64, feature_bytes=4096),
    "8x8, depthwise": small_plan(bits=8, pin=8, pout=8, depthwise=2, pixels=64, feature_bytes=4096),
}


@pytest.mark.guard
@pytest.mark.parametrize("plan", PLANS.values(), ids=list(PLANS))
def test_random_networks_are_exact_to_the_word_and_to_the_cycle(plan):
    """Any network, latency and number of bursts in memory: the memory afterwards is that of the second executor, and
    the run takes the cycles that the model says. Half of the images use areas again: the reader, which runs ahead, must
    not read what a later layer has written."""
    for seed in range(100, 112):
        rng = np.random.default_rng(seed)
        if plan.depthwise and seed % 2:
            kinds = (bottlenecks, moving, lambda seed: grouped_program(seed, bits=plan.bits, lanes=plan.pin))
            program = kinds[seed // 2 % 3](seed)
        else:
            program = (super_resolution if seed % 4 == 3 else engine_program)(seed, bits=plan.bits)
        image = compiled(program, plan, reuse=seed % 2 == 0)
        pixels = rng.integers(0, 256, program.input.shape)
        memory = Memory(latency=int(rng.integers(1, 200)), slots=int(rng.integers(1, 12)))

        run = checked_run(image, pixels, memory)

        assert (run.words == executed(image, pixels)).all(), seed


def test_error_of_the_memory_ends_the_run_with_its_code():
    """A bus error in the middle, in a read and in a write: the engine comes to rest and says which."""
    plan = PLANS["4x4, 16 bit"]
    program = engine_program(101, bits=16)
    image, pixels = compiled(program, plan), np.zeros(program.input.shape, np.int64)
    for faults, code in (({"fail_read": 1}, 1), ({"fail_read": 200}, 1), ({"fail_write": 5}, 2), ({}, 0)):
        assert run_engine(simulator_of(plan), image, pixels, faults=faults).code == code, faults


@pytest.mark.parametrize("bits", [8, 16])
def test_published_resnet_20_is_exact_at_98_per_cent(bits):
    """The published AdderNet weights on 16 x 16 lanes, images of CIFAR-10, a memory of 128 bits and 20 cycles."""
    if not SHARED.is_dir():
        pytest.skip(f"no {SHARED}")
    data = SHARED / "cifar10" / "cifar10_lossless_train4000.npz"
    program = quantize(
        "addernet-resnet20", kernel=None, weights=SHARED / "pretrained_addernet" / "ResNet20-AdderNet-CIFAR10.pth",
        bits=bits, data_source=str(data),
    )  # fmt: skip
    plan = EnginePlan(device="xczu7ev", clock_mhz=200.0, bits=bits)
    image = compiled(program, plan)
    macs = sum(layer.macs for layer in image.network.layers)
    assert macs == program.macs()
    for pixels in np.load(data)["train_x"][:3].transpose(0, 3, 1, 2).astype(np.int64):
        run = checked_run(image, pixels)

        assert macs / plan.lanes / run.cycles >= 0.98


@pytest.mark.parametrize(
    "make, share", [(resnet_18, 0.94), (resnet_50, 0.92), (edsr, 0.97), (mobilenet_v2, 0.64)],
    ids=["resnet-18", "resnet-50", "edsr", "mobilenet-v2"],
)  # fmt: skip
def test_one_build_runs_networks_of_any_size(make, share):
    """Maps that are many times the buffers, pools, branches, a pixel shuffle, depthwise layers, all in the build that
    runs squeeze-and-excitation, too (`test_engine_elements`)."""
    plan = EnginePlan(device="xczu7ev", clock_mhz=200.0, depthwise=3, product=True, tables=8)
    image = compiled(make(), plan)
    program = image.network.program
    pixels = np.random.default_rng(1).integers(0, 256, program.input.shape)

    run = checked_run(image, pixels)

    assert program.macs() / plan.lanes / run.cycles >= share


def test_published_binary_network_is_exact():
    """CNV-W1A1 on lanes of xnor and mult: thresholds as requantises, bits as elements, blocks that are not full."""
    if not SHARED.is_dir():
        pytest.skip(f"no {SHARED}")
    plan = EnginePlan(device="xczu7ev", kernels=("xnor", "mult"))
    image = compiled(cnv_w1a1(SHARED / "pretrained_bnn" / "cnvW1A1_cifar10_decoded.npz"), plan)
    data = SHARED / "cifar10" / "cifar10_lossless_train4000.npz"
    for pixels in np.load(data)["train_x"][:10].transpose(0, 3, 1, 2).astype(np.int64):
        checked_run(image, pixels)
