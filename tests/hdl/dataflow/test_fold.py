# amaranth: UnusedElaboratable=no
"""Folding: budgets kept, rates met with no lane too many, and refusals that say what would work.

What is best is found here by trying every fold of every stage.
"""

import re
from itertools import product
from math import lcm

import numpy as np
import pytest
from addax.common.errors import UserError
from addax.hdl.capacity import Capacity
from addax.hdl.dataflow.build import StageBuild, bind, default_stage_plan
from addax.hdl.dataflow.choices import alternatives, structural_cost
from addax.hdl.dataflow.fold import DEFAULT_LANES, fold
from addax.hdl.dataflow.pipeline import Pipeline
from addax.hdl.dataflow.schedule import schedule
from addax.hdl.dataflow.stages import stages_of
from addax.hdl.interface import answer_beats, expected_beats, pack_pixels
from addax.quant import golden
from addax.quant.formats import unsigned
from marks import guarded
from networks import Builder, random_images, random_moving, random_program, random_residual
from streaming import transfer

SEEDS = [0, 1, 4, 5, 7, 8, 13, 18, 19]
"""Networks of one to five stages, with pools, strides and both kernels."""


def folded(program, *, clock_mhz=50.0, **target):
    return fold(program, device="ecp5-45k", clock_mhz=clock_mhz, **target)


def interval_of(program, plan):
    return schedule(bind(program, plan), program, pixels=plan.pixels).interval


def lanes_of(program, plan):
    return sum(build.lanes for build in bind(program, plan))


def divisors(n):
    return [k for k in range(1, n + 1) if n % k == 0]


def result_of_four_channels(height=6, width=8):
    """A layer whose raw result has more elements than the image pixels."""
    b = Builder(np.random.default_rng(3), (1, height, width))
    b.convolution("mult", 4, 1)
    b.rescale(unsigned(6))
    return b.raw()


@pytest.mark.parametrize("cycles, outputs", [(192, 1), (96, 2), (48, 4)])
def test_a_raw_result_leaves_in_beats_as_wide_as_the_rate_asks_for(cycles, outputs):
    program = result_of_four_channels()
    plan = folded(program, fps=50e6 / cycles)

    assert plan.outputs == outputs
    assert interval_of(program, plan) == cycles


def test_a_rate_beyond_a_pixel_of_the_result_per_cycle_is_refused():
    with pytest.raises(UserError, match=r"no fold reaches .* the fastest takes 48 cycles per image"):
        folded(result_of_four_channels(), fps=50e6 / 24)


@pytest.mark.parametrize("seed", guarded(range(6), 1))
def test_networks_with_moves_and_joins_keep_the_pace_they_are_folded_for(seed):
    """The fastest fold, as simulated: what `fold` chooses for moves and joins is legal, and as fast as it says."""
    program = random_moving(seed)
    plan = folded(program, lanes=100_000)
    images = random_images(program, 4, seed)
    answers = answer_beats(program, plan.outputs)

    beats, cycles = transfer(
        Pipeline(program, plan), [int(word) for word in pack_pixels(images, plan.pixels)],
        count=len(images) * answers, settle=200,
    )  # fmt: skip

    assert beats == expected_beats(program, golden.run(program, images).output, plan.outputs)
    ends = cycles[answers - 1 :: answers]
    assert ends[-1] - ends[-2] == interval_of(program, plan)


