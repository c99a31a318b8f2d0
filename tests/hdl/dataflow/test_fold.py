# amaranth: UnusedElaboratable=no
"""Folding: budgets of lanes and devices kept by the cheapest design, and refusals that say what would work."""

import re
from itertools import product

import numpy as np
import pytest
from addax.common.errors import UserError
from addax.hdl.capacity import Capacity
from addax.hdl.dataflow.build import bind
from addax.hdl.dataflow.planning.choices import alternatives, structural_cost
from addax.hdl.dataflow.planning.fold import DEFAULT_LANES, fold
from addax.hdl.dataflow.stages import stages_of
from addax.quant.formats import unsigned
from folds import (
    SEEDS,
    all_builds,
    all_intervals,
    as_folded,
    folded,
    interval_of,
    lanes_of,
    layers,
    least_interval,
    least_lanes,
    port_cycles,
    price_of,
)
from networks import Builder, random_program, random_residual, random_windows

UNGROUPED = (6, 9, 14, 38)
"""Networks of windows of all kinds without groups, which the naive folds leave out."""


@pytest.mark.parametrize(
    "make, seed", [*((random_program, seed) for seed in SEEDS), *((random_windows, seed) for seed in UNGROUPED)]
)
def test_with_a_budget_of_lanes_the_fastest_design_is_chosen(make, seed):
    """The budget is kept, no fold within it is faster, and more lanes are never slower."""
    program = make(seed)
    floor = port_cycles(program)
    before = None
    for lanes in [*range(layers(program), 24), 30, 41, 64, 100, 1000]:
        best = next(t for t in all_intervals(program) if (n := least_lanes(program, t)) is not None and n <= lanes)

        plan = folded(program, lanes=lanes)

        assert lanes_of(program, plan) <= lanes
        interval = interval_of(program, plan)
        assert interval == max(best, floor)
        assert before is None or interval <= before
        before = interval


@pytest.mark.parametrize("seed", [s for s in SEEDS if layers(random_program(s)) > 1])
def test_one_lane_too_few_is_told_how_many_are_needed(seed):
    program = random_program(seed)
    least = layers(program)

    with pytest.raises(UserError, match=f"^{least - 1} lanes are too few: the network needs at least {least}, one per"):
        folded(program, lanes=least - 1)
    assert lanes_of(program, folded(program, lanes=least)) == least


COSTS = pytest.mark.parametrize(
    "cost", [structural_cost, lambda build: 100 * build.plan.taps + 9 * build.plan.lines + build.plan.simd]
)


@COSTS
@pytest.mark.parametrize("seed", [0, 7, 8, 11, 14])
def test_among_designs_that_are_fast_enough_the_cheapest_is_chosen(seed, cost):
    """The choice is made from the last stage to the first; trying all combinations must not find a better one."""
    program = random_program(seed)
    options = [list(all_builds(stage)) for stage in stages_of(program)]
    assert np.prod([len(choices) for choices in options]) < 50_000
    fastest, _ = least_interval(program)
    for cycles in (fastest, 2 * fastest, 5 * fastest):
        fitting = [[b for b in choices if b.interval <= cycles] for choices in options]
        best = min(price_of(program, c, cost) for c in product(*fitting))

        plan = folded(program, fps=50e6 / (cycles + 0.5), cost=cost)

        assert price_of(program, as_folded(bind(program, plan)), cost) == pytest.approx(best)


@COSTS
@pytest.mark.parametrize("seed", [0, 7, 8, 11, 14])
def test_a_budget_of_lanes_is_spent_on_the_cheapest_design_or_on_the_fewest_lanes(seed, cost):
    program = random_program(seed)
    options = [list(all_builds(stage)) for stage in stages_of(program)]
    for lanes in (layers(program), 12, 40):
        plan = folded(program, lanes=lanes, cost=cost)

        interval = interval_of(program, plan)
        fitting = [[b for b in choices if b.interval <= interval] for choices in options]
        prices = [(sum(b.lanes for b in c), price_of(program, c, cost)) for c in product(*fitting)]
        cheapest = min(price for _, price in prices)
        found = lanes_of(program, plan), price_of(program, as_folded(bind(program, plan)), cost)
        assert found[1] == pytest.approx(cheapest) or found == (min(prices)[0], pytest.approx(min(prices)[1]))


def test_without_a_target_there_are_80_lanes():
    program = random_program(5)

    assert DEFAULT_LANES == 80
    assert folded(program) == folded(program, lanes=80)


def room(limit, share=0.75, extra=None):
    """A device with so many lookup tables, which cost what the solver thinks they cost."""
    return Capacity(
        device="toy", limits={"lookup tables": limit, **(extra or {})}, share=share,
        needs=lambda builds: {"lookup tables": sum(map(structural_cost, builds)), **dict.fromkeys(extra or {}, 7)},
    )  # fmt: skip


