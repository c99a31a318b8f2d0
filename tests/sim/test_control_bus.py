# amaranth: UnusedElaboratable=no
"""Control and status as software sees them: independent drivers on the ports of a small build under Verilator."""

import pytest
from bus_sim import build_of, run_bench, simulator


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


def test_axi_lite(compiled, tmp_path):
    """What each test of the bench protects stands there."""
    build, made = compiled("axi-lite")
    assert run_bench(build, made, "axi_bench", tmp_path) == 12


def test_wishbone(compiled, tmp_path):
    build, made = compiled("wishbone")
    assert run_bench(build, made, "wishbone_bench", tmp_path) == 3
