# amaranth: UnusedElaboratable=no
"""Plans: what is refused and how it says so, JSON there and back, and queues and rings that cost no cycle."""

import json
from dataclasses import replace
from math import lcm

import numpy as np
import pytest
from addax.common.errors import UserError
from addax.common.files import write_json
from addax.hdl.dataflow.build import bind, default_stage_plan
from addax.hdl.dataflow.pipeline import Pipeline
from addax.hdl.dataflow.plan import Plan, StagePlan
from addax.hdl.dataflow.planning.queues import with_queues
from addax.hdl.dataflow.schedule import schedule
from addax.hdl.dataflow.stages import stages_of
from addax.hdl.interface import expected_beats, pack_pixels
from addax.quant import golden
from addax.quant.formats import unsigned
from addax.quant.program import Concat, Flatten, MaxPool, PixelShuffle, Program, SpatialShift, Upsample
from networks import Builder, random_images, random_plan, random_program
from streaming import transfer

STAGE = StagePlan(name="conv1", pe=2, simd=1, taps=1, requantisers=1, rows=9, queue=9)
PLAN = Plan(family="dataflow", device="ecp5-45k", clock_mhz=50.0, fixed_weights=False, stages=(STAGE,))


def small_program():
    """conv1: 3x3, 2 to 6 channels; pool3: 2x2; conv5: dense, 6 to 4."""
    b = Builder(np.random.default_rng(5), (2, 4, 4))
    b.convolution("adder", 6, size=3)
    b.requantise(unsigned(4))
    b.emit(MaxPool(name="pool3", source=b.last, size=2, stride=2))
    b.emit(Flatten(name="flatten", source=b.last))
    b.convolution("mult", 4)
    b.requantise(None, scores=True)
    return b.program()


@pytest.fixture(scope="module")
def small():
    program = small_program()
    return program, plan_for(program)


def plan_for(program, change=None):
    """The least fold of every stage, with the changes that ``change`` holds by name of a stage."""
    folds = []
    for stage in stages_of(program):
        plan = default_stage_plan(stage, pe=1, simd=1, taps=1)
        folds.append(replace(plan, **(change or {}).get(stage.name, {})))
    return Plan(family="dataflow", device="ecp5-45k", clock_mhz=50.0, fixed_weights=False, stages=tuple(folds))


@pytest.mark.parametrize("key", ["pe", "simd", "taps", "lines", "blocks", "requantisers", "rows", "queue"])
@pytest.mark.parametrize("value", [0, -3, 1.5, 2.0, "2", None, True, float("nan")])
def test_every_number_of_a_stage_is_a_positive_integer(key, value):
    with pytest.raises(ValueError, match=f"{key} of stage 'conv1' must be a positive integer, not {value!r}"):
        replace(STAGE, **{key: value})


@pytest.mark.parametrize("family", ["systolic", "", None, 3])
def test_an_unknown_family_is_refused(family):
    with pytest.raises(ValueError, match=f"architecture must be one of dataflow, not {family!r}"):
        replace(PLAN, family=family)


@pytest.mark.parametrize("clock", [0, -1, float("nan"), float("inf"), 10_001, "50", None])
def test_an_impossible_clock_is_refused(clock):
    with pytest.raises(ValueError, match=f"clock must be a positive number of MHz, not {clock!r}"):
        replace(PLAN, clock_mhz=clock)


@pytest.mark.parametrize("seed", range(5))
def test_a_plan_survives_json(seed, tmp_path):
    plan = random_plan(random_program(seed), seed, fixed_weights=bool(seed % 2))

    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
    write_json(tmp_path / "plan.json", plan.to_json())
    assert Plan.read(tmp_path / "plan.json") == plan


def test_plans_are_hashable():
    """They key caches."""
    assert len({PLAN, replace(PLAN), replace(PLAN, clock_mhz=60.0)}) == 2


