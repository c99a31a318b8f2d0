# amaranth: UnusedElaboratable=no
"""Bands that nobody asks for: which those are, the commands that skip them, what the reader and the writer do then."""

import random
import re

import numpy as np
import pytest
from addax.common.errors import UserError
from addax.hdl.engine.compile.asked import asked_by
from addax.hdl.engine.compile.image import compiled
from addax.hdl.engine.compile.skipping import Condition, conditions_of
from addax.hdl.engine.control import engine_identity
from addax.hdl.engine.cycles.model import predicted
from addax.hdl.engine.cycles.transfers import is_skipped
from addax.hdl.engine.plan import EnginePlan
from addax.hdl.engine.records import SKIP, Stream
from addax.hdl.engine.transfer.skips import CommandSkips
from addax.quant.formats import signed
from addax.quant.program import ArgMax, Select
from amaranth.sim import Simulator
from engine_choices import choosing, halves, routed
from engine_executor import assert_golden, executed
from engine_networks import small_plan
from network_builder import Builder

PLAN = small_plan(choices=True, depthwise=2, feature_bytes=4096, predicates=64)


@pytest.mark.parametrize("seed", range(4))
def test_bands_that_nobody_asks_for_are_skipped_and_all_others_golden(seed):
    """Pictures of one colour, of which half is noise, of noise: what is computed is the golden model's, the fewer
    branches are asked for the fewer cycles it takes, and hardly more than without skips where all are."""
    program = routed(seed, bits=16)
    image = compiled(program, PLAN, reuse=seed == 3)
    whole = predicted(image).total
    counts = []
    for pixels in halves(seed, program.input.shape):
        words = executed(image, pixels)
        if not image.reuse:
            assert_golden(image, pixels, words)
        asked = asked_by(image, pixels)
        counts.append((sum(is_skipped(s.skip, asked) for s in image.segments), predicted(image, asked=asked).total))
    assert counts[0][0] > counts[1][0] > counts[2][0] == 0
    assert counts[0][1] < counts[1][1] < counts[2][1] == whole
    plain = compiled(program, small_plan(choices=True, depthwise=2, feature_bytes=4096))
    assert whole <= 1.01 * predicted(plain).total


@pytest.mark.parametrize("seed", range(6))
def test_networks_of_any_choice_run_on_an_engine_that_skips(seed):
    """Branches that stand in two places, masks of thresholds, numbers behind that of the last branch."""
    plan = small_plan(bits=8, pin=8, pout=8, choices=True, feature_bytes=4096, factor_bits=24, predicates=64)
    program = choosing(seed, lanes=plan.pin)
    image = compiled(program, plan)
    pixels = np.random.default_rng(seed).integers(0, 256, program.input.shape)

    assert_golden(image, pixels, executed(image, pixels))


def test_a_band_is_needed_where_one_that_reads_it_is():
    """Rows around the ones that are asked for, by the window of the second convolution; its own for the last one."""
    image = compiled(routed(0, bits=16, blocks=1), PLAN)
    first, second = image.skips["req4"], image.skips["req6"]  # of the high branch, 3 x 3 both
    bands = image.bands["req4"]
    assert [skip.number for skip in (*first, *second)] == [0] * 2 * len(bands)
    mask = image.bands["number0"]
    for band, own, reader in zip(bands, first, second, strict=True):
        covered = range(mask[own.first].row, mask[own.first + own.bands - 1].row + mask[own.first + own.bands - 1].rows)
        assert {max(band.row - 1, 0), min(band.row + band.rows, 15)} <= set(covered)
        assert reader.bands <= own.bands


def routes(count, channels, places=None, read=False):
    """A choice among ``count`` branches by the largest of ``channels`` scores."""
    b = Builder(np.random.default_rng(0), (3, 4, 4))
    b.varied = lambda op: op
    made = []
    for outputs in (*[4] * count, channels):
        b.last = "pixels"
        b.convolution("adder", outputs)
        b.rescale(signed(8))
        made.append(b.last)
    number = b.emit(ArgMax(name="number", source=made[-1]))
    branches = tuple(made[k] for k in places or range(count))
    b.emit(Select(name="chosen", source=number, branches=branches))
    if read:
        b.last = made[0]
    b.convolution("adder", 3)
    b.rescale(signed(8), residual=None)
    return b.raw(), made


