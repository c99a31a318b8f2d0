"""What belongs to which block: names as synthesis and simulation give them."""

import pytest
from addax.hdl.blocks import BLOCKS
from addax.hdl.dataflow.blocks import BLOCK_OF
from addax.hdl.dataflow.build import bind
from addax.hdl.folder.generate import generate
from addax.reports.devices.devices import device
from addax.reports.devices.resources import Resources
from addax.reports.synth.synth import synthesise
from networks import random_images, random_plan, random_program


@pytest.mark.parametrize("name, register, block", [
    ("array.rank0_26_TRELLIS_FF_Q_3", True, "lanes"),
    ("array.rank2_0_TRELLIS_FF_Q_1_DI_CCU2C_S0", False, "trees"),
    ("array.row1_lane9_borrow", False, "lanes"),
    ("array.carry_row0_lane3_level1_2_0", False, "lanes"),
    ("array.carry_row0_level1_2_0", False, "trees"),
    ("array2.total0_TRELLIS_FF_Q", True, "trees"),
    ("array.sums", True, "trees"),
    ("array.w0_14_TRELLIS_FF_Q", True, "lanes"),
    ("array.w0_14_TRELLIS_FF_Q_DI_LUT4_Z", False, "weights"),
    ("array.x7", True, "lanes"),
    ("array.x_TRELLIS_FF_Q_102_DI_LUT4_Z", False, "window"),
    ("array.x", True, "window"),
    ("array.w", True, "weights"),
    ("array.valid_1_2_3_TRELLIS_FF_Q", True, "control"),
    ("array.done", True, "control"),
    ("requantise.factors.memory.0.0", True, "requantise"),
    ("threshold.levels", True, "requantise"),
    ("weights.memory.0.0", True, "weights"),
    ("window.bank3.memory", True, "window"),
    ("pad$49.data", False, "window"),
    ("pad_49.data", False, "window"),
    ("join_.o__valid", True, "queues"),
    ("residual.fifo.level", True, "queues"),
    ("wait1.fifo.level", True, "queues"),
    ("address_TRELLIS_FF_Q", True, "control"),
    ("$auto$alumacc$12", False, "control"),
])  # fmt: skip
def test_names(name, register, block):
    assert BLOCK_OF.cell(name, register=register) == block
    assert block in BLOCKS


@pytest.mark.parametrize("name", ["ecp5-45k", "xc7z020"])
@pytest.mark.slow
@pytest.mark.guard
def test_blocks_add_up_to_their_stage(name, tmp_path):
    """Every cell of a stage is in one block, and cells have names that say which: what nobody named would all be
    control."""
    program = random_program(300)
    build = generate(
        program, random_plan(program, 300), tmp_path / "build", vectors=random_images(program, 1, 300)
    )  # fmt: skip

    found = synthesise(build, device(name))

    for part, cells in found.parts.items():
        assert sum(found.blocks[part].values(), Resources()) == cells
    for stage in bind(program, build.plan):
        own = found.blocks[stage.stage.name]
        assert set(own) <= set(BLOCKS)
        assert own["control"].lut < found.parts[stage.stage.name].lut / 2
        if stage.stage.activation is not None:
            assert own["requantise"].lut > 0 and own["requantise"].ff > 0
