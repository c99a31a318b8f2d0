"""Blocks of binary networks become integers: PReLU, batch norm and shortcut in one requantise, signs as thresholds."""

import numpy as np
import pytest
import torch
from addax.models.layers.binary import BinaryConv2d, Sign
from addax.models.layers.kernels import Kernels
from addax.models.layers.normalize import Normalise
from addax.models.nets.blocks import BinaryBlock, pad_shortcut
from addax.models.nets.resnet import ResNet20
from addax.quant import golden
from addax.quant.formats import unsigned
from addax.quant.lower.lowering import lower
from addax.quant.program import Concat, Constant, Convolution, MaxPool, Requantise, Slice, Threshold
from torch import nn
from torchnets import Net, pictures, run, settle


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


class ResNet8(ResNet20):
    """One block per stage: all that ResNet-20 has, once."""

    blocks = 1


def block(inputs, outputs, stride, each):
    beside = pad_shortcut(inputs, outputs, stride)
    return BinaryBlock(Kernels.of("xnor:fda"), "", inputs, outputs, stride, shortcut=beside, each=each)


@pytest.mark.parametrize(("inputs", "outputs", "stride"), [(3, 3, 1), (3, 8, 2), (3, 6, 2)])
@pytest.mark.parametrize("each", [False, True])
def test_block_is_the_float_block_up_to_the_last_rounding(inputs, outputs, stride, each):
    """All within is single bits and exact; batch norms rise and fall, slopes differ from 0.25."""
    net = Net(
        lambda n, x: n.block(n.normalise(x)), normalise=Normalise([0.4, 0.5, 0.6], [0.25, 0.2, 0.3]),
        block=block(inputs, outputs, stride, each),
    )  # fmt: skip
    nn.init.constant_(net.block.prelu2.weight, 0.6)
    settle(net, pictures(64, (3, 8, 8)), signs=(1.0, -1.0))
    images = pictures(40, (3, 8, 8), seed=1)

    program = lower(net, pictures(64, (3, 8, 8)), bits=12)

    step = program.steps[program.output]
    result, exact = golden.run(program, images).output * step, run(net, images)[""]
    # The sign of an inner sum may turn where that was stored, next to 0, and moves nine pixels behind it.
    right = np.abs(result - exact) <= 4 * step
    assert right.mean() > (0.9 if each else 0.999)
    assert np.ptp(exact) > 100 * step


@pytest.fixture(scope="module")
def small():
    """FDA-BNN's network, one block per stage, lowered."""
    torch.manual_seed(0)
    net = settle(ResNet8(kernel="xnor:fda", shape=(3, 8, 8)), pictures(64, (3, 8, 8)))
    return lower(net, pictures(64, (3, 8, 8)))


def test_operations_of_a_lowered_binary_network(small):
    """Between binary layers stands a threshold on sums; a shortcut is slices, zeros and a residual behind a bend."""
    made = {op.name: op for op in small.ops}

    assert [op.kernel for op in small.ops if isinstance(op, Convolution)] == ["mult", *["xnor"] * 6, "mult"]
    for stage in (1, 2, 3):
        inner, last = made[f"layer{stage}_0_sign2"], made[f"layer{stage}_0_conv2_out"]
        assert (type(inner), inner.source, inner.format) == (Threshold, f"layer{stage}_0_conv1", unsigned(1))
        assert (type(last), last.source, last.bends) == (Requantise, f"layer{stage}_0_conv2", True)
        assert last.residual is not None
    assert made["layer3_0_conv2_out"].lo == 0, "the only ReLU stands at the end"
    cuts = [(op.axis, op.start, op.step) for op in small.ops if isinstance(op, Slice)]
    assert cuts == [("H", 0, 2), ("W", 0, 2)] * 2
    joins = [op for op in small.ops if isinstance(op, Concat)]
    assert [[small.shape(name)[0] for name in op.sources] for op in joins] == [[8, 16, 8], [16, 32, 16]]
    assert not any(op.value.any() for op in small.ops if isinstance(op, Constant))


def test_sums_are_read_once(small):
    """Hardware has one requantiser behind an array: a sign and a shortcut of one sum read one stored tensor."""
    sums = [op.name for op in small.ops if isinstance(op, Convolution)]
    reads = [source for op in small.ops for source in small.sources(op) if source in sums]

    assert sorted(reads) == sorted(sums)
    assert small.by_name["layer1_0_sign1"].source == small.by_name["layer1_0_conv2_out"].residual