@pytest.mark.parametrize(
    "arguments, needed",
    [
        ((2, 2), [0, 1]), ((2, 3), [0]), ((3, 3, (0, 1, 0)), [1]), ((2, 2, None, True), [1]),
    ],
    ids=["all", "the last stands for more", "twice", "read by another"],
)  # fmt: skip
def test_what_only_one_number_needs_is_under_a_condition(arguments, needed):
    program, made = routes(*arguments)
    names = [made[k] for k in needed] if arguments != (3, 3, (0, 1, 0)) else [made[1]]
    image = compiled(program, small_plan(choices=True, predicates=8))

    found = conditions_of(image.network)

    numbers = {name: found[name] for name in names}
    assert numbers == {made[k]: Condition(mask="number", number=k) for k in needed}
    assert set(found) == set(names)


def skip_word(first, bands, number, where):
    return SKIP.pack({"first": first, "bands": bands, "number": number, "where": where})


def test_commands_behind_a_skip_leave_and_those_that_fetch_commands_do_not():
    """A list with skips of either sense, waits, and pauses of whoever takes commands; the bands come at any time."""
    plan, rng = small_plan(choices=True, predicates=8), random.Random(1)
    bands = [rng.getrandbits(plan.pout) for _ in range(8)]
    commands, expected, number = [], [], 0
    while len(commands) < 60:
        first, count = rng.randrange(7), rng.randrange(2)
        own, where, words = rng.randrange(plan.pout), rng.randrange(2), rng.randrange(1, 5)
        commands.append({"stream": Stream.SKIP, "words": words, "address": skip_word(first, count, own, where),
                         "wait": rng.choice([0, 3])})  # fmt: skip
        there = any(bands[k] >> own & 1 for k in range(first, first + count + 1))
        for place in range(words + 1):
            fetches = rng.random() < 0.2
            number += 1
            stream = Stream.COMMANDS if fetches else Stream.WEIGHTS
            command = {"stream": stream, "words": 1, "address": number, "wait": 0}
            commands.append(command)
            if fetches:
                commands.append({**command, "stream": Stream.WEIGHTS, "address": number + 1000})
                expected.append(number)
                number_of = number + 1000
            else:
                number_of = number
            if place == words or there != bool(where):
                expected.append(number_of)
    dut, found = CommandSkips(plan), []

    async def bench(ctx):
        at, offered, taken = 0, False, False
        for cycle in range(600):
            ctx.set(dut.marked, cycle < 8)
            ctx.set(dut.asked, bands[cycle] if cycle < 8 else 0)
            ctx.set(dut.answered, 3 if cycle > 20 else 0)
            offered = at < len(commands) and ((offered and not taken) or (rng.random() < 0.8 and cycle > 8))
            ctx.set(dut.i.valid, offered)
            if offered:
                ctx.set(dut.i.payload, dut.i.payload.shape().const({k: int(v) for k, v in commands[at].items()}))
            ctx.set(dut.o.ready, rng.random() < 0.7)
            _, _, taken, valid, ready, address = await ctx.tick().sample(
                dut.i.ready, dut.o.valid, dut.o.ready, dut.o.payload.address
            )
            at += bool(offered and taken)
            if valid and ready:
                found.append(address)

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()

    assert found == expected


def test_more_bands_than_are_kept_are_refused_with_the_change_that_helps():
    message = "the numbers of 8 bands say what is skipped; the engine keeps 4; build it with --predicates 8"
    with pytest.raises(UserError, match=re.escape(message)):
        compiled(routed(0, bits=16), small_plan(choices=True, depthwise=2, feature_bytes=4096, predicates=4))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"predicates": 6}, "a power of two"), ({"predicates": 8192}, r"in 0\.\.4096"),
        ({"predicates": 8, "choices": False}, "an engine without choices"),
        ({"predicates": True}, "predicates must be"),
    ],
)  # fmt: skip
def test_impossible_plans_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        EnginePlan.from_json({**small_plan(choices=True).to_json(), **changes})


def test_engine_without_them_is_the_same_build_as_before():
    plan, other = small_plan(choices=True), small_plan(choices=True, predicates=8)
    assert "predicates" not in plan.to_json() and EnginePlan.from_json(other.to_json()) == other
    assert engine_identity(plan) != engine_identity(other)