@pytest.mark.parametrize(
    "change, message",
    [
        ({"family": "systolic"}, "architecture must be one of dataflow, not 'systolic'"),
        ({"clock_mhz": 0}, "clock must be a positive number of MHz, not 0"),
        ({"clock_mhz": None}, "clock must be a positive number of MHz, not None"),
        (
            {"colour": "red"},
            "the plan has an unknown key 'colour'; known: family, device, clock_mhz, fixed_weights, stages",
        ),
        ({"stages": None}, "stages must be a list, not None"),
        ({"stages": [3]}, "a stage must be an object of keys and values, not 3"),
        ({"stages": [{"name": "conv1"}]}, "stage 'conv1' lacks 'pe'; it must divide the number of output channels"),
        (
            {"stages": [{"name": "conv1", "pe": 3, "blocks": 2, "simd": 1, "taps": 1}]},
            r"stage 'conv1' lacks 'requantisers'; it must divide pe \* blocks = 6",
        ),
        (
            {"stages": [{**vars(STAGE), "height": 2}]},
            "stage 'conv1' has an unknown key 'height'; known: name, pe, simd, taps, requantisers",
        ),
        ({"stages": [{**vars(STAGE), "simd": 0}]}, "simd of stage 'conv1' must be a positive integer, not 0"),
        ({"stages": [{**vars(STAGE), "queue": 2.5}]}, "queue of stage 'conv1' must be a positive integer, not 2.5"),
        ({"fixed_weights": "no"}, "fixed_weights"),
        ({"fixed_weights": None}, "fixed_weights"),
        ({"device": 5}, "device"),
        ({"stages": [{**vars(STAGE), "name": 5}]}, "name"),
    ],
)
def test_an_edited_plan_that_is_impossible_is_refused(change, message):
    """Also where the mistake would only show later: ``"no"`` is not false."""
    with pytest.raises(UserError, match=f"not a plan: .*{message}"):
        Plan.from_json({**PLAN.to_json(), **change})


@pytest.mark.parametrize("key", ["family", "device", "clock_mhz", "fixed_weights", "stages"])
def test_a_plan_that_lacks_a_value_is_refused(key):
    value = PLAN.to_json()
    del value[key]

    with pytest.raises(UserError, match=f"not a plan: .*{key}"):
        Plan.from_json(value)


@pytest.mark.parametrize("value", [None, 3, "plan", [], [1, 2], {}])
def test_foreign_values_are_no_plan(value):
    with pytest.raises(UserError, match="not a plan: "):
        Plan.from_json(value)


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "cannot read plan .*No such file"),
        (b"", "is not a plan: "),
        (b'{"family": ', "is not a plan: "),
        (b"\xff\xfe\x00", "is not a plan: "),
        (b"[]", "not a plan: "),
        (b'{"kind": "build"}', "not a plan: .*stages"),
    ],
    ids=["missing", "empty", "cut off", "binary", "a list", "another file of ours"],
)
def test_a_file_that_is_no_plan_is_refused(content, message, tmp_path):
    path = tmp_path / "plan.json"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(UserError, match=message):
        Plan.read(path)


def test_a_folder_is_no_plan(tmp_path):
    with pytest.raises(UserError, match=r"cannot read plan .*directory"):
        Plan.read(tmp_path)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"conv1": {"pe": 4}}, "pe of 'conv1' must divide 6 channels, not be 4"),
        ({"conv1": {"pe": 12}}, "pe of 'conv1' must divide 6 channels, not be 12"),
        ({"conv5": {"pe": 3}}, "pe of 'conv5' must divide 4 channels, not be 3"),
        ({"conv1": {"simd": 3}}, "stage 'conv1': simd must divide 2 channels, not be 3"),
        ({"pool3": {"simd": 4}}, "stage 'pool3': simd must divide 6 channels, not be 4"),
        ({"conv1": {"taps": 2}}, "stage 'conv1': taps must be 1 or 3, the width of the window, not 2"),
        ({"pool3": {"taps": 2}}, "taps of pool 'pool3' must be 1, not 2"),
        ({"pool3": {"pe": 2}}, "pe of pool 'pool3' must be 1, not 2"),
        ({"conv1": {"pe": 6, "requantisers": 4, "queue": 99}}, "requantisers of 'conv1' must divide 6, not be 4"),
        ({"pool3": {"requantisers": 2}}, "requantisers of 'pool3' must divide 1, not be 2"),
        ({"conv5": {"pe": 4, "simd": 6, "queue": 99}},
         "1 requantisers of 'conv5' take 4 cycles for a group, but a group comes every 1"),
        ({"conv1": {"rows": 3}}, "stage 'conv1': rows must be at least 4 and a multiple of 1, not 3"),
        ({"pool3": {"rows": 2}}, "stage 'pool3': rows must be at least 3 and a multiple of 1, not 2"),
        ({"conv1": {"pe": 6, "queue": 5}}, "queue of 'conv1' must hold a group, 6 beats, not 5"),
        ({"pool3": {"simd": 6}, "conv1": {"pe": 3, "queue": 1}}, "queue of 'conv1' must hold a group, 2 beats, not 1"),
    ],
)  # fmt: skip
def test_every_impossible_fold_is_refused_by_name(change, message, small):
    program, _ = small

    with pytest.raises(UserError, match=f"^the plan does not fit the program: {message}"):
        bind(program, plan_for(program, change))


