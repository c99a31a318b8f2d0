"""Plans that a person wrote by hand: what is left out is chosen as folding would, what is said stays."""

import json
import re

import numpy as np
import pytest
from addax.common.errors import UserError
from addax.hdl.dataflow.build import bind
from addax.hdl.dataflow.complete import complete_plan, read_plan
from addax.hdl.dataflow.fold import fold
from addax.hdl.dataflow.schedule import schedule
from addax.quant.formats import unsigned
from addax.quant.program import Concat, Flatten, MaxPool
from networks import Builder, random_program


def residual_program():
    """Streams that wait for each other, so that queues are more than one beat deep."""
    b = Builder(np.random.default_rng(3), (2, 6, 6))
    b.convolution("mult", 6, size=3, padding=1)
    b.requantise(unsigned(4))
    first = b.last
    b.convolution("adder", 6, size=3, padding=1)
    b.requantise(unsigned(4))
    b.emit(Concat(name="joined", source=b.last, others=(first,)))
    b.emit(MaxPool(name="pool", source=b.last, size=2, stride=2))
    b.emit(Flatten(name="flatten", source=b.last))
    b.convolution("mult", 4)
    b.requantise(None, scores=True)
    return b.program()


def completed(value, program):
    return complete_plan(value, program, device="ecp5-45k", clock_mhz=50.0)


def folded(program, lanes):
    return fold(program, device="ecp5-45k", clock_mhz=50.0, lanes=lanes)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("lanes", [8, 40])
def test_folds_alone_give_what_folding_gives(seed, lanes):
    """Every other number of a Plan, requantisers, rows, queues and joins, follows from the folds."""
    program = residual_program() if seed == 0 else random_program(seed)
    try:
        plan = folded(program, lanes)
    except UserError:
        plan = folded(program, 400)
    value = plan.to_json()
    for stage in value["stages"]:
        for key in ("requantisers", "rows", "queue", "residual", "joins", "memory", "scale", "structure"):
            del stage[key]

    made = completed(value, program)

    assert made == plan


def test_an_empty_plan_folds_every_stage_by_one():
    program = residual_program()

    made = completed({}, program)

    assert {(s.pe, s.simd, s.taps, s.lines, s.blocks) for s in made.stages} == {(1, 1, 1, 1, 1)}
    assert (made.device, made.clock_mhz, made.family) == ("ecp5-45k", 50.0, "dataflow")
    timing = schedule(bind(program, made), program, pixels=made.pixels)
    assert timing.lanes == sum(1 for build in bind(program, made) if build.lanes)


def test_some_stages_may_be_said_and_in_any_order():
    program = residual_program()
    names = [build.stage.name for build in bind(program, completed({}, program))]
    lanes = [build.stage.name for build in bind(program, completed({}, program)) if build.lanes]
    value = {"stages": [{"name": lanes[1], "pe": 6, "queue": 99}, {"name": lanes[0], "simd": 2}], "clock_mhz": 20}

    made = completed(value, program)

    by_name = {stage.name: stage for stage in made.stages}
    assert [stage.name for stage in made.stages] == names
    assert (by_name[lanes[1]].pe, by_name[lanes[1]].queue, by_name[lanes[0]].simd) == (6, 99, 2)
    assert by_name[lanes[2]].pe == 1 and made.clock_mhz == 20


def test_a_whole_plan_is_itself():
    plan = folded(residual_program(), 40)

    assert completed(plan.to_json(), residual_program()) == plan


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "not a plan: the plan must be an object of keys and values, not []"),
        ({"lanes": 8}, "not a plan: the plan has an unknown key 'lanes'; known: family, device, clock_mhz"),
        ({"stages": 3}, "not a plan: stages must be a list, not 3"),
        ({"stages": [3]}, "not a plan: a stage must be an object"),
        ({"stages": [{"pe": 3}]}, "not a plan: a stage lacks its name: {'pe': 3}"),
        ({"stages": [{"name": "LAYER", "PE": 3}]}, "a stage has an unknown key 'PE'; known: name, pe, simd"),
        ({"stages": [{"name": "LAYER"}, {"name": "LAYER"}]}, "is there twice"),
        ({"stages": [{"name": "conv9"}]}, "the plan is for a stage 'conv9', but the program has "),
        ({"stages": [{"name": "LAYER", "pe": 0}]}, "must be a positive integer, not 0"),
        ({"stages": [{"name": "LAYER", "pe": 5}]}, "must divide 6 channels, not be 5"),
        ({"stages": [{"name": "LAYER", "simd": 4}]}, "simd must divide"),
        ({"stages": [{"name": "LAYER", "lines": 9}]}, "lines must be 1 or 3"),
        ({"stages": [{"name": "LAYER", "taps": 2}]}, "taps must be 1 or 3"),
        ({"stages": [{"name": "LAYER", "pe": 6, "requantisers": 4}]}, "must divide 6, not be 4"),
        ({"fixed_weights": "no"}, "not a plan: fixed_weights must be true or false"),
        ({"clock_mhz": None}, "not a plan: clock must be a positive number"),
    ],
    ids=str,
)
def test_what_cannot_be_completed_is_refused_by_name(value, message):
    program = residual_program()
    layer = next(build.stage.name for build in bind(program, completed({}, program)) if build.lanes)
    text = json.dumps(value).replace("LAYER", layer)

    with pytest.raises(UserError, match=re.escape(message)):
        completed(json.loads(text), program)


def test_a_plan_is_read_from_a_file(tmp_path):
    (tmp_path / "plan.json").write_text("{}")

    made = read_plan(str(tmp_path / "plan.json"), residual_program(), device="ecp5-45k", clock_mhz=50.0)

    assert made == completed({}, residual_program())