def test_tensor_that_is_bent_once_and_wanted_twice_is_made_once():
    """An addition wants twelve bits, a slice eight: the coarse grid is made of the fine one."""
    net = Net(
        lambda n, x: (lambda y: n.bn2(n.c2(x)) + y + n.up(y[:, :, ::2, ::2]))(n.prelu(n.bn(n.c(x)))),
        c=nn.Conv2d(1, 4, 3, padding=1), bn=nn.BatchNorm2d(4), prelu=nn.PReLU(), c2=nn.Conv2d(1, 4, 3, padding=1),
        bn2=nn.BatchNorm2d(4), up=nn.Upsample(scale_factor=2),
    )  # fmt: skip
    settle(net, pictures(30, (1, 8, 8)))

    program = lower(net, pictures(30, (1, 8, 8)))

    bent = [op for op in program.ops if isinstance(op, Requantise) and op.bends]
    assert [op.source for op in bent] == ["c"]
    assert sum(op.source == bent[0].name for op in program.ops if isinstance(op, Requantise)) == 1


@pytest.mark.parametrize(
    "behind", [lambda n, x: n.bn2(x) * 0.5 + 1, lambda n, x: 1 - n.bn2(x), lambda n, x: n.bn2(3 * x)]
)
def test_batch_norm_and_factors_behind_a_leaky_relu_are_one_requantise(behind):
    net = Net(
        lambda n, x: behind(n, n.relu(n.bn1(n.c(x)))), c=nn.Conv2d(1, 4, 3), bn1=nn.BatchNorm2d(4),
        relu=nn.LeakyReLU(0.3), bn2=nn.BatchNorm2d(4),
    )  # fmt: skip
    settle(net, pictures(30, (1, 8, 8)), signs=(1.0, -1.0))
    images = pictures(20, (1, 8, 8), seed=1)

    program = lower(net, pictures(30, (1, 8, 8)), bits=10)

    assert [type(op) for op in program.ops[1:]] == [Convolution, Requantise]
    step, fmt = program.steps[program.output], program.format(program.output)
    exact = (run(net, images)[""] / step).clip(fmt.lo, fmt.hi)
    assert np.abs(golden.run(program, images).output - exact).max() < 3, "weights and the result are rounded"


@pytest.mark.parametrize("slope", [0.25, -0.5, 0.0])
def test_sign_of_a_prelu_that_turns_back_is_taken_of_what_is_stored(slope):
    """With a slope of 0 or less no single threshold says where the result is above 0."""
    net = Net(
        lambda n, x: n.flat(n.fc(n.s(n.bn2(n.prelu(n.bn1(n.c(x))))))), c=nn.Conv2d(1, 6, 3, bias=False),
        bn1=nn.BatchNorm2d(6), prelu=nn.PReLU(init=slope), bn2=nn.BatchNorm2d(6), s=Sign(), fc=BinaryConv2d(6, 10, 6),
        flat=nn.Flatten(),
    )  # fmt: skip
    settle(net, pictures(50, (1, 8, 8)), signs=(1.0, -1.0))
    images = pictures(60, (1, 8, 8), seed=1)

    program = lower(net, images[:20], bits=16)

    bits = golden.run(program, images, trace=True).tensors["s"]
    assert (2 * bits - 1 == run(net, images)["s"]).mean() > 0.999
    assert program.by_name["s"].source == ("c" if slope > 0 else "c_out")


def test_max_pool_in_front_of_a_sign_is_one_of_bits():
    """The sign of the largest is the largest sign: sums become bits at once, and the pool compares single bits."""
    net = Net(
        lambda n, x: n.flat(n.fc(n.s(n.pool(n.bn(n.c(x)))))), c=nn.Conv2d(1, 6, 3), bn=nn.BatchNorm2d(6),
        pool=nn.MaxPool2d(2), s=Sign(), fc=BinaryConv2d(6, 10, 3), flat=nn.Flatten(),
    )  # fmt: skip
    settle(net, pictures(50, (1, 8, 8)), signs=(1.0, -1.0))
    images = pictures(60, (1, 8, 8), seed=1)

    program = lower(net, images[:20], bits=16)

    pool = next(op for op in program.ops if isinstance(op, MaxPool))
    assert program.format(pool.source) == unsigned(1)
    bits = golden.run(program, images, trace=True).tensors[pool.name]
    assert (2 * bits - 1 == run(net, images)["s"]).mean() > 0.999
