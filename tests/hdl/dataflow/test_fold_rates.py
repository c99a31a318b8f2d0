# amaranth: UnusedElaboratable=no
"""Folding for a rate: met with no lane too many, kept by the hardware, or refused with the fastest."""

import re

import numpy as np
import pytest
from addax.common.errors import UserError
from addax.hdl.dataflow.build import bind
from addax.hdl.dataflow.pipeline import Pipeline
from addax.hdl.dataflow.planning.choices import structural_cost
from addax.hdl.dataflow.schedule import answer_beats
from addax.hdl.interface import expected_beats, pack_pixels
from addax.quant import golden
from addax.quant.formats import unsigned
from folds import SEEDS, all_intervals, as_folded, folded, interval_of, lanes_of, layers, least_interval, price_of
from marks import guarded_but
from networks import Builder, random_images, random_moving, random_program, random_residual
from streaming import transfer


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


@pytest.mark.parametrize("seed", guarded_but(range(6), 0))
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


@pytest.mark.parametrize("seed", guarded_but(SEEDS, *list(SEEDS)[::3]))
def test_a_rate_that_is_exactly_so_many_cycles_gets_them(seed):
    """In floats ``clock / (clock / n)`` is not always ``n``; a cycle lost to that refuses a target."""
    program = random_program(seed)
    fastest, _ = least_interval(program)

    for clock in range(1, 200):
        plan = folded(program, clock_mhz=clock, fps=clock * 1e6 / fastest)
        assert interval_of(program, plan) == fastest, f"at {clock} MHz"


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