def naive_folds(stage):
    """(cycles per image, lanes) of every fold of a stage."""
    channels, height, width = stage.source
    outputs, rows, columns = stage.result
    kh, kw = stage.window
    pool = stage.weight is None
    result = []
    for simd in divisors(channels):
        for taps, lines in product(*({1, k} if not pool and stage.stride <= k else {1} for k in (kw, kh))):
            for pe in [1] if pool else divisors(outputs):
                groups = channels // simd if pool else outputs // pe
                steps = (kh // lines) * (kw // taps) * (1 if pool else channels // simd)
                sums = simd if pool else pe
                units = next(u for u in divisors(sums) if sums // u <= steps) if stage.requantise else sums
                read = rows * columns * groups * steps
                write = (height + 2 * stage.padding) * (width + 2 * stage.padding) * channels // simd
                emit = outputs * rows * columns // units
                result.append((max(read, write, emit), 0 if pool else pe * simd * taps * lines))
    return result


def port_cycles(program):
    """What scores and class take, and the pixels: at most 64 bytes per beat, beats of as many pixels each."""
    channels, height, width = program.input.shape
    pixels = max(n for n in divisors(height * width) if n == 1 or n * channels <= 64)
    return max(program.classes + 1, height * width // pixels)


def least_interval(program):
    """The interval that no fold beats, and the names of the stages which need it, or that of the ports."""
    least = {stage.name: min(t for t, _ in naive_folds(stage)) for stage in stages_of(program)}
    slowest = max(*least.values(), port_cycles(program))
    return slowest, [name for name, t in least.items() if t == slowest] or ["the ports"]


def least_lanes(program, interval):
    """The fewest lanes with which every stage keeps within ``interval`` cycles; None if none does."""
    total = 0
    for stage in stages_of(program):
        fitting = [lanes for t, lanes in naive_folds(stage) if t <= interval]
        if not fitting:
            return None
        total += min(fitting)
    return total


def all_intervals(program):
    return sorted({t for stage in stages_of(program) for t, _ in naive_folds(stage)})


def layers(program):
    return sum(stage.weight is not None for stage in stages_of(program))


@pytest.mark.parametrize("seed", SEEDS)
def test_with_a_budget_of_lanes_the_fastest_design_is_chosen(seed):
    """The budget is kept, no fold within it is faster, and more lanes are never slower."""
    program = random_program(seed)
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


@pytest.mark.parametrize("seed", SEEDS)
def test_a_rate_is_met(seed):
    program = random_program(seed)
    fastest, _ = least_interval(program)
    for cycles in [t for t in all_intervals(program) if t >= fastest][::3]:
        fps = 50e6 / (cycles + 0.5)

        plan = folded(program, fps=fps)

        assert interval_of(program, plan) <= cycles
        assert 50e6 / interval_of(program, plan) >= fps


@pytest.mark.parametrize("seed", SEEDS)
def test_a_lower_rate_is_never_dearer(seed):
    program = random_program(seed)
    fastest, _ = least_interval(program)
    prices = [
        price_of(program, as_folded(bind(program, folded(program, fps=50e6 / (cycles + 0.5)))), structural_cost)
        for cycles in (fastest, 2 * fastest, 10 * fastest, 1000 * fastest)
    ]

    assert prices == sorted(prices, reverse=True)


@pytest.mark.parametrize("seed", SEEDS)
def test_an_impossible_rate_names_the_fastest_and_what_limits_it(seed):
    program = random_program(seed)
    fastest, limits = least_interval(program)

    with pytest.raises(UserError) as caught:
        folded(program, fps=50e6 / (fastest - 0.5))

    said = re.fullmatch(
        r"no fold reaches \S+ images/s at 50 MHz; the fastest takes (\d+) cycles per image "
        r"\(\d+ images/s\), limited by (the ports|\w+)",
        str(caught.value),
    )
    assert said and int(said[1]) == fastest and said[2] in limits


@pytest.mark.parametrize("seed", SEEDS)
def test_the_rate_that_a_refusal_names_can_be_reached(seed):
    """A user who asks for what the message offers must get it."""
    program = random_program(seed)
    fastest, _ = least_interval(program)
    for clock in (12.0, 25, 33.3, 48.0, 50.0, 100, 133.0):
        with pytest.raises(UserError) as caught:
            folded(program, clock_mhz=clock, fps=1e9)
        offered = float(re.search(r"\((\S+) images/s\)", str(caught.value))[1])

        plan = folded(program, clock_mhz=clock, fps=offered)

        assert interval_of(program, plan) == fastest


@pytest.mark.parametrize("seed", SEEDS)
def test_a_rate_that_is_exactly_so_many_cycles_gets_them(seed):
    """In floats ``clock / (clock / n)`` is not always ``n``; a cycle lost to that refuses a target."""
    program = random_program(seed)
    fastest, _ = least_interval(program)

    for clock in range(1, 200):
        plan = folded(program, clock_mhz=clock, fps=clock * 1e6 / fastest)
        assert interval_of(program, plan) == fastest, f"at {clock} MHz"


@pytest.mark.parametrize("seed", [s for s in SEEDS if layers(random_program(s)) > 1])
def test_one_lane_too_few_is_told_how_many_are_needed(seed):
    program = random_program(seed)
    least = layers(program)

    with pytest.raises(UserError, match=f"^{least - 1} lanes are too few: the network needs at least {least}, one per"):
        folded(program, lanes=least - 1)
    assert lanes_of(program, folded(program, lanes=least)) == least


def all_builds(stage):
    for simd in divisors(stage.source[0]):
        sides = [{1, k} if stage.weight is not None and stage.stride <= k else {1} for k in stage.window]
        for lines, taps in product(*sides):
            for pe in [1] if stage.weight is None else divisors(stage.result[0]):
                plan = default_stage_plan(stage, pe=pe, simd=simd, taps=taps, lines=lines)
                yield StageBuild(stage=stage, plan=plan)


def price_of(program, builds, cost):
    """What a chain costs: its stages, and registers wherever beats of two stages do not fit together."""
    count, total = program.input.shape[0], 0.0
    for build in builds:
        if count != build.plan.simd:
            total += 3 * lcm(count, build.plan.simd) * build.stage.x.bits
        total += cost(build)
        count = build.out_count
    return total


def as_folded(builds):
    """The folds of ``builds`` as the solver weighs them: before it knows how deep their queues must be."""
    keys = ("pe", "simd", "taps", "lines", "blocks")
    return [
        StageBuild(stage=b.stage, plan=default_stage_plan(b.stage, **{key: getattr(b.plan, key) for key in keys}))
        for b in builds
    ]


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
        "block RAMs: 7 needed, 5 there, 2 missing"
    )
    found = re.fullmatch(pattern, str(error.value))
    needed, missing = (int(text.replace(",", "")) for text in found.groups())
    assert needed - missing == 100


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

    kept = {stage.name: stage.requantise is not None for stage in stages_of(program)}
    assert {s.scale for s in plan.stages if kept[s.name]} == {scale}
    assert {s.scale for s in plan.stages if not kept[s.name]} <= {"dsp"}


def test_shifting_needs_factors_that_are_few_powers_of_two():
    """Before anything is built, and by the name of the stage; where there are any it is the default."""
    with pytest.raises(UserError, match="scale pow2 of 'conv1' needs factors of few powers of two"):
        folded(random_program(5), scale="pow2")
    program = random_residual(2)
    assert {s.terms for s in stages_of(program)} >= {1}
    plan = folded(program, lanes=100)
    for stage, own in zip(plan.stages, stages_of(program), strict=True):
        assert stage.scale == ("pow2" if own.terms else "dsp")


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


def single_pixel(outputs):
    """A dense layer on one pixel: the packet, not the layer, sets the pace."""
    b = Builder(np.random.default_rng(0), (4, 1, 1))
    b.convolution("mult", outputs)
    b.requantise(None, scores=True)
    return b.program()


@pytest.mark.parametrize("lanes", [1, 4, 16, 40, 80])
def test_scores_that_leave_more_slowly_than_they_are_made_can_be_folded(lanes):
    program = single_pixel(10)

    plan = folded(program, lanes=lanes)

    assert lanes_of(program, plan) <= lanes
    assert interval_of(program, plan) >= 11


@pytest.mark.parametrize("cycles", [1, 2, 5, 10])
def test_a_rate_beyond_that_of_the_packets_is_refused(cycles):
    """Ten scores and a class take eleven cycles, whatever the layers do."""
    with pytest.raises(UserError, match=r"no fold reaches .* the fastest takes 11 cycles per image"):
        folded(single_pixel(10), fps=50e6 / (cycles + 0.5))


@pytest.mark.parametrize("seed, lanes", [(1, 12), (5, 20), (7, 30), (13, 9)])
def test_a_fold_runs_at_its_interval(seed, lanes):
    program = random_program(seed)
    plan = folded(program, lanes=lanes)
    images = random_images(program, 4, seed)
    answers = program.classes + 1

    beats, cycles = transfer(
        Pipeline(program, plan), [int(word) for word in pack_pixels(images, plan.pixels)],
        count=len(images) * answers, settle=200,
    )  # fmt: skip

    assert beats == expected_beats(program, golden.run(program, images).scores)
    ends = cycles[answers - 1 :: answers]
    assert ends[-1] - ends[-2] == interval_of(program, plan)


@pytest.mark.parametrize("seed", [0, 1, 4, 9, 12])
def test_networks_with_residuals_keep_the_rate_that_was_asked_for(seed):
    """Forks take cycles that no stage has; the solver must make up for them, or say that it cannot."""
    program = random_residual(seed)
    slow = interval_of(program, folded(program, lanes=2 * layers(program)))
    for cycles in (slow, slow // 2):
        try:
            plan = folded(program, fps=50e6 / (cycles + 0.5))
        except UserError as error:
            assert cycles < slow and re.search(r"no fold .*; the \w+ takes \d+ cycles", str(error))
        else:
            assert interval_of(program, plan) <= cycles