def moving_program():
    """conv1: 1 to 4 channels; move3: shift; cat4: both, 8 channels; shuffle: by 2; cat6: 2 and 4 channels."""
    b = Builder(np.random.default_rng(5), (1, 4, 4))
    b.convolution("adder", 4)
    b.requantise(unsigned(4))
    made = b.last
    b.emit(SpatialShift(name="move3", source=made, offsets=np.array([[0, 1], [1, 0], [0, 0], [2, -2]])))
    b.emit(Concat(name="cat4", source="move3", others=(made,)))
    b.emit(PixelShuffle(name="shuffle", source="cat4", factor=2))
    b.emit(Upsample(name="larger", source=made, factor=2))
    b.emit(Concat(name="cat7", source="shuffle", others=("larger", "shuffle", "shuffle")))
    b.rescale(unsigned(6))
    b.emit(MaxPool(name="pool9", source=b.last, size=2, stride=2))
    return b.raw()


@pytest.mark.parametrize(
    "change, message",
    [
        ({"move3": {"simd": 3}},
         "stage 'move3': simd must be one of 1, 2, 4 for the spatial shift of 4 channels, not 3"),
        ({"move3": {"rows": 2}}, "stage 'move3': rows must be at least 3, not 2"),
        ({"move3": {"pe": 2}}, "pe of move 'move3' must be 1, not 2"),
        ({"move3": {"requantisers": 4, "simd": 4}}, "requantisers of move 'move3' must be 1, not 4"),
        ({"move3": {"structure": "carry"}}, "move 'move3' has no lanes, so no structure 'carry'"),
        ({"move3": {"joins": (3,)}}, "joins of 'move3' must be 0 depths, not 1"),
        ({"shuffle": {"simd": 3}},
         "stage 'shuffle': simd must be one of 1, 2, 4, 8 for the pixel shuffle of 8 channels by 2, not 3"),
        ({"cat4": {"simd": 3}}, "stage 'cat4': simd must be one of 1, 2, 4, 8 to join 4 and 4 channels, not 3"),
        ({"cat7": {"simd": 4}}, "stage 'cat7': simd must be one of 1, 2, 10 to join 2 and 4 and 2 and 2 channels"),
        ({"cat4": {"rows": 2}}, "rows of join 'cat4' must be 1, not 2"),
        ({"cat4": {"joins": (3,)}}, "joins of 'cat4' must be 2 depths, not 1"),
        ({"cat4": {"residual": 2}}, "residual of 'cat4' must be 0 beats, it has none, not 2"),
    ],
)  # fmt: skip
def test_every_impossible_fold_of_a_move_or_join_is_refused_by_name(change, message):
    program = moving_program()

    with pytest.raises(UserError, match=f"^the plan does not fit the program: {message}"):
        bind(program, plan_for(program, change))


@pytest.mark.parametrize(
    "make, outputs, message",
    [
        (moving_program, 7, r"7 outputs per beat, but they do not divide 160$"),
        (small_program, 2, r"2 outputs per beat, but a classifier gives one score$"),
    ],
)
def test_impossible_widths_of_the_output_are_refused(make, outputs, message):
    program = make()

    with pytest.raises(UserError, match=f"^the plan does not fit the program: {message}"):
        bind(program, replace(plan_for(program), outputs=outputs))


@pytest.mark.parametrize("joins", [(0,), (1.5,), ("2",), (True,), 3, "23"])
def test_depths_of_a_join_are_positive_integers(joins):
    with pytest.raises(ValueError, match="joins of stage 'conv1' must be positive integers, not "):
        replace(STAGE, joins=joins)


def test_the_least_fold_is_accepted(small):
    """The control to the test above: it is the changes that are refused."""
    program, plan = small

    assert [build.stage.name for build in bind(program, plan)] == ["conv1", "pool3", "conv5"]


