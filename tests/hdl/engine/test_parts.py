# amaranth: UnusedElaboratable=no
"""Engines of which a word holds more channels than lanes read, or than rows make: images and blocks."""

import random

import numpy as np
import pytest
from addax.hdl.engine.compile.image import compiled
from addax.hdl.engine.compile.traffic import traffic_of
from addax.hdl.engine.core.lanes import HeldWeights, Lanes
from addax.hdl.engine.core.results import PartedResults, Residuals
from addax.hdl.engine.core.steps import Planner
from addax.hdl.engine.cycles.array import steps_of
from addax.hdl.engine.cycles.model import predicted
from addax.hdl.engine.records import Stream, Unit, descriptor_record
from amaranth.sim import Simulator
from engine_blocks import cycles_of, fields, packed
from engine_choices import choosing, routed
from engine_executor import assert_golden, executed
from engine_gates import joined_gates
from engine_networks import (
    bottlenecks,
    engine_program,
    gated,
    grouped_program,
    moving,
    small_plan,
    super_resolution,
)  # fmt: skip

SIZES = pytest.mark.parametrize("pin, pout", [(4, 8), (8, 4), (4, 16), (16, 4), (8, 32)])
KINDS = {
    "plain": lambda seed, plan: engine_program(seed),
    "groups": lambda seed, plan: grouped_program(seed, lanes=plan.channels), "moving": lambda seed, plan: moving(seed),
    "depthwise": lambda seed, plan: bottlenecks(seed), "gates": lambda seed, plan: gated(seed),
    "joined gates": lambda seed, plan: joined_gates(seed),
    "choices": lambda seed, plan: choosing(seed, lanes=plan.pout), "skips": lambda seed, plan: routed(seed),
    "shuffled": lambda seed, plan: super_resolution(seed),
}  # fmt: skip


def parted_plan(pin, pout, **changes):
    """An engine of ``pin`` x ``pout`` lanes of 8 bits whose buffers make most networks go in several bands."""
    size = 512 * max(pin, pout)
    return small_plan(**{
        "pin": pin, "pout": pout, "bits": 8, "memory_bits": 64, "feature_bytes": size, "weight_bytes": size,
        "depthwise": 3, "product": True, "tables": 8, "choices": True, "factor_bits": 24, **changes,
    })  # fmt: skip


def pixels_of(program, seed):
    fmt = program.input.format
    return np.random.default_rng(seed).integers(fmt.lo, fmt.hi, program.input.shape, endpoint=True)


@pytest.mark.parametrize("pin, pout", [(4, 8), (64, 4), (16, 16)])
def test_a_word_has_the_channels_of_the_larger_side(pin, pout):
    """Its parts fill it, and a set of weights has one for each lane."""
    plan = parted_plan(pin, pout)

    assert plan.word_bits == 8 * max(pin, pout)
    assert (pin * plan.read_parts, pout * plan.made_parts) == (plan.channels, plan.channels)
    assert plan.set_words * plan.channels == pin * pout


@SIZES
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_layer_is_that_of_the_golden_model(kind, pin, pout):
    """Stems, groups, depthwise layers, moved pixels, products, tables, choices, skips, shuffles, residuals of one word
    and of two; and what is moved is what is counted."""
    plan, seed = parted_plan(pin, pout, predicates=64 if kind == "skips" else 0), pin + 2 * pout
    program = KINDS[kind](seed, plan)
    image = compiled(program, plan, reuse=seed % 3 == 0)
    pixels = pixels_of(program, seed)

    words = executed(image, pixels)

    if not image.reuse:
        assert_golden(image, pixels, words)
    predicted(image)
    named = (Stream.WEIGHTS, Stream.FEATURES, Stream.RESIDUALS, Stream.WIDE_RESIDUALS)
    read = sum(command["words"] for command in image.reads if command["stream"] in named)
    counted = traffic_of(image)
    assert read == sum(own.features + own.weights + own.residuals for own in counted)
    assert sum(command["words"] for command in image.writes) == sum(own.results for own in counted)


@SIZES
def test_steps_of_a_descriptor_say_their_parts(pin, pout):
    """The planner's steps are those of the cycle model: what each reads, frees, begins and ends, and its part."""
    plan = parted_plan(pin, pout)
    names = ("first", "last", "pads", "frees", "until", "pixels", *(["fills"] if plan.made_parts > 1 else []))
    for kind in ("groups", "choices"):
        image = compiled(KINDS[kind](pin + pout, plan), plan)
        planner, seen = Planner(plan), []

        async def bench(ctx, image=image, planner=planner, seen=seen):
            ctx.set(planner.o.ready, 1)
            for values in image.descriptors:
                ctx.set(planner.i.payload.as_value(), descriptor_record(plan).pack(values))
                ctx.set(planner.i.valid, 1)
                taken = False
                while not taken:
                    _, _, step, valid, taken = await ctx.tick().sample(
                        planner.o.payload, planner.o.valid, planner.i.ready
                    )
                    if valid:
                        seen.append(({name: step[name] for name in names}, step.part))

        sim = Simulator(planner)
        sim.add_clock(1e-6)
        sim.add_testbench(bench)
        sim.run()

        for (told, part), (wanted, own) in zip(seen, expected_steps(plan, image.descriptors, names), strict=True):
            # Of a step that ends no sums it does not matter what it fills.
            assert {**wanted, **({} if wanted["last"] else {"fills": 0})} == {
                **told, **({} if told["last"] else {"fills": 0})
            }  # fmt: skip
            assert part == own


