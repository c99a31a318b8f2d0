"""Stages of a Program: moves and joins, and what the dataflow family says of what it cannot build."""

import numpy as np
import pytest
from addax.common.errors import UserError
from addax.hdl.dataflow.kinds.cut import CutStage
from addax.hdl.dataflow.kinds.join import JoinStage
from addax.hdl.dataflow.kinds.layer import LayerStage
from addax.hdl.dataflow.kinds.move import MoveStage
from addax.hdl.dataflow.kinds.pool import PoolStage
from addax.hdl.dataflow.kinds.stage import Stage
from addax.hdl.dataflow.stages import STAGES, stages_of
from addax.quant import program as programs
from addax.quant.formats import unsigned
from addax.quant.program import (
    ArgMax,
    Concat,
    Divide,
    Flatten,
    MatMul,
    Norm,
    PixelShuffle,
    Product,
    Rearrange,
    Reduce,
    Select,
    Slice,
    Softmax,
    SpatialShift,
    Table,
    Unfold,
    Upsample,
)  # fmt: skip
from addax.reports.estimate.dataflow.stages import count_kind
from networks import Builder
from token_networks import on_tokens

NOT_BUILT = (Table, Product, Select, Reduce, MatMul, Softmax, Divide, Norm, Rearrange, Unfold)
"""Operations that the dataflow family has no stage for."""


def builder():
    """Features of a layer: 4 channels, 4 x 4."""
    b = Builder(np.random.default_rng(0), (2, 4, 4))
    b.convolution("mult", 4)
    b.rescale(unsigned(8))
    return b


def test_moves_and_joins_are_stages_and_the_last_one_is_the_output():
    """Protects what each says of itself: kind, what it reads, shapes, and the channels of the streams of a join."""
    b = builder()
    made = b.last
    b.emit(SpatialShift(name="moved", source=made, offsets=np.array([[1, 0], [0, 2], [0, 0], [-3, 1]])))
    b.emit(Concat(name="both", source=made, others=("moved", made)))
    b.emit(Upsample(name="larger", source="both", factor=2))
    b.emit(PixelShuffle(name="flatter", source="larger", factor=2))

    layer, moved, both, larger, flatter = stages_of(b.raw())

    assert [s.kind for s in (moved, both, larger, flatter)] == ["spatial_shift", "concat", "upsample", "pixel_shuffle"]
    assert both.reads == (layer.name, "moved", layer.name) and both.parts == (4, 4, 4)
    assert moved.offsets == ((1, 0), (0, 2), (0, 0), (-3, 1))
    assert (larger.result, flatter.result, flatter.factor) == ((12, 8, 8), (3, 16, 16), 2)
    assert not any(s.macs for s in (moved, both, larger, flatter))


def shifted(b, name="moved"):
    b.emit(SpatialShift(name=name, source=b.last, offsets=np.ones((b.shape()[0], 2), np.int64)))


def test_sums_are_not_moved_joined_or_given():
    """Sums never leave their stage."""
    b = builder()
    b.convolution("mult", 2)
    sums = b.last
    with pytest.raises(UserError, match=rf"^{sums} gives sums; the dataflow family needs a requantise or thresholds"):
        stages_of(b.raw())

    shifted(b)
    b.rescale(unsigned(4))
    with pytest.raises(UserError, match=rf"^{sums} must be followed by a requantise or thresholds"):
        stages_of(b.raw())


@pytest.mark.parametrize("follow", ["shift", "rescale", "nothing"])
def test_a_flattened_map_is_for_dense_layers(follow):
    """The stream brings it pixel by pixel, the Program means channel by channel."""
    b = builder()
    b.emit(Flatten(name="flatten", source=b.last))
    if follow == "shift":
        shifted(b)
    elif follow == "rescale":
        b.rescale(unsigned(4))
    what = "flatten gives" if follow == "nothing" else f"{b.last} reads"

    with pytest.raises(UserError, match=f"^{what} a flattened map; the dataflow family"):
        stages_of(b.raw())


@pytest.mark.parametrize("kind", NOT_BUILT)
def test_an_operation_without_a_stage_is_named(kind):
    """Else nobody knew which layer of theirs it was."""
    b, kind = builder(), kind.__name__
    match kind:
        case "Table":
            b.table(unsigned(4))
        case "Product":
            b.product(b.last)
        case "Select":
            made = b.last
            b.emit(Slice(name="one", source=made, axis="C", start=0, stop=1))
            b.emit(Select(name="select9", source=b.last, branches=(made, made)))
        case "MatMul" | "Softmax" | "Divide" | "Norm" | "Rearrange" | "Unfold":
            b.emit(on_tokens(kind, f"{kind.lower()}9", b.last, *b.inferred[b.last]))
        case "Reduce":
            b.emit(Reduce(name="reduce9", source=b.last, how="sum"))
    b.rescale(unsigned(4))

    refused = rf"^{kind.lower()}\d: the dataflow family cannot build {kind}; it builds ArgMax, "
    with pytest.raises(UserError, match=refused):
        stages_of(b.raw())


def test_joined_tokens_are_named():
    """Channels are joined as they come; pixels of one map behind those of another would have to wait."""
    b = builder()
    b.emit(Concat(name="both", source=b.last, others=(b.last,), axis="W"))
    b.rescale(unsigned(4))

    with pytest.raises(UserError, match=r"^both: the dataflow family cannot build Concat along W; it joins channels$"):
        stages_of(b.raw())


@pytest.mark.parametrize("behind", [True, False])
def test_an_arg_max_of_a_map_is_named(behind):
    """In the middle and at the end: the stream of answers holds class scores and their class, or features."""
    b = builder()
    b.emit(ArgMax(name="number", source=b.last))
    if behind:
        b.rescale(unsigned(4))

    with pytest.raises(UserError, match=r"^number: the dataflow family cannot build ArgMax but behind class scores"):
        stages_of(b.raw())


def test_a_program_of_pixels_alone_is_refused():
    b = Builder(np.random.default_rng(0), (2, 4, 4))
    b.rescale(unsigned(4))

    with pytest.raises(UserError, match=r"^the program has nothing to compute$"):
        stages_of(b.raw())


def test_every_operation_and_every_kind_of_stage_is_known():
    """One that a register lacks would be found by the first user who needs it."""
    operations = {kind for kind in vars(programs).values() if isinstance(kind, type) and issubclass(kind, programs.Op)}
    kinds = {LayerStage, PoolStage, MoveStage, CutStage, JoinStage}

    assert set(STAGES) == operations - {programs.Op, *NOT_BUILT}
    assert not [kind for kind in kinds if count_kind.dispatch(kind) is count_kind.dispatch(object)]
    assert kinds == {kind for kind in leaves(Stage) if kind.__module__.startswith(Stage.__module__.rpartition(".")[0])}


def leaves(kind):
    """Subclasses that have none themselves."""
    below = kind.__subclasses__()
    return {leaf for one in below for leaf in leaves(one)} if below else {kind}