@pytest.mark.parametrize(
    "choose, planned",
    [
        (lambda stages: stages[:2], "conv1, pool3"),
        (lambda stages: stages[::-1], "conv5, pool3, conv1"),
        (lambda stages: (*stages, stages[0]), "conv1, pool3, conv5, conv1"),
        (lambda stages: (replace(stages[0], name="conv9"), *stages[1:]), "conv9, pool3, conv5"),
        (lambda stages: (), ""),
    ],
    ids=["fewer", "another order", "more", "another name", "none"],
)
def test_a_plan_for_other_stages_is_refused(choose, planned, small):
    program, plan = small

    message = f"the plan is for stages {planned}, but the program has conv1, pool3, conv5"
    with pytest.raises(UserError, match=f"^{message}$"):
        bind(program, replace(plan, stages=choose(plan.stages)))


def test_all_folds_that_bind_accepts_are_the_legal_ones(small):
    """Tries every small value of pe, simd and taps of a stage against what divides what."""
    program, plan = small
    conv = stages_of(program)[0]
    for pe in range(1, 8):
        for simd in range(1, 4):
            for taps in range(1, 5):
                legal = 6 % pe == 0 and 2 % simd == 0 and taps in (1, 3)
                fold = StagePlan(name=conv.name, pe=pe, simd=simd, taps=taps, requantisers=pe, rows=9, queue=99)
                changed = replace(plan, stages=(fold, *plan.stages[1:]))
                if legal:
                    assert bind(program, changed)[0].lanes == pe * simd * taps
                else:
                    with pytest.raises(UserError, match=r"the plan does not fit the program: .*'conv1'"):
                        bind(program, changed)


def run_plan(program, plan, images, **how):
    """Output beats, and the cycles after the first input beat at which packets end."""
    answers = program.classes + 1
    beats, cycles = transfer(
        Pipeline(program, plan), [int(word) for word in pack_pixels(images, plan.pixels)],
        count=len(images) * answers, settle=200, **how,
    )  # fmt: skip
    return beats, cycles[answers - 1 :: answers]


def changed_stages(plan, **changes):
    """``plan`` with each stage's numbers replaced by functions of it."""
    return replace(
        plan, stages=tuple(replace(s, **{k: change(s) for k, change in changes.items()}) for s in plan.stages)
    )


@pytest.mark.parametrize("seed", [0, 1, 5, 7, 13, *[pytest.param(k, marks=pytest.mark.slow) for k in range(20, 60)]])
def test_deeper_queues_and_rings_save_no_cycle(seed):
    """The default queue and ring never cost a cycle: with far more, every image ends in the same cycle."""
    program = random_program(seed)
    plan = random_plan(program, seed)
    images = random_images(program, 6, seed)

    beats, ends = run_plan(program, plan, images)
    more = changed_stages(plan, queue=lambda s: 4 * s.queue + 50, rows=lambda s: 6 * s.rows)
    more_beats, more_ends = run_plan(program, more, images)

    assert more_beats == beats
    assert more_ends[0] == ends[0]
    assert (
        np.diff(more_ends)[-1]
        == np.diff(ends)[-1]
        == schedule(bind(program, plan), program, pixels=plan.pixels).interval
    )


