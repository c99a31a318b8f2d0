"""Arg-max, choices and reductions of channels: the golden model computes them as plain loops do."""

import numpy as np
import pytest
from addax.quant.formats import Format, unsigned
from addax.quant.program import ArgMax, Reduce, Select, Slice
from chains import Chain, formats, images_of, shapes, values
from choosing_networks import random_choosing
from hypothesis import given, settings
from hypothesis import strategies as st
from naive import check
from networks import random_images


@settings(max_examples=20)
@given(data=st.data())
def test_arg_max_equals_the_loops(data):
    """Of any format: of few bits, so that the largest is often there several times, and the first of them wins."""
    draw = data.draw
    shape = (draw(st.integers(1, 6)), draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    chain = Chain(shape, Format(bits=draw(st.sampled_from([2, 2, 3, 8, 16])), signed=draw(st.booleans())))
    chain.add(ArgMax(name="number", source="stored"))

    check(chain.program(), draw(images_of(shape)))


@settings(max_examples=20)
@given(data=st.data())
def test_choice_equals_the_loops(data):
    """By masks with more numbers than branches, which stand for the last one."""
    draw = data.draw
    shape, fmt, bits = draw(shapes()), draw(formats()), draw(st.integers(1, 3))
    chain = Chain(shape, fmt)
    for name in ("other", "third"):
        multiplier, offset = draw(values(Format(bits=10, signed=True), shape[0])), draw(values(fmt, shape[0]))
        chain.requantise(name, fmt, multiplier, offset, 4)
    chain.add(Slice(name="one", source="pixels", axis="C", start=0, stop=1))
    chain.requantise("mask", unsigned(bits), np.ones(1), np.zeros(1), 8 - bits)
    count = draw(st.integers(2, 1 << bits))
    named = draw(st.lists(st.sampled_from(["stored", "other", "third"]), min_size=count, max_size=count))
    chain.add(Select(name="chosen", source="mask", branches=tuple(named)))

    check(chain.program(), draw(images_of(shape)))


@settings(max_examples=20)
@given(data=st.data())
def test_reduction_equals_the_loops(data):
    """Of all channels, of parts of them, and of each by itself."""
    draw = data.draw
    each, parts = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    shape = (each * parts, draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    chain = Chain(shape, draw(formats()))
    chain.add(Reduce(name="reduced", source="stored", how=draw(st.sampled_from(["sum", "max"])), parts=parts))

    check(chain.program(), draw(images_of(shape)))


@pytest.mark.parametrize("seed", range(12))
def test_networks_that_choose_equal_the_loops(seed):
    """Masks of sums, of features and of thresholds, choices behind choices, reductions between them."""
    program = random_choosing(seed)

    check(program, random_images(program, 2, seed))


def test_networks_that_choose_have_everything_and_are_not_stuck():
    """Else the tests on them would protect less than they say: masks ask for several branches, and ends differ."""
    programs = [random_choosing(seed) for seed in range(12)]
    results = [check(p, random_images(p, 1, seed)) for seed, p in enumerate(programs[:2])]
    ops = [op for p in programs for op in p.ops]

    assert {op.how for op in ops if isinstance(op, Reduce)} == {"sum", "max"}
    assert sum(isinstance(op, Reduce) and op.parts > 1 for op in ops) > 2
    assert sum(isinstance(op, Select) and len(op.branches) > 2 for op in ops) > 4
    assert {p.classifies for p in programs} == {True, False}
    assert any(isinstance(p.ops[-1], ArgMax) and not p.classifies for p in programs)
    masks = [r.tensors[op.source] for r in results for op in r.program.ops if isinstance(op, Select)]
    assert any(len(np.unique(mask)) > 1 for mask in masks)
