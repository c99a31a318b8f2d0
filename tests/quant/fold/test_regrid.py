"""Sums that are wanted on several grids: requantised once, and what that does to the values."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from addax.hdl.dataflow.stages import stages_of
from addax.models.layers.adder import AdderConv2d
from addax.quant import golden
from addax.quant.fold.factors import fold_scale
from addax.quant.fold.regrid import requantised_once
from addax.quant.fold.scheme import Scheme
from addax.quant.formats import unsigned
from addax.quant.lower.lowering import lower
from addax.quant.program import Convolution, Input, MaxPool, Program, Requantise
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torchnets import Net, pictures, run, settle


class Residual(nn.Module):
    """Features of the first layer go to a convolution on few bits, and around it on more."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 4, 3, stride=2, bias=False), nn.BatchNorm2d(4), nn.ReLU())
        self.block = nn.Sequential(AdderConv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4))
        self.classifier = nn.Conv2d(4, 10, 5)

    def forward(self, x):
        x = self.first(x)
        return self.classifier(nn.functional.relu(self.block(x) + x)).flatten(1)


IMAGES = np.random.default_rng(3).integers(0, 256, (24, 1, 12, 12), dtype=np.uint8)


def test_a_residual_of_more_bits_leaves_one_requantise_behind_each_array():
    """The dataflow family has one requantiser behind an array; the residual waits at its width."""
    program = lower(Residual().eval(), IMAGES, scheme=Scheme(bits=4, residual_bits=8))

    assert stages_of(program)
    read = [op.source for op in program.ops if isinstance(op, Requantise)]
    sums = [op.name for op in program.ops if isinstance(op, Convolution)]
    assert sorted(name for name in read if name in sums) == sorted(sums)
    (join,) = [op for op in program.ops if isinstance(op, Requantise) and op.residual]
    assert (program.format(join.residual).bits, program.format(join.source).bits > 8) == (8, True)


SAME = {"coarse": "value", "fine": "value"}
"""What `on_two_grids` makes is one function of the sums, twice."""


def test_two_batch_norms_of_one_sum_stay_two_functions_of_it():
    """One was made of the other's result, by the ratio of their steps alone: 24 % off, and nothing said so."""
    torch.manual_seed(0)
    net = Net(
        lambda n, x: (lambda y: n.c2(n.bn1(y).relu()) + n.bn2(y))(n.c(x)), c=nn.Conv2d(1, 4, 3, padding=1),
        bn1=nn.BatchNorm2d(4), bn2=nn.BatchNorm2d(4), c2=nn.Conv2d(4, 4, 3, padding=1),
    )  # fmt: skip
    settle(net, pictures(30, (1, 8, 8)))
    net.bn2.weight.data *= 4
    images = pictures(20, (1, 8, 8), seed=1)

    program = lower(net, pictures(30, (1, 8, 8)))

    result, exact = golden.run(program, images).output * program.steps[program.output], run(net, images)[""]
    assert np.sqrt(np.square(result - exact).mean()) < 0.03 * exact.std()


def on_two_grids(coarse, fine, ratio, step, flip):
    """A layer of one weight whose sums are requantised twice, the finer grid first or last."""

    def grid(name, fmt, size):
        factors = fold_scale(
            gain=np.array([0.11 / size]), centre=np.zeros(1), bias=np.zeros(1), accumulator=unsigned(8 + 8)
        )
        return Requantise(
            name=name, source="conv", multiplier=factors.multiplier, offset=factors.offset, shift=factors.shift,
            format=fmt, lo=0, hi=fmt.hi,
        )  # fmt: skip

    grids = [grid("coarse", coarse, step), grid("fine", fine, step / ratio)]
    conv = Convolution(
        name="conv", source="pixels", kernel="mult", weight=np.full((1, 1, 1, 1), 5), weight_format=unsigned(8),
        stride=1, padding=0, pad=np.zeros(1, np.int64), groups=1,
    )  # fmt: skip
    start = (Input(name="pixels", shape=(1, 16, 16)), conv)
    end = MaxPool(name="end", source="coarse", size=1, stride=1, padding=0)
    return [*start, *(grids[::-1] if flip else grids), end], {"coarse": step, "fine": step / ratio}


def tensors(ops, wanted):
    """What each operation of ``wanted`` gives for all 256 pixels there are, as the raw output of a Program."""
    image = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    found = {}
    for name in wanted:
        names = {name}
        for op in reversed(ops):
            names |= {op.source} if op.name in names and not isinstance(op, Input) else set()
        found[name] = golden.run(Program(ops=tuple(op for op in ops if op.name in names)), image).output
    return found


@given(
    bits=st.integers(2, 6), more=st.integers(1, 6), step=st.floats(0.4, 40), ratio=st.floats(1.01, 60),
    flip=st.booleans(),
)  # fmt: skip
def test_a_value_moves_by_no_more_than_one(bits, more, step, ratio, flip):
    """A second rounding can only decide cases near a half differently."""
    ops, steps = on_two_grids(unsigned(bits), unsigned(bits + more), ratio, step, flip)
    formats = {"fine": unsigned(bits + more), "coarse": unsigned(bits)}
    covers = formats["fine"].hi / ratio > formats["coarse"].hi - 0.5

    once = requantised_once(ops, steps, formats, values=SAME)

    before, after = tensors(ops, formats), tensors(once, formats)
    assert [op.source for op in once if op.name == "coarse"] == ["fine" if covers else "conv"]
    assert np.array_equal(before["fine"], after["fine"])
    moved = np.abs(before["coarse"] - after["coarse"])
    assert moved.max() <= 1 and (moved > 0).mean() <= (0.5 / ratio + 0.05 if covers else 0)


@pytest.mark.parametrize("change", ["residual", "step", "bits"])
def test_what_is_not_the_same_tensor_stays(change):
    """Sums with a residual are other values; a grid without a step stands for nothing known; another of as many bits
    would round once more by as much."""
    ops, steps = on_two_grids(unsigned(8 if change == "bits" else 4), unsigned(8), 8, 2.0, flip=False)
    if change == "residual":
        ops[-2] = replace(ops[-2], residual="pixels", residual_multiplier=1)
    elif change == "step":
        del steps["fine"]

    assert requantised_once(ops, steps, {"fine": unsigned(8), "coarse": unsigned(4)}, values=SAME) == ops


def test_what_a_program_ends_with_stays_its_end():
    ops, steps = on_two_grids(unsigned(4), unsigned(8), 8, 2.0, flip=False)

    assert (
        requantised_once(ops[:-1], steps, {"fine": unsigned(8), "coarse": unsigned(4)}, values=SAME)[-1].name == "fine"
    )