def expected_steps(plan, descriptors, names):
    tile, ring = 0, 4 * plan.ring_words
    for layer in descriptors:
        apart = layer["unit"] != Unit.ARRAY or layer["depthwise"]
        taps = 1 if layer["unit"] != Unit.ARRAY else layer["kernel_rows"] * layer["kernel_columns"]
        for words, steps in steps_of(layer, plan):
            for number, step in enumerate(steps):
                told = {name: getattr(step, name) for name in names} | {"until": (tile + step.until) % ring}
                row, inner = divmod(number // taps, 1 if apart else layer["in_blocks"])
                block = row if apart else row % layer["out_blocks"]
                part = block % plan.made_parts if plan.made_parts > 1 else 0 if apart else inner % plan.read_parts
                yield told, part
            tile += words


def test_sets_of_weights_fill_their_words():
    """Of 4 x 16 lanes the weights of four rows come in one word, the first lowest."""
    plan, rng = parted_plan(4, 16), random.Random(1)
    dut = HeldWeights(plan)
    rows = [rng.getrandbits(4 * plan.bits) for _ in range(16)]
    words = [packed(rows[4 * k : 4 * k + 4], 4 * plan.bits) for k in range(4)]

    seen = cycles_of(
        dut, lambda cycle: {"word": words[min(cycle, 3)], "shift": cycle < 4, "swap": cycle == 4}, 7, "weights"
    )  # fmt: skip

    assert fields(seen[-1][0], 4 * plan.bits, 16, sign=False) == rows


@pytest.mark.parametrize("pin, pout", [(4, 8), (8, 4)])
def test_elements_of_pools_pass_by_lanes_of_another_number(pin, pout):
    """Every row hands on its own, counted from the lowest value."""
    plan, rng = parted_plan(pin, pout, kernels=("mult",), depthwise=0), random.Random(2)
    dut = Lanes(plan)
    words = [[rng.getrandbits(8) for _ in range(pout)] for _ in range(6)]

    seen = cycles_of(
        dut, lambda cycle: {"passing": packed(words[min(cycle, 5)], 8), "pool": 1, "signed": 1, "x": 0}, 7, "words"
    )  # fmt: skip

    wanted = [[value ^ 128 for value in word] for word in words]
    assert [fields(row, dut.step.bits, pout) for (row,) in seen[1:]] == wanted


@pytest.mark.parametrize("parts", range(1, 5))
def test_parts_of_results_meet_in_whole_words(parts):
    """Rounds of pixels, part after part; what rows do not make is 0; no word leaves before its last part has come, and
    whoever takes them may pause."""
    plan, rng = parted_plan(16, 4, pixels=16), random.Random(parts)
    dut, wanted, script = PartedResults(plan), [], []
    for _ in range(5):
        pixels = [[rng.getrandbits(32) for _ in range(parts)] for _ in range(rng.randint(1, 16))]
        for part in range(parts):
            for pixel in pixels:
                script += [{"payload": pixel[part], "valid": 1, "part": part, "fills": part == parts - 1}]
                script += [{"valid": 0}] * rng.randrange(2)
        script += [{"valid": 0}] * 50
        wanted += [packed(pixel, 32) for pixel in pixels]
    seen, given = [], 0
    ports = {"payload": dut.i.payload, "valid": dut.i.valid, "part": dut.part, "fills": dut.fills}

    async def bench(ctx):
        nonlocal given
        for inputs in script:
            for name, value in inputs.items():
                ctx.set(ports[name], value)
            given += inputs["valid"] and inputs["fills"]
            ready = rng.random() < 0.7
            ctx.set(dut.o.ready, ready)
            _, _, valid, word = await ctx.tick().sample(dut.o.valid, dut.o.payload)
            if valid and ready:
                seen.append(word)
            assert len(seen) <= given

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()

    assert seen == wanted


def test_a_part_of_a_residual_joins():
    """That of the rows, of pixels of two words."""
    plan, rng = parted_plan(16, 4), random.Random(3)
    pixels = [[rng.getrandbits(16) for _ in range(16)] for _ in range(4)]
    words = [packed([value >> 8 * k & 255 for value in pixel], 8) for pixel in pixels for k in range(2)]

    def drive(cycle):
        at = min(max(cycle - len(words) - 4, 0), 3)
        return {"valid": cycle < len(words), "word": words[min(cycle, len(words) - 1)], "wide": 1, "double": 1,
                "take": cycle >= len(words) + 4, "part": at}  # fmt: skip

    seen = cycles_of(Residuals(plan), drive, len(words) + 8, "residuals")

    for part, (pixel, (residuals,)) in enumerate(zip(pixels, seen[len(words) + 4 :], strict=True)):
        assert fields(residuals, 17, 4) == pixel[4 * part :][:4]