@pytest.mark.parametrize("seed", [0, 5, 7, 8, 11, 13])
def test_without_a_target_a_device_is_filled(seed):
    """Within its share; and what would be faster, the cheapest of each speed, would not be."""
    program = random_program(seed)
    small, large = (folded(program, fps=50e6 / cycles) for cycles in (20_000, least_interval(program)[0]))
    needs = [sum(map(structural_cost, bind(program, plan))) for plan in (small, large)]
    for part in (0.1, 0.5, 0.9):
        capacity = room((needs[0] + part * (needs[1] - needs[0])) / 0.75)

        plan = folded(program, capacity=capacity)

        assert capacity.fills(bind(program, plan))
        faster = {b.interval for stage in stages_of(program) for b in all_builds(stage)}
        floor, reached = least_interval(program)[0], max(b.interval for b in bind(program, plan))
        for cycles in sorted(c for c in faster if floor <= c < reached)[-1:]:
            assert not capacity.fills(bind(program, folded(program, fps=50e6 / (cycles + 0.5))))


@pytest.mark.parametrize("target", [{}, {"lanes": 30}, {"fps": 2_000}])
def test_a_device_that_is_too_small_is_refused_with_what_is_missing(target):
    """All that is missing, in one line, whatever was asked for; what there is enough of is not told."""
    program = random_program(5)

    with pytest.raises(UserError) as error:
        folded(program, capacity=room(100, extra={"block RAMs": 5, "DSP blocks": 8}), **target)

    pattern = (
        r"toy is too small for this design, by estimate: lookup tables: ([\d,]+) needed, 100 there, ([\d,]+) missing; "
        "block RAMs: 7 needed, 5 there, 2 missing; no fold of it fits"
    )
    found = re.fullmatch(pattern, str(error.value))
    needed, missing = (int(text.replace(",", "")) for text in found.groups())
    assert needed - missing == 100


@pytest.mark.parametrize("seed", [0, 5, 8, 13])
@pytest.mark.parametrize("goal", ["lanes", "fps"])
def test_what_is_refused_names_a_goal_that_fits(seed, goal):
    """Asked for it, the solver gives a design that the device holds; a faster interval it does not hold."""
    program = random_program(seed)
    small, large = (folded(program, fps=50e6 / cycles) for cycles in (20_000, least_interval(program)[0]))
    needs = [sum(map(structural_cost, bind(program, plan))) for plan in (small, large)]
    capacity = room((needs[0] + needs[1]) / 2)
    asked = {"lanes": 10**6} if goal == "lanes" else {"fps": 50e6 / least_interval(program)[0]}

    with pytest.raises(UserError) as error:
        folded(program, capacity=capacity, **asked)

    found = re.fullmatch(r"toy is too small .* missing; the fastest that fits: --(lanes|fps) (\d+)", str(error.value))
    assert found is not None and (found[1] == goal or goal == "lanes")
    plan = folded(program, capacity=capacity, **{found[1]: int(found[2])})
    assert capacity.holds(bind(program, plan))
    reached = interval_of(program, plan)
    faster = [b.interval for stage in stages_of(program) for b in all_builds(stage)]
    floor = least_interval(program)[0]
    for cycles in sorted(c for c in faster if floor <= c < reached)[-1:]:
        assert not capacity.holds(bind(program, folded(program, fps=50e6 / (cycles + 0.5))))


def test_factors_give_their_block_ram_back_where_a_device_has_too_little():
    """What is cheaper by cost alone would be refused for blocks that the design can do without."""
    made = Builder(np.random.default_rng(0), (2, 3, 3))
    made.convolution("mult", 24)
    made.requantise(unsigned(8))
    program = made.raw()

    def cost(build):
        return structural_cost(build) - 50 * (build.plan.factors == "block")

    def folds(blocks):
        needs = lambda builds: {"block RAMs": sum(build.plan.factors == "block" for build in builds)}  # noqa: E731
        capacity = Capacity(device="toy", limits={"block RAMs": blocks}, needs=needs)
        return [stage.factors for stage in folded(program, cost=cost, capacity=capacity, lanes=2).stages]

    assert folds(blocks=1) == ["block"]
    assert folds(blocks=0) == ["auto"]


@pytest.mark.parametrize("share", [0, -1, 1.01])
def test_a_share_that_cannot_be(share):
    with pytest.raises(ValueError, match="share must be above 0 and at most 1"):
        room(100, share=share)


@pytest.mark.parametrize("seed", [0, 5, 8, 13])
def test_alternatives_are_the_neighbours_among_all_folds(seed):
    """By cycles; a slower one that costs no less is no alternative."""
    program = random_program(seed)
    for build in bind(program, folded(program, lanes=2 * layers(program))):
        found = alternatives(build)

        others = [(b.interval, structural_cost(b)) for b in all_builds(build.stage)]
        own = build.interval, structural_cost(build)
        assert (found["chosen"].cycles, found["chosen"].cost, found["chosen"].plan) == (*own, build.plan)
        faster = max((cycles for cycles, _ in others if cycles < own[0]), default=None)
        assert (found["faster"].cycles if found["faster"] else None) == faster
        slower = min((cycles for cycles, cost in others if cycles > own[0] and cost < own[1]), default=None)
        assert (found["slower"].cycles if found["slower"] else None) == slower


