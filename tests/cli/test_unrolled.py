"""Networks that are computed in one clock, from the command line: refused where they are larger than the device."""

import re

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
