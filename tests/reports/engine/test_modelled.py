"""The model of networks that engines cannot run yet: against loops that go block by block, and against the exact model
of those that they can."""

from math import ceil

import pytest
import torch
from addax.hdl.engine.compile.image import compiled
from addax.hdl.engine.cycles.model import predicted
from addax.hdl.engine.plan import EnginePlan
from addax.models.nets import zoo
from addax.models.nets.counting import OF_CONTEXT, OF_SCORES, LaneWork, count
from addax.quant.lower.lowering import lower
from addax.reports.engine.modelled import modelled
from hypothesis import given
from hypothesis import strategies as st
from torchnets import pictures, settle

PLAN = EnginePlan(device="xczu7ev", feature_bytes=4096)


def naive(work, plan, vector):
    """Cycles of the array, of the vector unit, and words read and written, counted one by one; windows are 1x1."""
    room = min(plan.pixels, plan.feature_bytes // (plan.pin * ceil(work.inputs / plan.pin)))
    array = read = written = 0
    for _ in range(work.groups):
        left = work.pixels
        while left > 0:
            band, left = min(left, room), left - room
            for block in range(0, work.inputs, plan.pin):
                read += band
                for _ in range(0, work.outputs, plan.pout):
                    array += max(band, plan.pout + 1)
                    read += plan.pout
                    if block == 0:
                        read += 13
                        written += band
    norms = ceil(work.functions.get("layernorm", 0) / plan.pin)
    elements = work.functions.get("softmax", 0) + work.functions.get("gelu", 0)
    elements += 2 * work.functions.get("layernorm", 0)
    if work.product == OF_CONTEXT:
        elements += work.groups * work.pixels * work.outputs
    return array, ceil(elements / vector), read + norms, written + norms


@st.composite
def works(draw):
    """Layers and products of small sizes, with functions behind them."""
    sizes = st.integers(1, 70)
    names = draw(st.sets(st.sampled_from(("softmax", "gelu", "layernorm"))))
    product = draw(st.sampled_from(("", OF_SCORES, OF_CONTEXT)))
    return LaneWork(
        name="any", kernel=draw(st.sampled_from(("mult", "adder"))), groups=draw(st.integers(1, 4)), inputs=draw(sizes),
        outputs=draw(sizes), pixels=draw(st.integers(1, 400)), product=product,
        functions={name: draw(st.integers(1, 5000)) for name in names},
    )  # fmt: skip


@given(works(), st.sampled_from((4, 8, 16)))
def test_a_layer_takes_what_its_blocks_take(work, vector):
    """Bands, blocks and words one by one; its cycles are those of the slowest part, and what begins it."""
    found, (array, busy, read, written) = modelled(PLAN, [work], vector=vector), naive(work, PLAN, vector)

    assert (found.array, found.vector, found.read, found.written) == (array, busy, read, written)
    begun = found.cycles - max(array, busy, read, written)
    assert begun > 0 and (begun - 52) % 6 == 0
    assert found.attention == (found.cycles if work.product else 0)
    assert found.array * PLAN.lanes >= work.macs


def test_energy_of_terms_is_that_of_the_table():
    """8 bits at 45 nm: a product and its addition 0.23 pJ, two additions 0.06 pJ; words cost the same for both."""
    mult, adder = (
        modelled(PLAN, [LaneWork(name="any", kernel=kernel, inputs=32, outputs=48, pixels=100)])
        for kernel in ("mult", "adder")
    )

    terms = 32 * 48 * 100
    assert (mult.lanes_pj, adder.lanes_pj) == pytest.approx((0.23 * terms, 0.06 * terms))
    assert mult.buffers_pj == adder.buffers_pj == (mult.array + 2 * (mult.read + mult.written)) * 128 * 10 / 64
    assert mult.energy_uj == pytest.approx((mult.lanes_pj + mult.buffers_pj) / 1e6)


def test_networks_add_up_and_wider_memory_is_never_slower():
    counts = zoo.counts_of("tnt-digits")
    single = [modelled(PLAN, [work]) for work in counts.works]
    whole = modelled(PLAN, counts.works)

    assert whole.cycles == sum(run.cycles for run in single)
    assert whole.attention == sum(run.cycles for run, work in zip(single, counts.works, strict=True) if work.product)
    narrow = EnginePlan(device="xczu7ev", feature_bytes=4096, memory_bits=64)
    assert modelled(narrow, counts.works).cycles > whole.cycles


def test_cycles_are_near_those_of_an_event_model():
    """Made before by others, in millions: 5.0, 21.6 and 131 for a 16 x 16 engine with 128 bits and 16 elements."""
    plan = EnginePlan(device="xczu7ev")
    for name, millions in (("deit-tiny", 5.0), ("tnt-small", 21.6), ("ipt-x2", 131)):
        found = modelled(plan, zoo.counts_of(name).works).cycles
        assert found / 1e6 == pytest.approx(millions, rel=0.03)


@pytest.mark.slow
def test_cycles_of_a_network_that_engines_run_are_near_the_exact_ones():
    """ResNet-20 with random weights, compiled and predicted to the cycle."""
    torch.manual_seed(0)
    shape, plan = (3, 32, 32), EnginePlan(device="xczu7ev", factor_bits=18)
    module = settle(zoo.build("resnet20", kernel="mult", shape=shape), pictures(16, shape))
    works = count(module, shape).works

    exact = predicted(compiled(lower(module, pictures(16, shape)), plan)).total
    assert modelled(plan, works).cycles == pytest.approx(exact, rel=0.02)
