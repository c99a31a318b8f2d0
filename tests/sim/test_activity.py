"""Activity files: whose toggles are counted, for which block, and files that are of something else."""

from types import SimpleNamespace

import pytest
from addax.common.errors import UserError
from addax.hdl.dataflow.blocks import BLOCK_OF
from addax.hdl.family import Part
from addax.hdl.folder.generate import generate
from addax.sim.activity import Activity, Toggles, activity_of, measure_activity, read_saif
from networks import random_images, random_plan, random_program


def net(name, toggles):
    return f"({name} (T0 1) (T1 1) (TZ 0) (TX 0) (TB 0) (TC {toggles}))"


def instance(name, nets, *below):
    inner = "\n".join([*(net(*one) for one in nets), *below])
    return f"(INSTANCE {name}\n(NET\n{inner}\n)\n)"


ARRAY = instance("array", [("rank0_1\\[0\\]", 5), ("rank2_0\\[1\\]", 7), ("$12\\[0\\]", 900), ("w1_0", 2), ("w", 4)])
CONV1 = instance("stage_conv1", [("address\\[0\\]", 11), ("clk", 200)], ARRAY, instance("window", [("row", 13)]))
BELOW = [CONV1, instance("split_conv1", [("held", 17)]), instance("stage_idle", [("done", 0)])]
PIPELINE = instance("pipeline", [("own", 3), ("still", 0), ("clk", 200)], *BELOW)
SAIF = f"(SAIFILE\n(DURATION 100)\n{instance('top', [('outside', 1000)], instance('dut', [], PIPELINE))}\n)\n"


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "a.saif"
    file.write_text(SAIF)
    return file


def test_toggles_are_sorted_into_blocks(path):
    """A lane's registers are not a tree's; sums without a name in an array are nobody's; clocks and what lies outside
    do not count at all, nor do nets at rest."""
    found = read_saif(path, "pipeline", BLOCK_OF)

    assert found.cycles == 100
    assert found.parts == {
        "": {"": Toggles(toggles=3, nets=1)},
        "stage_conv1": {
            "control": Toggles(toggles=11, nets=1),
            "lanes": Toggles(toggles=7, nets=2),
            "trees": Toggles(toggles=7, nets=1),
            "weights": Toggles(toggles=4, nets=1),
            "window": Toggles(toggles=13, nets=1),
        },
        "split_conv1": {"": Toggles(toggles=17, nets=1)},
        "stage_idle": {},
    }
    assert found.parts["stage_conv1"]["lanes"].rate(found.cycles) == 7 / 2 / 100
    assert Toggles(toggles=0, nets=0).rate(10) == 0


@pytest.mark.parametrize("stages, message", [
    (["conv1", "idle"], None),
    (["conv1", "conv2"], "is of another design: it has no stage_conv2, but stage_conv1, stage_idle; without it"),
])  # fmt: skip
def test_a_file_of_another_design_is_refused(path, stages, message):
    parts = [Part(name=name, instance=f"stage_{name}", content=None) for name in stages]
    build = SimpleNamespace(design=SimpleNamespace(inner="pipeline", parts=parts, block_of=BLOCK_OF))

    if message is None:
        assert activity_of(build, path, images=3).images == 3
    else:
        with pytest.raises(UserError, match=message):
            activity_of(build, path)


@pytest.mark.parametrize("content, message", [
    (None, "cannot read activity file .*missing.saif: No such file or directory; without it, --power simulates"),
    (b"\xff\xfe\x00", "is not a SAIF file"),
    (b"", "holds no duration, so it is no whole SAIF file"),
    (SAIF.replace("pipeline", "other").encode(), "holds no activity of 'pipeline'"),
    (SAIF.replace("TC 200", "TC 0").encode(), "the clock of 'pipeline' never ticks"),
])  # fmt: skip
def test_a_file_that_says_nothing_is_refused(tmp_path, content, message):
    file = tmp_path / "missing.saif"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(UserError, match=message):
        read_saif(file, "pipeline", BLOCK_OF)


@pytest.mark.slow
@pytest.mark.guard
def test_activity_follows_the_images(tmp_path):
    """Toggles come from the simulation: black images toggle less than noise; every stage is seen."""
    program = random_program(300)
    plan = random_plan(program, 300)
    build = generate(program, plan, tmp_path / "build", vectors=random_images(program, 1, 300))
    noise = random_images(program, 4, 2)

    busy, still = measure_activity(build, noise), measure_activity(build, noise * 0)

    assert {f"stage_{stage.name}" for stage in build.plan.stages} | {"packet"} <= set(busy.parts)
    assert total(still) < total(busy)
    assert busy.images == 4 and busy.cycles > 4 * build.schedule.interval


def total(activity: Activity) -> int:
    return sum(own.toggles for blocks in activity.parts.values() for own in blocks.values())
