# amaranth: UnusedElaboratable=no
"""Pipelines without handshake: results a fixed time behind their pixels, exact, and what may wait is refused."""

import random
import re
from dataclasses import replace

import numpy as np
import pytest
from addax.common.errors import UserError
from addax.hdl.dataflow.build import bind
from addax.hdl.dataflow.handshake import without_handshake
from addax.hdl.dataflow.pipeline import Accelerator, Pipeline
from addax.hdl.dataflow.plan import Plan
from addax.hdl.dataflow.planning.complete import complete_plan
from addax.hdl.dataflow.planning.fold import fold
from addax.hdl.dataflow.schedule import schedule
from addax.hdl.interface import Interface
from addax.hdl.verilog.emit import to_verilog
from addax.quant import golden
from addax.quant.formats import unsigned
from amaranth.sim import Simulator
from marks import slow_but
from networks import Builder, random_chain, random_residual
from perceptrons import perceptron

KERNELS = ["adder", "mult", "xnor", "shift"]


def at_once(program, clock_mhz=200.0):
    return fold(program, device="xc7z020", clock_mhz=clock_mhz, fps=clock_mhz * 1e6, fixed_weights=True)


def seen(pipeline, words, comes):
    """What stands at the output in every cycle, None where no beat does, for the next of ``words`` in each cycle that
    ``comes``; its ready stays low, which nothing may mind."""
    found = []

    async def bench(ctx):
        beats = iter(words)
        for here in comes:
            ctx.set(pipeline.i.valid, here)
            ctx.set(pipeline.i.payload.as_value(), next(beats) if here else random.getrandbits(4))
            _, _, valid, payload = await ctx.tick().sample(pipeline.o.valid, pipeline.o.payload.as_value())
            found.append(payload if valid else None)

    sim = Simulator(pipeline)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    return found


def check(program, plan, seed=0):
    """A beat leaves in the cycle that the cycle model says behind each beat that came, the golden model's, and no
    other."""
    plan = without_handshake(plan)
    timing = schedule(bind(program, plan), program, pixels=plan.pixels)
    rng, fmt = np.random.default_rng(seed), program.input.format
    images = rng.integers(fmt.lo, fmt.hi, (7, *program.input.shape), endpoint=True)
    streams = Interface(program=program, pixels=plan.pixels, elements=plan.outputs)
    words = [int(word) for word in streams.pack(images)]
    comes = []
    while sum(comes) < len(words):
        comes.append(bool(rng.integers(3)))
    comes += [False] * (timing.latency + 3)
    answers = iter(streams.expected(golden.run(program, images).output))
    beat_latency = timing.latency - (streams.beats - 1)  # of the last beat of an image

    found = seen(Pipeline(program, plan), words, comes)

    wanted = [None] * beat_latency + [next(answers) if here else None for here in comes]
    assert found == wanted[: len(found)]


@pytest.mark.parametrize("clock_mhz", [50.0, 400.0])
@pytest.mark.parametrize("kernel", KERNELS)
def test_results_come_a_fixed_time_behind_their_pixels(kernel, clock_mhz):
    """Protects ranks in place of queues, valid through pauses of the source, and the predicted latency."""
    check(perceptron(kernel, (6, 5, 3), seed=4), at_once(perceptron(kernel, (6, 5, 3), seed=4), clock_mhz))


@pytest.mark.parametrize("seed", slow_but(range(8), 0))
def test_deeper_networks_and_maps_of_several_pixels(seed):
    """Protects chains of three layers, and ``last`` with the last pixel of a map."""
    deep = perceptron("mult", (4, 5, 4, 2), seed=seed, bits=4)
    check(deep, at_once(deep, 100.0), seed)
    made = Builder(np.random.default_rng(seed), (2, 2, 3))
    made.convolution("mult", 3)
    made.requantise(unsigned(4))
    program = made.raw()
    check(program, fold(program, device="xc7z020", clock_mhz=100.0, fps=1e8 / 6, fixed_weights=True), seed)


def test_the_handshake_takes_no_cycle_and_its_ports_go():
    """Ranks take the cycle of the queues; neither ready is a port."""
    program = perceptron("mult", (6, 5, 3))
    plan = at_once(program)
    bare = without_handshake(plan)
    times = [schedule(bind(program, own), program, pixels=own.pixels) for own in (plan, bare)]

    assert (times[0].latency, times[0].interval) == (times[1].latency, times[1].interval)
    texts = [to_verilog(Accelerator(Pipeline(program, own)), "top") for own in (plan, bare)]
    ports = [set(re.findall(r"^ +(?:input|output) .*?(\w+)[,;]?$", text, re.M)) for text in texts]
    gone = {name for name in ports[0] - ports[1] if "axis" in name}
    assert gone == {"s_axis_tready", "m_axis_tready"} and "m_axis_tvalid" in ports[1]


def test_a_plan_says_it_only_where_there_is_none():
    """Plans from before stay what they are; one in part is completed with ranks for queues."""
    program = perceptron("mult", (6, 5, 3))
    plan = without_handshake(at_once(program))
    part = {"stream": "none", "pixels": 1, "outputs": 3, "stages": [
        {"name": stage.name, "pe": stage.pe, "simd": stage.simd} for stage in plan.stages
    ]}  # fmt: skip

    assert "stream" not in at_once(program).to_json()
    assert Plan.from_json(plan.to_json()) == plan
    whole = complete_plan(part, program, device="xc7z020", clock_mhz=200.0, fixed_weights=True)
    assert whole.stream == "none" and [stage.queue for stage in whole.stages] == [1, 1]
    bind(program, whole)
    with pytest.raises(ValueError, match="stream must be one of axi, none, not 'avalon'"):
        replace(plan, stream="avalon")


def folded(program, **changes):
    return without_handshake(replace(fold(program, device="xc7z020", clock_mhz=50.0, **changes), control="none"))


MLP = perceptron("mult", (6, 5, 3))
REFUSALS = [
    (MLP, lambda: folded(MLP, fps=50e6), "stage 'dense0' is no circuit of constants: its weights are not fixed"),
    (MLP, lambda: folded(MLP, lanes=4, fixed_weights=True), "stage 'dense0' is no circuit of constants: not all of it"),
    (MLP, lambda: replace(without_handshake(at_once(MLP)), control="wishbone"), "registers behind wishbone stop its"),
    (MLP, lambda: replace(without_handshake(at_once(MLP)), outputs=1), "1 elements of a result leave per beat, and 3"),
]


@pytest.mark.parametrize("program, make, message", REFUSALS)
def test_what_may_wait_is_refused(program, make, message):
    """One line that says what."""
    with pytest.raises(UserError, match=f"^stream none needs a design in which nothing waits, but .*{message}"):
        bind(program, make())


def test_queues_that_are_no_ranks_are_refused():
    plan = without_handshake(at_once(MLP))
    plan = replace(plan, stages=(replace(plan.stages[0], queue=4), plan.stages[1]))

    with pytest.raises(UserError, match=r"queue of stage 'dense0' must be 1, not 4$"):
        bind(MLP, plan)


@pytest.mark.parametrize("make", [random_chain, random_residual])
@pytest.mark.parametrize("seed", range(3))
def test_any_other_network_is_refused(make, seed):
    """Rings of rows, residuals, classifiers: whatever comes first, in one line."""
    program = make(seed)

    with pytest.raises(UserError, match=r"^stream none needs a design in which nothing waits, but [^\n]+$"):
        bind(program, folded(program, fps=1_000, fixed_weights=True))
