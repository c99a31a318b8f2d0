"""Toggles of an engine: sorted into the blocks that synthesis counts, and those of several runs together."""

import numpy as np
import pytest
from addax.common.errors import UserError
from addax.hdl.engine.blocks import BLOCK_OF_INSTANCE, JOINS, EngineNets
from addax.hdl.engine.compile.image import compiled
from addax.hdl.engine.cycles.model import predicted
from addax.hdl.folder.engine import generate_engine
from addax.sim import engine_activity
from addax.sim.activity import Activity, Toggles
from addax.sim.engine_activity import engine_activity_of, measure_engine_activity
from engine_networks import engine_program, small_plan

CORE = ("engine", "machine", "core")


@pytest.mark.parametrize("way, net, part, block", [
    ((*CORE, "lanes", "adder"), "rank0_3", "lanes", "lanes"), ((*CORE, "lanes"), "word0", "lanes", "trees"),
    ((*CORE, "lanes", "adder"), "_12", "lanes", None), ((*CORE, "sums_152"), "total0", "accumulators", "accumulators"),
    ((*CORE, "sums_152"), "_0_", "accumulators", None), ((*CORE, "issuer", "walk"), "row", "sequencer", "sequencer"),
    (CORE, "freed", JOINS, JOINS), ((), "m_axi_rready", JOINS, JOINS), (("front",), "address", "control", "control"),
    (("engine", "machine", "weights", "queue"), "level", "queue of weights", "queue of weights"),
])  # fmt: skip
def test_a_net_belongs_to_the_block_that_its_cells_are_counted_in(way, net, part, block):
    """A net without a name in the lanes is a lane's or a tree's, and what a memory gives toggles as what takes it."""
    owner = EngineNets()
    assert (owner.part(way), owner.block(way, net)) == (part, block)


def test_runs_are_counted_together():
    """Toggles add up; the nets are the same ones, so those of the run with most."""
    runs = [
        Activity(parts={"lanes": {"lanes": Toggles(toggles=5, nets=4)}}, cycles=100, images=None),
        Activity(parts={"lanes": {"lanes": Toggles(toggles=7, nets=3)}, "reader": {}}, cycles=90, images=None),
    ]
    found = engine_activity._together(runs)
    assert found == Activity(
        parts={"lanes": {"lanes": Toggles(toggles=12, nets=4)}, "reader": {}}, cycles=190, images=2
    )


def test_a_file_of_another_design_is_refused(tmp_path):
    """It has a `dut`, as our benches call every design, but none of an engine's blocks."""
    nets = "(NET\n(clk (T0 1) (T1 1) (TZ 0) (TX 0) (TB 0) (TC 20))\n(a (T0 1) (T1 1) (TZ 0) (TX 0) (TB 0) (TC 2))\n)"
    (tmp_path / "a.saif").write_text(f"(SAIFILE\n(DURATION 100)\n(INSTANCE dut\n{nets}\n)\n)\n")
    with pytest.raises(UserError, match="is of another design: it has no lanes, weights in use, accumulators"):
        engine_activity_of(tmp_path / "a.saif")


@pytest.mark.slow
@pytest.mark.guard
def test_every_block_of_a_running_engine_toggles(tmp_path):
    """Real SAIF of the RTL: names of Verilator's instances are those that the blocks are found by. Nothing toggles more
    than once per cycle on average, and a picture of noise makes the lanes livelier than a black one."""
    plan = small_plan()
    build, image = generate_engine(plan, tmp_path / "engine"), compiled(engine_program(5, bits=16), plan)
    shape = image.network.program.input.shape
    pictures = np.random.default_rng(0).integers(0, 256, (2, *shape))

    found = measure_engine_activity(build, image, pictures)
    black = measure_engine_activity(build, image, np.zeros((2, *shape), np.int64))

    assert found.images == 2 and 0 <= found.cycles - 2 * predicted(image).total < 100
    assert {*BLOCK_OF_INSTANCE.values(), JOINS} - {"vector unit"} == set(found.parts)  # which this engine has not
    for part, blocks in found.parts.items():
        for block, own in blocks.items():
            assert own.nets and 0 < own.rate(found.cycles) < 1, (part, block)
    assert {"lanes", "trees"} == set(found.parts["lanes"]) and {"features", JOINS} >= set(found.parts[JOINS])
    assert found.parts["lanes"]["lanes"].toggles > black.parts["lanes"]["lanes"].toggles
