"""ResNet-20 as the AdderNet authors built it, and the Program that it becomes."""

import numpy as np
import pytest
import torch
from addax.common.errors import UserError
from addax.models.layers.adder import AdderConv2d
from addax.models.layers.normalize import Normalise
from addax.models.layers.shift import ShiftConv2d
from addax.models.nets import zoo
from addax.models.nets.resnet import CIFAR10_DEVIATION, CIFAR10_MEAN, ResNet20
from addax.quant import golden
from addax.quant.fold.scheme import Scheme
from addax.quant.formats import signed, unsigned
from addax.quant.lower.lowering import lower
from addax.quant.program import AveragePool, Convolution
from torch import nn
from torchnets import pictures, run, settle

SHAPE = (3, 16, 16)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


# The network


def test_network_has_the_parameters_of_the_published_file():
    """272,484 parameters in 132 entries of the state dictionary; ordinary first and last layers, adders between."""
    net = ResNet20()

    assert sum(value.numel() for value in net.parameters()) == 272_484
    assert len(net.state_dict()) == 132
    kinds = {path: type(m) for path, m in net.named_modules() if isinstance(m, AdderConv2d | nn.Conv2d)}
    assert [path for path, kind in kinds.items() if kind is nn.Conv2d] == ["conv1", "fc"]
    assert len(kinds) == 1 + 18 + 2 + 1
    assert not any("bias" in name and "bn" not in name and "downsample.1" not in name for name in net.state_dict())


@pytest.mark.parametrize(("kernel", "kind"), [("adder", AdderConv2d), ("mult", nn.Conv2d), ("shift", ShiftConv2d)])
def test_kernel_is_that_of_all_layers_between(kernel, kind):
    net = ResNet20(kernel=kernel, shape=(1, 8, 8), classes=3)

    assert type(net.layer1[0].conv1) is type(net.layer3[2].conv2) is type(net.layer2[0].downsample[0]) is kind
    assert net(torch.rand(2, 1, 8, 8)).shape == (2, 3)


def test_odd_sizes_are_refused():
    for shape in ((3, 16, 20), (3, 18, 18)):
        with pytest.raises(UserError, match=f"side is a multiple of 4, not {shape[1]}x{shape[2]}"):
            zoo.build("resnet20", kernel="adder", shape=shape)


def test_images_are_normalised_as_the_authors_did():
    """(pixel / 255 - mean) / deviation, per channel; in the network, so that it is quantised with it."""
    x = torch.rand(2, 3, 4, 4, dtype=torch.float64)

    result = Normalise(CIFAR10_MEAN, CIFAR10_DEVIATION)(x)

    for c, (mean, deviation) in enumerate(
        zip((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010), strict=True)
    ):  # fmt: skip
        assert torch.allclose(result[:, c], (x[:, c] - mean) / deviation, atol=1e-6)
    assert Normalise([0.5], [0.5]).state_dict() == {}, "constants are no weights"


@pytest.mark.parametrize(("mean", "deviation"), [([0.5], [0.2, 0.2]), ([0.5], [0.0]), ([0.5, 0.5], [0.2, -1.0])])
def test_normalisation_without_deviations_is_refused(mean, deviation):
    with pytest.raises(ValueError, match="as many deviations as means, all positive"):
        Normalise(mean, deviation)


# Lowered


@pytest.fixture(scope="module")
def settled():
    """ResNet-20 with random weights and the batch statistics of random images, by kernel, each made once."""
    made = {}

    def make(kernel):
        if kernel not in made:
            torch.manual_seed(0)
            made[kernel] = settle(ResNet20(kernel=kernel, shape=SHAPE), pictures(64, SHAPE))
        return made[kernel]

    return make


@pytest.mark.parametrize(
    ("kernel", "scheme", "agreement"),
    [
        ("adder", Scheme(bits=8), 0.93),
        ("adder", Scheme(bits=12, ranges="max"), 0.98),
        ("mult", Scheme(bits=12, ranges="max"), 0.98),
        ("shift", Scheme(bits=12, ranges="max"), 0.98),
    ],
    ids=["adder-8", "adder-12", "mult-12", "shift-12"],
)
def test_random_residual_network_decides_as_in_float(settled, kernel, scheme, agreement):
    """Nothing is learned here that could make up for a wrong factor in one of 22 layers."""
    net, images = settled(kernel), pictures(100, SHAPE, seed=1)

    program = lower(net, pictures(64, SHAPE), scheme=scheme)

    result, exact = golden.run(program, images), run(net, images)[""]
    assert len(set(exact.argmax(1).tolist())) > 3
    assert (result.classes == exact.argmax(1)).mean() >= agreement
    error = result.scores * program.steps["scores"] - exact
    assert np.sqrt(np.square(error).mean()) < 0.05 * exact.std()


def test_operations_of_the_lowered_network(settled):
    """Nine additions: seven with what is stored, at eight bits, two with a shortcut of its own, at twelve."""
    program = lower(settled("adder"), pictures(8, SHAPE), bits=4)

    kernels = [op.kernel for op in program.ops if isinstance(op, Convolution)]
    assert kernels == ["mult", *["adder"] * 20, "mult"]
    joins = {op.source: program.format(op.residual) for op in program.ops if getattr(op, "residual", None)}
    assert list(joins.values()) == [signed(12) if k in (3, 6) else unsigned(8) for k in range(9)]
    adders = [op for op in program.ops if isinstance(op, Convolution) and op.kernel == "adder"]
    assert {(program.format(op.source), op.weight_format) for op in adders} == {(unsigned(4), unsigned(4))}
    first = program.by_name["conv1"]
    assert first.weight_format == signed(8)
    assert first.pad.tolist() == [125, 123, 114], "the framework pads with zeros after normalisation: 255 * mean"
    pool = next(op for op in program.ops if isinstance(op, AveragePool))
    assert (pool.size, program.format(pool.source)) == (4, unsigned(8))
    assert program.classes == 10
    sizes = {f"layer{k}_2_conv2": (16 * 2 ** (k - 1), 16 // 2 ** (k - 1), 16 // 2 ** (k - 1)) for k in (1, 2, 3)}
    assert {name: program.shape(name) for name in sizes} == sizes


def test_stored_tensors_are_the_float_features(settled):
    """Layer by layer at 12 bits, against a run in double precision."""
    net, images = settled("adder"), pictures(20, SHAPE, seed=1)
    program = lower(net, pictures(64, SHAPE), bits=12)

    tensors = golden.run(program, images, trace=True).tensors

    exact = run(net, images)
    pairs = {
        "conv1_out": "relu", "layer1_1_conv1_out": "layer1.1.relu1", "layer2_0_conv2_out": "layer2.0.relu2",
        "layer2_0_downsample_0_out": "layer2.0.downsample", "layer3_2_conv2_out": "layer3.2.relu2",
    }  # fmt: skip
    for operation, path in pairs.items():
        error = tensors[operation] * program.steps[operation] - exact[path]
        assert np.sqrt(np.square(error).mean()) < 0.02 * np.sqrt(np.square(exact[path]).mean()), operation
