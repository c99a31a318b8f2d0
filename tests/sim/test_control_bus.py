# amaranth: UnusedElaboratable=no
"""Control and status as software sees them: independent drivers on the ports of a small build under Verilator."""

import json

import pytest
from bus_sim import build_of, raw_build, run_bench, simulator


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """A build with a bus, and its simulator; each made once."""
    made = {}

    def make(control):
        if control not in made:
            folder = tmp_path_factory.mktemp(control)
            build = build_of(folder / "build", control)
            (folder / "simulator").mkdir()
            made[control] = build, simulator(build, folder / "simulator")
        return made[control]

    return make


@pytest.mark.slow
@pytest.mark.guard
def test_axi_lite(compiled, tmp_path):
    """What each test of the bench protects stands there."""
    build, made = compiled("axi-lite")
    assert run_bench(build, made, "axi_bench", tmp_path) == 12


@pytest.mark.slow
@pytest.mark.guard
def test_wishbone(compiled, tmp_path):
    build, made = compiled("wishbone")
    assert run_bench(build, made, "wishbone_bench", tmp_path) == 3


@pytest.mark.slow
@pytest.mark.guard
def test_axi_lite_beside_a_raw_result(tmp_path):
    """Counters and reload of a build without scores, with moves."""
    build = raw_build(tmp_path / "build", "axi-lite")
    (tmp_path / "simulator").mkdir()
    (tmp_path / "run").mkdir()
    assert {"addax_moved_pad"} <= {memory["name"] for memory in _registers(build)["memories"]}

    assert run_bench(build, simulator(build, tmp_path / "simulator"), "raw_bench", tmp_path / "run") == 3


def _registers(build):
    return json.loads((build.path / "registers.json").read_text())
