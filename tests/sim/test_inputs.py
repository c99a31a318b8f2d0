"""BUILDs whose input is no image of bytes: Verilator, the plain bench and the report take them as any other."""

import shutil
import subprocess

import pytest
from addax.api import Network
from addax.common.errors import UserError
from inputs import FORMATS, values_for, with_input


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fmt", "first"), list(zip(FORMATS, ("mult", "requantise", "adder", "pool"), strict=True)), ids=str
)
def test_build_is_bit_exact_in_verilator_and_in_its_own_bench(tmp_path, fmt, first):
    """Every word of every stage, and the bench of plain Verilog with stimulus of the format."""
    program = with_input(fmt, first)
    build = Network(program=program).generate("ecp5-25k", lanes=20, out=tmp_path / "build")

    found = build.simulate(values_for(program, 30), trace_stages=True, stall=20)

    assert found.outcome.images == 30 and found.outcome.mismatches == 0
    assert all(stage.first is None for stage in found.outcome.stages)
    if shutil.which("iverilog"):
        bench = [f"build/addax{part}.v" for part in ("_testbench", "_harness", "")]
        subprocess.run(["iverilog", "-g2005", "-o", "test", *bench], cwd=tmp_path, check=True)
        said = subprocess.run(["vvp", "test"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
        assert "PASS: 4 images" in said
    assert build.report().keys()


@pytest.mark.slow
def test_simulation_refuses_values_that_the_format_does_not_hold(tmp_path):
    program = with_input(FORMATS[1], "mult")
    build = Network(program=program).generate("ecp5-25k", lanes=20, out=tmp_path / "build")

    with pytest.raises(UserError, match=r"pixels must be uint4 of shape \(N, 2, 4, 4\), not int64 .* in 1..16"):
        build.simulate(values_for(program, 2) + 1)
    with pytest.raises(UserError, match="the network takes uint4, and data sets hold unsigned bytes"):
        build.simulate("digits")
