"""Engines with second slopes, ties to even numbers and levels in RTL: every word of memory, and every cycle."""

from pathlib import Path

import numpy as np
import pytest
from addax.hdl.engine.compile.image import compiled
from addax.hdl.engine.cycles.transfers import Memory
from addax.hdl.engine.plan import EnginePlan
from addax.quant.onnx.read import import_onnx
from engine_activations import activations
from engine_executor import executed
from engine_networks import engine_program, small_plan
from engine_runs import checked_run

pytestmark = pytest.mark.slow
FILES = Path(__file__).parents[2] / ".." / "shared" / "data" / "qonnx"
KERNELS = ("adder", "mult", "shift", "xnor")
PLANS = {
    "4x4, 16 bit": small_plan(
        kernels=KERNELS, slopes=True, ties_even=True, levels=15, pixels=64, feature_bytes=4096, sum_bits=36,
        factor_bits=24,
    ),
    "8x8, 8 bit": small_plan(
        bits=8, pin=8, pout=8, kernels=KERNELS, slopes=True, ties_even=True, levels=7, pixels=64, feature_bytes=4096,
        factor_bits=24,
    ),
}  # fmt: skip


@pytest.mark.parametrize("plan", [pytest.param(plan, id=name, marks=pytest.mark.guard) for name, plan in PLANS.items()])
def test_random_networks_are_exact_to_the_word_and_to_the_cycle(plan):
    """Layers with slopes, ties and levels in any order and behind any kernel, and networks without: constants of other
    sizes come, results take other times, and each next layer waits for them."""
    slopes, levels = 0, 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        program = (engine_program if seed % 4 == 3 else activations)(seed, bits=plan.bits)
        image = compiled(program, plan)
        slopes += sum(layer.second is not None for layer in image.network.layers)
        levels += sum(layer.levels is not None for layer in image.network.layers)
        fmt = program.input.format
        pixels = rng.integers(fmt.lo, fmt.hi, program.input.shape, endpoint=True)
        memory = Memory(latency=int(rng.integers(1, 200)), slots=int(rng.integers(1, 12)))

        run = checked_run(image, pixels, memory)

        assert (run.words == executed(image, pixels)).all(), seed
    assert slopes > 5 and levels > 5


def test_published_networks_of_few_bits_are_exact():
    """A QONNX file whose thresholds no requantise equals, one whose factors have 24 bits, one that needs neither, on
    one build."""
    if not FILES.is_dir():
        pytest.skip(f"no {FILES}")
    plan = EnginePlan(
        device="xczu7ev", clock_mhz=200.0, kernels=("mult",), depthwise=3, levels=3, factor_bits=24
    )  # fmt: skip
    programs = {
        "unsw": import_onnx(FILES / "unsw_nb15-mlp-w2a2.onnx", input_scale=2.0, input_offset=-1.0),
        "tfc": import_onnx(FILES / "TFC_1W2A.onnx"),
        "espcn": import_onnx(FILES / "espcn_nn_resize_quant.onnx"),
    }
    for name, program in programs.items():
        image = compiled(program, plan)
        assert (name == "unsw") == any(layer.levels is not None for layer in image.network.layers)
        fmt, rng = program.input.format, np.random.default_rng(7)
        for _ in range(1 if name == "espcn" else 20):
            most = 1 if name == "unsw" else fmt.hi
            pixels = rng.integers(fmt.lo, most, program.input.shape, endpoint=True)

            checked_run(image, pixels)