def least_queue(build):
    return -(-(build.group_beats + build.gather - 1) // build.gather)


def least_rows(build):
    lines, view = build.plan.lines, build.stage.view
    unit = lines * view.dilations[0] if lines > 1 else 1
    return -(-max(view.extent[0] + 1, view.strides[0]) // unit) * unit


@pytest.mark.parametrize(
    "seed", [*range(4), *range(5, 10), *[pytest.param(k, marks=pytest.mark.slow) for k in range(20, 80)]]
)
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_the_smallest_legal_queues_and_rings_are_slow_but_right(seed, stall):
    """Whatever `bind` accepts must neither hang nor lose a beat."""
    program = random_program(seed)
    plan = random_plan(program, seed)
    builds = {build.stage.name: build for build in bind(program, plan)}
    tight = changed_stages(
        plan,
        queue=lambda s: least_queue(builds[s.name]),
        rows=lambda s: least_rows(builds[s.name]),
    )
    images = random_images(program, 3, seed)

    beats, ends = run_plan(program, tight, images, pause_in=stall, pause_out=stall, seed=seed)

    assert beats == expected_beats(program, golden.run(program, images).scores)
    if not stall:
        assert ends[-1] - ends[-2] >= schedule(bind(program, plan), program, pixels=plan.pixels).interval


@pytest.mark.parametrize("key", ["queue", "rows"])
@pytest.mark.parametrize("seed", [1, 7, 13])
def test_too_small_queues_and_rings_do_cost_cycles(key, seed):
    """The control to the tests above: the default sizes are needed."""
    program = random_program(seed)
    plan = random_plan(program, seed)
    builds = {build.stage.name: build for build in bind(program, plan)}
    least = {"queue": least_queue, "rows": least_rows}[key]

    _, ends = run_plan(
        program, changed_stages(plan, **{key: lambda s: least(builds[s.name])}), random_images(program, 4, seed)
    )

    assert ends[-1] - ends[-2] > schedule(bind(program, plan), program, pixels=plan.pixels).interval


@pytest.mark.parametrize("seed", range(12))
def test_beats_of_neighbouring_stages_fit_together(seed):
    """A queue holds whole beats of the array before it and of the stage behind it, and no more than both need."""
    program = random_program(seed)
    builds = bind(program, random_plan(program, seed))

    behind = [build.plan.simd for build in builds[1:]] + [1]
    for build, simd in zip(builds, behind, strict=True):
        assert build.next_simd == simd
        assert build.gather * build.out_count == build.split * simd == lcm(build.out_count, simd)


@pytest.mark.parametrize("seed", range(30))
def test_default_folds_bind(seed):
    """`default_stage_plan` and `with_queues` give what `bind` accepts, for any legal fold."""
    program = random_program(seed)
    plan = random_plan(program, seed)

    builds = bind(program, plan)

    assert with_queues(builds, program, pixels=plan.pixels) == plan.stages
    assert all(build.group_beats <= build.window.steps for build in builds)


def test_requantisers_are_as_few_as_keep_up(small):
    """6 sums every 18 cycles need one unit; 6 sums every 3 cycles need two."""
    conv = stages_of(small[0])[0]

    assert default_stage_plan(conv, pe=6, simd=1, taps=1).requantisers == 1
    assert default_stage_plan(conv, pe=6, simd=2, taps=3).requantisers == 2


def test_a_stage_has_products_and_a_pool_has_none(small):
    program, plan = small
    conv, pool, dense = bind(program, plan)

    assert (conv.stage.macs, pool.stage.macs, dense.stage.macs) == (6 * 2 * 9 * 4, 0, 24)
    assert (conv.lanes, pool.lanes, dense.lanes) == (1, 0, 1)


def test_sums_that_two_operations_read_are_refused_by_name():
    """Features may be read by many; sums never leave their stage."""
    program = small_program()
    ops = list(program.ops)
    twice = Program(ops=(*ops[:2], replace(ops[2], name="other"), *ops[2:]))
    unread = Program(ops=(*ops[:3], replace(ops[3], name="other"), *ops[3:]))

    with pytest.raises(UserError, match=r"^conv1 is read by 2 operations; sums go into one requantise"):
        stages_of(twice)
    with pytest.raises(UserError, match=r"^other is read by no operation"):
        stages_of(unread)


def test_padding_of_a_dense_layer_behind_a_flatten_is_refused():
    """It is a convolution over the whole map there, whose padding would be another one."""
    b = Builder(np.random.default_rng(2), (2, 2, 2))
    b.emit(Flatten(name="flatten", source=b.last))
    b.convolution("mult", 3, padding=1)
    b.requantise(unsigned(4))
    b.emit(MaxPool(name="pool", source=b.last, size=3, stride=1))
    b.convolution("mult", 3)
    b.requantise(None, scores=True)

    with pytest.raises(UserError, match=r"^conv2 .*flatten"):
        stages_of(b.program())


@pytest.mark.parametrize("name", ["packet", "to_packet", "to_conv5", "queue", "module"])
def test_a_stage_may_have_any_name(name):
    """Names come from whoever made the network; none may collide with a part of the accelerator."""
    program = small_program()
    ops = tuple(
        replace(op, **{key: name for key in ("name", "source") if getattr(op, key) == "conv1"}) for op in program.ops
    )
    wide = plan_for(program, {"pool3": {"simd": 2}, "conv5": {"pe": 2, "requantisers": 2, "queue": 9}})
    images = random_images(program, 2, 0)

    beats, _ = run_plan(
        Program(ops=ops), replace(wide, stages=(replace(wide.stages[0], name=name), *wide.stages[1:])), images
    )

    assert beats == expected_beats(program, golden.run(program, images).scores)