def test_lanes_have_the_structure_that_is_asked_for():
    """By kernel: what is not named, and pools, keep theirs."""
    program = random_program(1)
    kinds = {stage.name: stage.kind for stage in stages_of(program)}
    assert {"mult", "adder"} <= set(kinds.values())

    plan = folded(program, structures={"mult": "rows"})

    assert {s.name: s.structure for s in plan.stages} == {n: "rows" if k == "mult" else "" for n, k in kinds.items()}
    for build in bind(program, plan):
        assert {a.plan.structure for a in alternatives(build).values() if a} == {build.plan.structure}


def test_memories_are_of_the_kind_that_costs_less():
    """Stage by stage, as the cost function has it; a memory of a few words is left to synthesis, and so are all that
    cost the same either way."""
    program = random_program(5)

    def dear(build):
        """As if block RAM were worth it from 20 words on."""
        words = build.groups * build.window.steps
        return structural_cost(build) - (5 if build.plan.memory == "block" and words >= 20 else -5)

    chosen = folded(program, cost=dear, lanes=12)

    words = {b.stage.name: b.groups * b.window.steps if b.lanes else 0 for b in bind(program, chosen)}
    assert {s.name: s.memory for s in chosen.stages} == {n: "block" if w >= 20 else "auto" for n, w in words.items()}
    assert len({s.memory for s in chosen.stages}) == 2
    assert {s.memory for s in folded(program).stages} == {"auto"}


@pytest.mark.parametrize("scale, seed", [("lut", 5), ("dsp", 5)])
def test_requantisers_multiply_as_asked(scale, seed):
    program = random_program(seed)

    plan = folded(program, scale=scale)

    kept = {stage.name: stage.multiplies for stage in stages_of(program)}
    assert {s.scale for s in plan.stages if kept[s.name]} == {scale}
    assert {s.scale for s in plan.stages if not kept[s.name]} <= {"dsp"}


def test_sums_that_are_wider_than_a_block_are_multiplied_in_halves():
    """Only those, only where asked, and never against what the user says."""
    program = random_program(5)
    wide = {s.name: s.carried.bits + (not s.carried.signed) for s in stages_of(program) if s.multiplies}
    most = min(wide.values())
    assert most < max(wide.values())

    plan = folded(program, halves_above=most)

    assert {s.name for s in plan.stages if s.scale == "halves"} == {n for n, bits in wide.items() if bits > most}
    assert all(s.scale == "dsp" for s in folded(program).stages)
    assert all(s.scale == "dsp" for s in folded(program, halves_above=most, scale="dsp").stages)


def test_shifting_needs_factors_that_are_few_powers_of_two():
    """Before anything is built, and by the name of the stage; where there are any it is the default."""
    with pytest.raises(UserError, match="scale pow2 of 'conv1' needs factors of few powers of two"):
        folded(random_program(5), scale="pow2")
    program = random_residual(2)
    assert {s.aspects["terms"] for s in stages_of(program)} >= {1}
    plan = folded(program, lanes=100)
    for stage, own in zip(plan.stages, stages_of(program), strict=True):
        assert stage.scale == ("pow2" if own.aspects["terms"] else "dsp")


def test_the_plan_keeps_what_it_was_asked_for():
    plan = fold(random_program(5), device="ice40-8k", clock_mhz=33.3, lanes=9, fixed_weights=True)

    assert (plan.device, plan.clock_mhz, plan.fixed_weights, plan.family) == ("ice40-8k", 33.3, True, "dataflow")


@pytest.mark.parametrize(
    "target, message",
    [
        ({"lanes": 0}, "lanes must be a positive integer, not 0"),
        ({"lanes": -3}, "lanes must be a positive integer, not -3"),
        ({"lanes": 8, "fps": 100.0}, "give either lanes or frames per second, not both"),
        ({"clock_mhz": 0}, "clock must be a positive number of MHz, not 0"),
        ({"clock_mhz": -50.0}, r"clock must be a positive number of MHz, not -50\.0"),
        ({"clock_mhz": float("nan")}, "clock must be a positive number of MHz, not nan"),
        ({"clock_mhz": float("inf")}, "clock must be a positive number of MHz, not inf"),
        ({"clock_mhz": 10_001}, "clock must be a positive number of MHz, not 10001"),
        ({"fps": 0}, "frames per second must be a positive number, not 0"),
        ({"fps": -1.0}, r"frames per second must be a positive number, not -1\.0"),
        ({"fps": float("nan")}, "frames per second must be a positive number, not nan"),
        ({"fps": float("inf")}, "frames per second must be a positive number, not inf"),
    ],
)
def test_bad_arguments_are_refused(target, message):
    with pytest.raises(UserError, match=f"^{message}$"):
        folded(random_program(1), **target)
