"""What all operations of a Program have in common: arrays that stay, pickles, short texts."""

import pickle
from dataclasses import fields, replace

import numpy as np
import pytest
from addax.quant.files.archive import program_bytes
from addax.quant.formats import Format, unsigned
from addax.quant.golden import run
from addax.quant.ops.base import Op, Tensor
from addax.quant.ops.channels import ArgMax
from addax.quant.ops.constant import Constant
from addax.quant.ops.ends import Input
from addax.quant.program import Program, Requantise, SpatialShift
from choosing_networks import random_choosing
from gated_networks import random_gated
from networks import (
    random_bending,
    random_chain,
    random_graph,
    random_moving,
    random_program,
    random_reshaping,
    random_residual,
    random_windows,
)
from token_networks import random_tokens

MAKERS = (
    random_program, random_chain, random_graph, random_reshaping, random_residual, random_moving, random_windows,
    random_bending, random_gated, random_choosing, random_tokens,
)  # fmt: skip


@pytest.mark.parametrize("make", MAKERS)
def test_program_pickles(make):
    """Workers of other processes get Programs."""
    program = make(1)

    again = pickle.loads(pickle.dumps(program))

    assert program_bytes(again) == program_bytes(program)
    pixels = np.random.default_rng(0).integers(0, 256, (3, *program.input.shape), np.uint8)
    assert np.array_equal(run(again, pixels).output, run(program, pixels).output)


@pytest.mark.parametrize("make", MAKERS)
def test_arrays_cannot_be_written(make):
    """A Program was checked when it was made; so it stays, also behind a pickle and a replaced field."""
    for op in make(2).ops:
        for held in (op, pickle.loads(pickle.dumps(op)), replace(op, name="other")):
            arrays = [getattr(held, item.name) for item in fields(held)]
            for array in arrays:
                if isinstance(array, np.ndarray):
                    with pytest.raises(ValueError, match="read-only"):
                        array[...] = 0


def test_operation_does_not_follow_the_array_that_it_was_made_of():
    offsets = np.zeros((3, 2), np.int64)
    whole = np.arange(6)
    view = whole[:3]
    view.setflags(write=False)

    op = SpatialShift(name="move", source="x", offsets=offsets, pad=view)
    offsets[:] = 1
    whole[:] = 9

    assert not op.offsets.any()
    assert op.pad.tolist() == [0, 1, 2]


def test_text_of_an_operation_has_shapes_and_no_values():
    op = Requantise(
        name="req", source="conv", multiplier=np.zeros(300, np.int64), offset=np.zeros(300, np.int64), shift=3,
        format=Format(bits=8, signed=True), lo=-5, hi=5,
    )  # fmt: skip

    assert repr(op) == (
        "Requantise(name=req, source=conv, multiplier=int64[300], offset=int64[300], shift=3, format=int8, lo=-5, "
        "hi=5, residual=None, residual_multiplier=0, terms=0)"
    )


@pytest.mark.parametrize("make", MAKERS)
def test_text_of_every_operation_is_short(make):
    for op in make(3).ops:
        assert len(repr(op)) < 400
        assert type(op).__name__ in repr(op)


def test_text_of_a_program_is_short(lenet):
    program = lenet()

    assert len(repr(program)) < 2000
    assert all(op.name in repr(program) for op in program.ops)


def test_text_of_a_long_program_counts_what_it_leaves_out():
    ops = [Input(name="x", shape=(1, 2, 2))]
    while len(ops) < 100:
        ops.append(SpatialShift(name=f"move{len(ops)}", source=ops[-1].name, offsets=np.zeros((1, 2), np.int64)))

    text = repr(Program(ops=tuple(ops)))

    assert len(text) < 2000
    assert text.endswith("move19: SpatialShift, 80 more)")


def test_sources_of_all_operations_are_tuples():
    for make in MAKERS:
        for op in make(4).ops:
            assert isinstance(op.sources, tuple)
            assert (op.sources == ()) == isinstance(op, Input | Constant)


def test_operation_infers_from_what_it_reads_alone():
    """Without a Program around it."""
    op = ArgMax(name="class", source="scores")

    assert op.infer([Tensor((10, 1, 1), unsigned(8))]) == Tensor((1, 1, 1), unsigned(4))
    with pytest.raises(ValueError, match=r"^unknown operation Op$"):
        Op(name="any", source="x").infer([])
