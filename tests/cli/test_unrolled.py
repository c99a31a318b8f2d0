"""Networks that are computed in one clock, from the command line: too large ones, and those without handshake."""

import json
import re

import numpy as np
import pytest
from addax.quant.files.archive import save_program
from perceptrons import perceptron


@pytest.fixture
def wide(tmp_path):
    """A perceptron of 120 weights, which are fixed."""
    path = tmp_path / "wide.addax"
    save_program(path, perceptron("mult", (10, 8, 5), seed=1))
    return path


@pytest.mark.parametrize("goal, most", [("--lanes", 10_000), ("--fps", 50e6)])
def test_a_design_larger_than_the_device_is_refused_with_one_that_fits(run, wide, goal, most):
    """One line: what is needed, there and missing, and the option that asks for a design that is built."""
    told = ("generate", wide, "--device", "ice40-hx1k", "--fixed-weights", "--multipliers", "lut", "-o", "build")

    status, out, err = run(*told, goal, most)

    lines = [line for line in err.splitlines() if line.startswith("addax: ")]
    found = re.fullmatch(
        r"addax: ice40-hx1k is too small for this design, by estimate: LUT: [\d,]+ needed, 1,280 there, [\d,]+ missing"
        r"(?:; [^;]+ missing)*; the fastest that fits: (--lanes|--fps) (\d+)",
        lines[-1],
    )  # fmt: skip
    assert (status, out) == (1, "") and found is not None
    status, *_ = run(*told, found[1], found[2])
    assert status == 0


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.addax"
    save_program(path, perceptron("mult", (6, 5, 3), seed=1))
    return path


def test_a_stream_without_handshake(run, small):
    """The clock is its pace; plan and manifest say it, and what would need a handshake is refused in one line."""
    status, out, _ = run("generate", small, "--fixed-weights", "--stream", "none", "--json", "-o", "build")

    made = json.loads(out)
    assert (status, made["predicted_cycles_per_image"], made["plan"]["stream"]) == (0, 1, "none")
    again = ("generate", small, "-o", "other")
    refusals = {
        ("--stream", "none"): "nothing waits, but stage 'dense0' is no circuit of constants: its weights are not fixed",
        ("--stream", "none", "--fixed-weights", "--lanes", "4"): "nothing waits, but stage 'dense0' is no circuit of",
        ("--stream", "none", "--fixed-weights", "--control", "axi-lite"): "registers behind axi-lite stop its streams",
        ("--stream", "avalon"): "unknown stream 'avalon'; known: axi, none",
    }
    for options, message in refusals.items():
        status, _, err = run(*again, *options)
        assert (status, message in err, "Traceback" in err) == (1, True, False), (options, err)
    status, _, err = run("generate", "--arch", "engine", "--stream", "none", "-o", "other")
    assert status == 1 and "--stream none is for an unrolled network" in err
    status, _, err = run("bitstream", "build")
    assert status == 1 and "no handshake (--stream none), so a serial line cannot wait for it" in err
    pixels = np.zeros((2, 1, 1, 6), np.uint8)
    np.savez("six.npz", test_x=pixels, test_y=np.zeros(2, np.int64))
    status, _, err = run("simulate", "build", "--data", "six.npz", "--stall", "0.3")
    assert status == 1 and "its sink cannot stall it; let the source alone: source, not both" in err


@pytest.mark.slow
def test_a_stream_without_handshake_is_simulated(run, small):
    """Every stage and every word is right, after as many cycles as predicted, whatever pauses the source makes."""
    assert run("generate", small, "--fixed-weights", "--stream", "none", "--device", "xc7z020", "-o", "build")[0] == 0
    pixels = np.random.default_rng(0).integers(0, 256, (30, 1, 1, 6), dtype=np.uint8)
    np.savez("six.npz", test_x=pixels, test_y=np.zeros(30, np.int64))
    told = ("simulate", "build", "--data", "six.npz", "--json", "--jobs", "1")

    status, out, _ = run(*told, "--trace-stages", "--perfetto", "trace.json")

    found = json.loads(out)
    assert (status, found["bit_exact"], found["cycles_per_image"]) == (0, True, 1)
    status, out, _ = run(*told, "--stall", "0.4", "--stall-pattern", "source")
    stalled = json.loads(out)
    assert (status, stalled["bit_exact"]) == (0, True)
    assert stalled["cycles_first_image"] == found["cycles_first_image"] == found["predicted_cycles_first_image"]
