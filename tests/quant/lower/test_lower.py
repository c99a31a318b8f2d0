"""Lowering: trained networks become Programs that decide as the networks do, or are refused with a name."""

import itertools
import math
import operator

import numpy as np
import pytest
import torch
from addax.common.errors import UserError
from addax.models import data
from addax.models.layers.adder import AdderConv2d
from addax.models.layers.kernels import convolution
from addax.models.layers.normalize import Normalise
from addax.models.nets import zoo
from addax.models.training.loop import accuracy, predict, to_float
from addax.quant import golden
from addax.quant.fold.calibrate import per_channel_symmetric
from addax.quant.fold.scheme import Scheme
from addax.quant.formats import signed, unsigned
from addax.quant.lower.calibration import calibrate
from addax.quant.lower.lowering import lower
from addax.quant.program import AveragePool, Concat, Convolution, MaxPool, Requantise
from addax.quant.quantize import evaluate
from torch import nn
from torch.nn import functional as F
from torchnets import pictures

KERNELS = ("adder", "mult")
WITH_SHIFT = (*KERNELS, "shift")
SHIPPED = (*WITH_SHIFT, "xnor")


class Net(nn.Module):
    """The modules given by name, called as the function ``flow(net, x)`` says."""

    def __init__(self, flow, **modules):
        super().__init__()
        self.flow = flow
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, x):
        return self.flow(self, x)


def conv(kernel, inputs, outputs, size=3, stride=1):
    return convolution(kernel, inputs, outputs, size, stride=stride, padding=size // 2)


@pytest.fixture(scope="module")
def train_set():
    return data.load("digits", "train", shape=(1, 8, 8))


@pytest.fixture(scope="module")
def test_set():
    return data.load("digits", "test", shape=(1, 8, 8))


@pytest.fixture
def fit(train_set):
    """Give a network with random filters the batch statistics of the digits, and its layer ``fc`` the best weights."""

    def call(net, images=train_set, classes=10):
        generator = torch.Generator().manual_seed(0)
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
                module.momentum = None  # the mean over all batches
                if module.affine:
                    nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
                    nn.init.uniform_(module.bias, -0.5, 0.5, generator=generator)
        x, seen = to_float(images.x), []
        handle = net.fc.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0]))
        with torch.no_grad():
            net.train()
            for batch in x.split(256):
                net(batch)
            net.eval()
            seen.clear()
            net(x)
            features = torch.cat(seen).flatten(1).double()
            features = torch.cat([features, torch.ones(len(x), 1)], 1)
            wanted = F.one_hot(torch.from_numpy(images.y), classes).double()
            ridge = features.T @ features + 1e-2 * len(x) * torch.eye(features.shape[1])
            solution = torch.linalg.solve(ridge, features.T @ wanted).T.float()
            net.fc.weight.copy_(solution[:, :-1].reshape(net.fc.weight.shape))
            if net.fc.bias is not None:
                net.fc.bias.copy_(solution[:, -1])
        handle.remove()
        return net

    return call


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def agreement(net, program, images):
    """Share of images for which the Program decides as the float network does."""
    return float((golden.run(program, images.x).classes == predict(net, images.x)).mean())


def convolutions(program):
    return [op for op in program.ops if isinstance(op, Convolution)]


# LeNet-5


@pytest.fixture(scope="module")
def float_accuracy(digits):
    from addax.models.files.checkpoint import load_checkpoint

    return {
        kernel: accuracy(load_checkpoint(zoo.shipped_checkpoint("lenet5", kernel))[0], digits) for kernel in SHIPPED
    }


@pytest.mark.parametrize("kernel", SHIPPED)
@pytest.mark.parametrize("bits", [8, 16])
def test_lenet5_at_eight_and_sixteen_bits_is_as_good_as_in_float(lenet, digits, float_accuracy, kernel, bits):
    """Six tenths of a point of 360 images: two images."""
    result = evaluate(lenet(kernel, bits), digits)

    assert result.images == 360
    assert abs(result.accuracy - float_accuracy[kernel]) <= 0.006


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("bits", range(2, 17))
def test_lenet5_lowers_at_every_width(lenet, digits, float_accuracy, kernel, bits):
    """Features have the bits that were asked for, unsigned after a ReLU, and what the last layer reads at least 8;
    adder weights stand on the grid of their features."""
    program = lenet(kernel, bits)

    hidden = [op for op in program.ops if isinstance(op, Requantise) and op.name != "scores"]
    assert [op.format for op in hidden] == [unsigned(bits)] * 3 + [unsigned(max(bits, 8))]
    first, *middle, last = convolutions(program)
    edge = signed(max(bits, 8))
    assert (first.kernel, first.weight_format, last.kernel, last.weight_format) == ("mult", edge, "mult", edge)
    assert [op.kernel for op in middle] == [kernel] * 3
    assert {op.weight_format for op in middle} == {unsigned(bits) if kernel == "adder" else signed(bits)}
    result = evaluate(program, digits)
    if bits >= 4:
        assert result.accuracy >= float_accuracy[kernel] - 0.02
    else:
        assert result.accuracy > 0.3, "ten classes: chance is 0.1"


@pytest.mark.parametrize("kernel", KERNELS)
def test_classic_lenet5_has_the_classic_number_of_products(kernel):
    """117,600 + 240,000 + 48,000 + 10,080 + 840 = 416,520 MACs and 61,470 weights."""
    images = np.random.default_rng(0).integers(0, 256, (4, 1, 28, 28), dtype=np.uint8)

    program = lower(zoo.build("lenet5", kernel=kernel, shape=(1, 28, 28)), images)

    macs = [op.taps * math.prod(program.shape(op.name)) for op in convolutions(program)]
    assert macs == [117_600, 240_000, 48_000, 10_080, 840]
    assert program.macs() == 416_520
    assert program.parameters() == 61_470


def test_lowering_repeats_itself(calibration):
    from addax.quant.files.archive import program_bytes

    module = zoo.build("lenet5", kernel="adder")

    first, second = (program_bytes(lower(module, calibration[:50])) for _ in range(2))

    assert first == second


def test_metadata_and_steps_ride_along(lenet):
    program = lenet("adder", 8)

    assert program.metadata["network"] == "lenet5" and program.metadata["bits"] == "8"
    assert program.steps["pixels"] == 1 / 255
    assert all(program.steps[op.name] > 0 for op in program.ops if isinstance(op, Requantise))


# One layer


@pytest.mark.parametrize("bits", [4, 8, 16])
@pytest.mark.parametrize("kernel", KERNELS)
def test_one_layer_is_as_near_to_float_as_its_roundings_allow(fit, train_set, test_set, kernel, bits):
    """Given the features that the layer reads, its error is that of rounded weights, factors and results, no more."""
    net = fit(
        Net(
            lambda n, x: n.fc(n.flat(n.relu2(n.bn2(n.c2(n.relu1(n.bn1(n.c1(x)))))))),
            c1=conv("mult", 1, 4), bn1=nn.BatchNorm2d(4), relu1=nn.ReLU(),
            c2=conv(kernel, 4, 6), bn2=nn.BatchNorm2d(6), relu2=nn.ReLU(), flat=nn.Flatten(), fc=nn.Linear(384, 10),
        )
    )  # fmt: skip
    program = lower(net, train_set.x[:300], bits=bits)
    tensors = golden.run(program, test_set.x[:40], trace=True).tensors
    layer, result = program.by_name["c2"], program.by_name["c2_out"]
    s, t = program.steps[layer.source], program.steps["c2_out"]
    stored = torch.from_numpy(tensors[layer.source]).double()

    with torch.no_grad():
        net.double()
        exact = net.bn2(net.c2(stored * s)) / t
        deviation = (net.bn2.running_var + net.bn2.eps).sqrt()
        gain = net.bn2.weight.abs() / deviation * s / t
        if kernel == "adder":
            rounded_weights = torch.full((1, 6, 1, 1), 0.5 * 4 * 9)
        else:
            gain = gain * torch.from_numpy(per_channel_symmetric(net.c2.weight.numpy(), signed(bits))[1])
            rounded_weights = 0.5 * F.conv2d(stored, torch.ones(6, 4, 3, 3, dtype=torch.double), padding=1)
        gain = gain[None, :, None, None]
        from_centre = (exact - (net.bn2.bias / t)[None, :, None, None]).abs() / gain + rounded_weights
    assert result.shift > 0
    scale = 2.0**-result.shift
    bound = gain * rounded_weights + 0.5 * scale * from_centre + scale + 0.5
    error = (exact.clamp(0, result.hi) - torch.from_numpy(tensors["c2_out"])).abs()
    assert bool((error <= bound + 1e-6).all())
    assert error.mean() < bound.mean() / 3, "roundings do not all point one way"
    assert len(np.unique(tensors["c2_out"])) > 2 ** min(bits, 7) / 2, "the layer must be alive"


@pytest.mark.parametrize("bits", [4, 8])
def test_factors_of_an_adder_layer_are_those_of_the_contract(fit, train_set, bits):
    """M = round(2^S g), B = round(2^S beta/t) - round(M (C + mu/s)) + 2^(S-1) with g = gamma s / (sigma t).

    B is made with the rounded M, so that its error cancels at the mean; C with the weights before rounding. Without
    the mean error of the calibration images, which is taken out beyond that.
    """
    net = fit(
        Net(
            lambda n, x: n.fc(n.flat(n.relu2(n.bn2(n.c2(n.relu1(n.c1(x))))))),
            c1=conv("mult", 1, 4), relu1=nn.ReLU(), c2=conv("adder", 4, 6), bn2=nn.BatchNorm2d(6), relu2=nn.ReLU(),
            flat=nn.Flatten(), fc=nn.Linear(384, 10),
        )
    )  # fmt: skip

    program = lower(net, train_set.x[:300], scheme=Scheme(bits=bits, correct=False))

    layer, result = program.by_name["c2"], program.by_name["c2_out"]
    s, t = program.steps[layer.source], program.steps["c2_out"]
    gamma, beta, mu, variance = (
        value.detach().double().tolist()
        for value in (net.bn2.weight, net.bn2.bias, net.bn2.running_mean, net.bn2.running_var)
    )
    weights = (net.c2.weight.detach().double() / s).flatten(1).tolist()
    top = 2**bits - 1
    for o in range(6):
        scale = 2**result.shift
        m = round(scale * gamma[o] * s / (math.sqrt(variance[o] + net.bn2.eps) * t))
        clamped = sum(max(-w, w - top, 0) for w in weights[o])
        b = round(scale * beta[o] / t) - round(m * (clamped + mu[o] / s)) + scale // 2
        assert (result.multiplier[o], result.offset[o]) == (m, b)
    assert layer.weight.reshape(6, -1).tolist() == [[round(min(max(w, 0), top)) for w in row] for row in weights]
    assert max(abs(result.multiplier)) >= 2**14 or result.shift == 31, "S is the largest that fits"


@pytest.mark.parametrize("kernel", WITH_SHIFT)
def test_sixteen_bit_features_equal_float_features(fit, train_set, test_set, kernel):
    """Protects every factor from pixels to the last tensor: what is left at 16 bits is no rounding but a mistake."""
    net = fit(
        Net(
            lambda n, x: n.fc(n.flat(n.relu2(n.bn2(n.c2(n.pool(n.relu1(n.bn1(n.c1(x))))))))),
            c1=conv("mult", 1, 4), bn1=nn.BatchNorm2d(4), relu1=nn.ReLU(), pool=nn.MaxPool2d(2),
            c2=conv(kernel, 4, 6), bn2=nn.BatchNorm2d(6), relu2=nn.ReLU(), flat=nn.Flatten(), fc=nn.Linear(96, 10),
        )
    )  # fmt: skip
    program = lower(net, train_set.x, bits=16)

    tensors = golden.run(program, train_set.x[:64], trace=True).tensors

    with torch.no_grad():
        exact = net.relu2(net.bn2(net.c2(net.pool(net.relu1(net.bn1(net.c1(to_float(train_set.x[:64])))))))).numpy()
    # Beyond the calibrated quantile, values are clipped as they should be.
    inside = exact < 0.9 * exact.max()
    error = np.abs(tensors["c2_out"] * program.steps["c2_out"] - exact)[inside]
    assert np.quantile(error, 0.99) < 2e-3 * exact.max()


def test_scores_are_the_scores_of_the_network(fit, train_set, test_set):
    """One step for all classes, so that comparing integers compares real scores."""
    net = fit(Net(lambda n, x: n.fc(n.flat(x)), flat=nn.Flatten(), fc=nn.Linear(64, 10)))
    program = lower(net, train_set.x[:100], bits=16)

    result = golden.run(program, test_set.x)

    with torch.no_grad():
        exact = net(to_float(test_set.x)).numpy()
    assert np.abs(result.scores * program.steps["scores"] - exact).max() < 1e-3 * np.abs(exact).max()


# Every layer that is supported


def chain(*layers, features, **options):
    """Modules one after the other, then a classifier of ``features``."""
    names = [f"layer{k}" for k in range(len(layers))]

    def flow(net, x):
        for name in names:
            x = getattr(net, name)(x)
        return net.fc(net.flat(x))

    modules = dict(zip(names, layers, strict=True))
    return Net(flow, **modules, flat=nn.Flatten(), fc=nn.Linear(features, 10), **options)


def dense(n, x):
    """A layer whose input stands beside its output."""
    return torch.cat([x, n.relu(n.c2(x))], 1)


CHAINS = {
    "adder on pixels": lambda: chain(conv("adder", 1, 6), nn.BatchNorm2d(6), nn.ReLU(), features=384),
    "bias": lambda: chain(nn.Conv2d(1, 6, 3), nn.ReLU(), features=216),
    "bias before batch norm": lambda: chain(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), features=216),
    "no affine": lambda: chain(conv("mult", 1, 6), nn.BatchNorm2d(6, affine=False), nn.ReLU(), features=384),
    "two batch norms": lambda: chain(
        conv("adder", 1, 6), nn.BatchNorm2d(6), nn.BatchNorm2d(6), nn.ReLU(), features=384
    ),
    "no relu": lambda: chain(conv("adder", 1, 6), nn.BatchNorm2d(6), features=384),
    "adder on signed": lambda: chain(
        conv("mult", 1, 4), nn.BatchNorm2d(4), conv("adder", 4, 8), nn.BatchNorm2d(8), nn.ReLU(), features=512
    ),
    "stride": lambda: chain(conv("adder", 1, 12, stride=2), nn.BatchNorm2d(12), nn.ReLU(), features=192),
    "padded max pool": lambda: chain(
        conv("mult", 1, 8), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(3, 2, 1), features=128
    ),
    "max pool of signed": lambda: chain(conv("mult", 1, 8), nn.BatchNorm2d(8), nn.MaxPool2d(3, 2, 1), features=128),
    "average pool": lambda: chain(conv("mult", 1, 8), nn.BatchNorm2d(8), nn.ReLU(), nn.AvgPool2d(2), features=128),
    "average pool of pixels": lambda: chain(nn.AvgPool2d(2), conv("mult", 1, 8), nn.ReLU(), features=128),
    "average pool of signed, then relu": lambda: chain(
        conv("mult", 1, 8), nn.BatchNorm2d(8), nn.AvgPool2d(2), nn.ReLU(), features=128
    ),
    "identity and dropout": lambda: chain(
        nn.Identity(), conv("mult", 1, 6), nn.Dropout(0.5), nn.ReLU(), nn.Dropout(0.5), features=384
    ),
    "hidden dense": lambda: chain(
        nn.Flatten(), nn.Linear(64, 40), nn.BatchNorm1d(40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU(), features=40
    ),
    "relu twice": lambda: chain(conv("mult", 1, 6), nn.ReLU(), nn.MaxPool2d(2), nn.ReLU(), features=96),
    "named after reserved words": lambda: Net(
        lambda n, x: n.fc(n.scores(n.argmax(n.pixels(x)))),
        pixels=conv("mult", 1, 6), argmax=nn.ReLU(), scores=nn.Flatten(), fc=nn.Linear(384, 10),
    ),
    "nested": lambda: chain(
        nn.Sequential(conv("mult", 1, 6), nn.Sequential(nn.BatchNorm2d(6), nn.ReLU())), features=384
    ),
    "pool used twice": lambda: Net(
        lambda n, x: n.fc(n.flat(n.pool(n.relu(n.c2(n.pool(n.relu(n.c1(x)))))))),
        c1=conv("mult", 1, 8), c2=conv("mult", 8, 16), pool=nn.MaxPool2d(2), relu=nn.ReLU(), flat=nn.Flatten(),
        fc=nn.Linear(64, 10),
    ),
    "convolution used twice": lambda: Net(
        lambda n, x: n.fc(n.flat(n.relu(n.c2(n.relu(n.c2(n.relu(n.c1(x)))))))),
        c1=conv("mult", 1, 4), c2=conv("mult", 4, 4), relu=nn.ReLU(), flat=nn.Flatten(), fc=nn.Linear(256, 10),
    ),
    "functions": lambda: Net(
        lambda n, x: n.fc(torch.flatten(F.relu(n.c2(torch.relu(n.c1(x)))), 1)),
        c1=conv("mult", 1, 4), c2=conv("mult", 4, 4), fc=nn.Linear(256, 10),
    ),
    "keyword arguments": lambda: Net(
        lambda n, x: n.fc(n.flat(input=torch.relu(input=n.c1(x)))),
        c1=conv("mult", 1, 6), flat=nn.Flatten(), fc=nn.Linear(384, 10),
    ),
    "names that differ in a dot": lambda: Net(
        lambda n, x: n.fc(n.flat(n.relu(n.a_b(n.relu(n.a["b"](x)))))),
        a=nn.ModuleDict({"b": conv("mult", 1, 4)}), a_b=conv("mult", 4, 4), relu=nn.ReLU(), flat=nn.Flatten(),
        fc=nn.Linear(256, 10),
    ),
    "names that end in out": lambda: Net(
        lambda n, x: n.fc(n.flat(n.relu(n.c_out(n.relu(n.c(x)))))),
        c=conv("mult", 1, 4), c_out=conv("mult", 4, 4), relu=nn.ReLU(), flat=nn.Flatten(), fc=nn.Linear(256, 10),
    ),
    "groups": lambda: chain(
        conv("mult", 1, 8), nn.ReLU(), nn.Conv2d(8, 12, 3, padding=1, groups=4), nn.BatchNorm2d(12), nn.ReLU(),
        features=768,
    ),
    "depthwise separable": lambda: chain(
        conv("mult", 1, 8), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False), nn.BatchNorm2d(8),
        nn.ReLU(), nn.Conv2d(8, 16, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2), features=256,
    ),
    "global average pool": lambda: chain(
        conv("mult", 1, 32), nn.BatchNorm2d(32), nn.ReLU(), conv("mult", 32, 48, stride=2), nn.BatchNorm2d(48),
        nn.ReLU(), nn.AdaptiveAvgPool2d(1), features=48,
    ),
    "normalised": lambda: chain(
        Normalise([0.3], [0.35]), conv("mult", 1, 6), nn.BatchNorm2d(6), nn.ReLU(), features=384
    ),
    "normalised, not for a layer that multiplies": lambda: chain(
        Normalise([0.3], [0.35]), conv("adder", 1, 8), nn.BatchNorm2d(8), nn.ReLU(), features=512
    ),
    "normalised and pooled": lambda: chain(
        Normalise([0.3], [0.35]), nn.MaxPool2d(3, 1, 1), conv("mult", 1, 8), nn.ReLU(), features=512
    ),
    "relu and flatten as methods": lambda: Net(
        lambda n, x: n.fc(n.c(x).relu().flatten(1)), c=conv("mult", 1, 6), fc=nn.Linear(384, 10)
    ),
    "view of the batch size": lambda: Net(
        lambda n, x: n.fc(n.c(x).relu().view(x.size(0), -1)), c=conv("mult", 1, 6), fc=nn.Linear(384, 10)
    ),
    "reshape of the shape": lambda: Net(
        lambda n, x: n.fc(n.c(x).relu().reshape(x.shape[0], -1)), c=conv("mult", 1, 6), fc=nn.Linear(384, 10)
    ),
    "branches side by side": lambda: Net(
        lambda n, x: n.fc(n.flat(n.relu(n.c3(torch.cat([n.relu(n.c1(x)), n.relu(n.c2(x))], 1))))),
        c1=conv("mult", 1, 4), c2=conv("adder", 1, 4), c3=conv("mult", 8, 8), relu=nn.ReLU(), flat=nn.Flatten(),
        fc=nn.Linear(512, 10),
    ),
    "pixels beside features": lambda: Net(
        lambda n, x: n.fc(n.flat(torch.cat([x, n.bn(n.c(x)), n.relu(n.c(x))], dim=1))),
        c=conv("mult", 1, 3), bn=nn.BatchNorm2d(3), relu=nn.ReLU(), flat=nn.Flatten(), fc=nn.Linear(448, 10),
    ),
    "dense connections": lambda: Net(
        lambda n, x: n.fc(n.flat(dense(n, n.relu(n.c1(x))))),
        c1=conv("mult", 1, 6), c2=conv("mult", 6, 6), relu=nn.ReLU(), flat=nn.Flatten(), fc=nn.Linear(768, 10),
    ),
    "a branch that nobody reads": lambda: Net(
        lambda n, x: (n.side(x), n.fc(n.flat(n.relu(n.c(x)))))[1],
        c=conv("mult", 1, 6), side=conv("mult", 1, 2), relu=nn.ReLU(), flat=nn.Flatten(), fc=nn.Linear(384, 10),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CHAINS)
def test_network_decides_as_in_float(fit, train_set, test_set, name):
    net = fit(CHAINS[name]())
    assert accuracy(net, test_set) > 0.6, "the example must have learned something to keep"

    program = lower(net, train_set.x[:300], bits=8)

    assert agreement(net, program, test_set) >= 0.95


def convolved(x, weight, stride=1, padding=0, groups=1):
    """Sums of products in double precision, tap by tap; outside the image is 0."""
    count, channels, height, width = x.shape
    outputs, inputs, size, _ = weight.shape
    framed = np.zeros((count, channels, height + 2 * padding, width + 2 * padding))
    framed[:, :, padding : padding + height, padding : padding + width] = x
    rows, columns = ((n + 2 * padding - size) // stride + 1 for n in (height, width))
    result = np.zeros((count, outputs, rows, columns))
    for o, r, c in itertools.product(range(outputs), range(rows), range(columns)):
        first = o // (outputs // groups) * inputs
        window = framed[:, first : first + inputs, r * stride : r * stride + size, c * stride : c * stride + size]
        result[:, o, r, c] = (window * weight[o]).sum((1, 2, 3))
    return result


@pytest.mark.parametrize(("outputs", "groups", "stride"), [(6, 1, 1), (6, 2, 2), (12, 6, 1), (6, 6, 2), (3, 3, 1)])
def test_filter_reads_the_channels_of_its_own_group(fit, train_set, outputs, groups, stride):
    """Against sums tap by tap of what is stored: only the weights are rounded, by half of their step at most."""
    layer = nn.Conv2d(6, outputs, 3, stride=stride, padding=1, groups=groups, bias=False)
    net = chain(conv("mult", 1, 6), nn.ReLU(), layer, nn.ReLU(), features=outputs * (8 // stride) ** 2).eval()

    program = lower(net, train_set.x[:100], bits=8)

    op = program.by_name["layer2"]
    assert op.groups == groups and op.weight.shape == (outputs, 6 // groups, 3, 3)
    tensors = golden.run(program, train_set.x[:10], trace=True).tensors
    weight = layer.weight.detach().double().numpy()
    steps = np.abs(weight).max((1, 2, 3), keepdims=True) / 127
    exact = convolved(tensors["layer0_out"], weight / steps, stride, 1, groups)
    bound = convolved(tensors["layer0_out"], np.full_like(weight, 0.5), stride, 1, groups)
    assert (np.abs(tensors["layer2"] - exact) <= bound + 1e-3).all()
    assert np.abs(tensors["layer2"]).max() > 1000, "the layer must be alive"


@pytest.mark.parametrize("mean", [(0.2, 0.6), (0.4914, 0.4465)], ids=["whole", "between"])
@pytest.mark.parametrize("after", ["convolution", "batch norm"])
def test_normalised_pixels_meet_the_padding_of_the_framework(mean, after):
    """Zeros after normalisation are the mean: borders are as near to float as the inside, up to the mean's rounding to
    a whole pixel."""
    torch.manual_seed(3)
    deviation = (0.25, 0.2)
    net = Net(
        lambda n, x: n.fc(n.flat(n.relu(n.bn(n.c(n.norm(x))) if after == "batch norm" else n.c(n.norm(x))))),
        norm=Normalise(mean, deviation), c=nn.Conv2d(2, 4, 3, padding=1), bn=nn.BatchNorm2d(4), relu=nn.ReLU(),
        flat=nn.Flatten(), fc=nn.Linear(144, 10),
    ).eval()  # fmt: skip
    with torch.no_grad():
        net.bn.running_mean.uniform_(-0.5, 0.5)
        net.bn.bias.uniform_(-0.5, 0.5)
        net.bn.weight.uniform_(-1.5, 1.5)
    images = np.random.default_rng(0).integers(0, 256, (30, 2, 6, 6), dtype=np.uint8)

    program = lower(net, images, scheme=Scheme(bits=16, ranges="max"))

    layer = program.by_name["c"]
    assert layer.source == "pixels" and layer.pad.tolist() == [round(255 * m) for m in mean]
    normalised = (images / 255 - np.array(mean).reshape(2, 1, 1)) / np.array(deviation).reshape(2, 1, 1)
    values = [v.detach().double().numpy() for v in (net.c.weight, net.c.bias)]
    exact = convolved(normalised, values[0], padding=1) + values[1][:, None, None]
    gain = np.ones(4)
    if after == "batch norm":
        mu, var, gamma, beta = (
            v.detach().double().numpy() for v in (net.bn.running_mean, net.bn.running_var, net.bn.weight, net.bn.bias)
        )
        gain = gamma / np.sqrt(var + net.bn.eps)
        exact = (exact - mu[:, None, None]) * gain[:, None, None] + beta[:, None, None]
    stored = golden.run(program, images, trace=True).tensors["c_out"] * program.steps["c_out"]
    error = np.abs(stored - np.maximum(exact, 0))
    inside, fine = np.s_[:, :, 1:-1, 1:-1], 1e-4 * exact.max()
    assert error[inside].max() < fine
    # A corner reads five taps outside, a side three, each off by the mean's distance to a whole pixel.
    off = np.abs(np.array(mean) * 255 - layer.pad) / 255 / deviation
    reach = (np.abs(values[0]).max((2, 3)) * off).sum(1) * 5 * np.abs(gain)
    assert (error.max((0, 2, 3)) < fine + reach).all()
    assert mean != (0.2, 0.6) or error.max() < fine


def test_mean_that_is_no_pixel_is_refused():
    """The pixel that stands for a padded zero must exist."""
    net = Net(
        lambda n, x: n.fc(n.flat(n.c(n.norm(x)))),
        norm=Normalise([-0.2], [0.5]), c=nn.Conv2d(1, 2, 3, padding=1), flat=nn.Flatten(), fc=nn.Linear(128, 10),
    )  # fmt: skip

    images = np.random.default_rng(0).integers(0, 256, (4, 1, 8, 8), dtype=np.uint8)
    with pytest.raises(UserError, match=r"layer at 'c' pads with \[-51\], which are no pixels"):
        lower(net, images)
    net.c, net.fc = nn.Conv2d(1, 2, 3), nn.Linear(72, 10)
    assert lower(net, images).by_name["c"].pad.tolist() == [0], "without padding there is no such pixel"


def test_branches_with_different_grids_come_onto_one(fit, train_set, test_set):
    """A branch a hundred times larger than the other, one of them signed: the join has one format and one step, and
    holds the values of both."""
    net = fit(
        Net(
            lambda n, x: n.fc(n.flat(torch.cat([n.relu(n.bn1(n.c1(x))), n.bn2(n.c2(x))], 1))),
            c1=conv("mult", 1, 4), bn1=nn.BatchNorm2d(4), c2=conv("mult", 1, 4), bn2=nn.BatchNorm2d(4), relu=nn.ReLU(),
            flat=nn.Flatten(), fc=nn.Linear(512, 10),
        )
    )  # fmt: skip
    with torch.no_grad():
        net.bn1.weight *= 100
        net.bn1.bias *= 100

    program = lower(net, train_set.x[:300], scheme=Scheme(bits=16, ranges="max"))

    joined = next(op for op in program.ops if isinstance(op, Concat))
    parts = (joined.source, *joined.others)
    assert {(program.format(name), program.steps[name]) for name in (*parts, joined.name)} == {
        (signed(16), program.steps[joined.name])
    }
    read = {source for op in program.ops for source in program.sources(op)}
    assert {op.name for op in program.ops} - read == {"argmax"}, "no branch is stored on a grid of its own, too"
    tensors = golden.run(program, train_set.x[:50], trace=True).tensors
    with torch.no_grad():
        x = to_float(train_set.x[:50])
        exact = torch.cat([net.relu(net.bn1(net.c1(x))), net.bn2(net.c2(x))], 1).numpy()
    assert np.abs(tensors[joined.name] * program.steps[joined.name] - exact).max() < 1e-3 * exact.max()


@pytest.mark.parametrize("dim", [0, 2, 3, -1])
def test_concatenation_of_anything_but_channels_is_refused(train_set, dim):
    net = Net(
        lambda n, x: n.fc(n.flat(torch.cat([n.c(x), n.c(x)], dim))),
        c=conv("mult", 1, 2), flat=nn.Flatten(), fc=nn.LazyLinear(10),
    )  # fmt: skip
    net(to_float(train_set.x[:1]))

    with pytest.raises(UserError, match=r"concatenation at 'cat' must be of channels \(dimension 1\)"):
        lower(net, train_set.x[:10])


def test_plain_sequential_is_lowered(train_set, test_set):
    """What most people write first; its layers are called 0, 1, 2."""
    net = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(216, 10)).eval()

    program = lower(net, train_set.x[:100], bits=16)

    assert agreement(net, program, test_set) >= 0.95


@pytest.mark.parametrize("relu", [nn.ReLU(), nn.ReLU(inplace=True), None])
def test_pool_in_front_of_its_relu_is_the_pool_behind_it(train_set, test_set, relu):
    """Features are pooled, not sums: hardware pools in a few bits, and the range is that of the features."""
    torch.manual_seed(0)
    conv, last, pool = nn.Conv2d(1, 4, 3, bias=True), nn.Linear(4 * 9, 10), nn.MaxPool2d(2)
    layers = {"conv": conv, "pool": pool, "last": last, **({"relu": relu} if relu else {})}

    def after(s, x):
        return s.last((s.relu(s.pool(s.conv(x))) if relu else torch.relu(s.pool(s.conv(x)))).flatten(1))

    def before(s, x):
        return s.last(s.pool(s.relu(s.conv(x)) if relu else torch.relu(s.conv(x))).flatten(1))

    one, other = (lower(Net(flow, **layers), train_set.x[:50]) for flow in (after, before))

    assert [type(op) for op in one.ops] == [type(op) for op in other.ops]
    assert np.array_equal(golden.run(one, test_set.x[:50]).scores, golden.run(other, test_set.x[:50]).scores)


def test_mean_of_a_map_that_is_not_square_is_a_sum_of_all_its_pixels(train_set, test_set):
    """Exact but for the rounding of what it averages: one sum and one division."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, (3, 5)), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))
    program = lower(net, train_set.x[:100], bits=12)

    found = golden.run(program, test_set.x[:50]).scores * program.steps[program.output]

    with torch.no_grad():
        wanted = net(torch.tensor(test_set.x[:50]).float() / 255).numpy()
    assert np.abs(found - wanted).max() < 0.002 * np.abs(wanted).max()


def test_last_layer_may_be_called_scores(fit, train_set, test_set):
    net = fit(Net(lambda n, x: n.fc(n.flat(x)), flat=nn.Flatten(), fc=nn.Linear(64, 10)))
    renamed = Net(lambda n, x: n.scores(n.flat(x)), flat=nn.Flatten(), scores=net.fc).eval()

    program = lower(renamed, train_set.x[:100])

    assert agreement(renamed, program, test_set) >= 0.95


def test_last_layer_followed_by_batch_norm(fit, train_set, test_set):
    net = fit(
        Net(
            lambda n, x: n.bn(n.fc(n.flat(n.relu(n.c(x))))),
            c=conv("mult", 1, 6), relu=nn.ReLU(), flat=nn.Flatten(), fc=nn.Linear(384, 10), bn=nn.BatchNorm1d(10),
        )
    )  # fmt: skip
    net.bn.reset_parameters()  # as if absent, but for a scale of its own
    with torch.no_grad():
        net.bn.running_var.fill_(4.0)

    program = lower(net, train_set.x[:300])

    assert [op.name for op in program.ops][-3:] == ["fc", "scores", "argmax"]
    assert agreement(net, program, test_set) >= 0.95


def test_channel_that_batch_norm_switches_off_is_a_constant(fit, train_set, test_set):
    """gamma 0 is common after training with weight decay."""
    net = fit(chain(conv("mult", 1, 6), nn.BatchNorm2d(6), nn.ReLU(), features=384))
    with torch.no_grad():
        net.layer1.weight[2], net.layer1.bias[2] = 0.0, 0.7

    program = lower(net, train_set.x[:300])

    tensors = golden.run(program, test_set.x[:8], trace=True).tensors
    constant = np.unique(tensors["layer0_out"][:, 2])
    assert constant.size == 1
    assert constant[0] * program.steps["layer0_out"] == pytest.approx(0.7, abs=program.steps["layer0_out"])


def test_batch_norm_behind_a_channel_that_another_switched_off(fit, train_set):
    """Its constant goes on into the second batch norm; there is nothing to divide by."""
    net = fit(chain(conv("mult", 1, 6), nn.BatchNorm2d(6), nn.BatchNorm2d(6), nn.ReLU(), features=384))
    with torch.no_grad():
        net.layer1.weight[2], net.layer1.bias[2] = 0.0, 0.7
        net.layer2.running_mean[2], net.layer2.running_var[2] = 0.2, 0.25
        net.layer2.weight[2], net.layer2.bias[2] = 1.5, 0.1

    program = lower(net, train_set.x[:300])

    constant = np.unique(golden.run(program, train_set.x[:8], trace=True).tensors["layer0_out"][:, 2])
    step = program.steps["layer0_out"]
    assert constant.size == 1 and constant[0] * step == pytest.approx((0.7 - 0.2) / 0.5 * 1.5 + 0.1, abs=step)


# Residual networks


def residual(kernel, shortcut, flow=None):
    """A stem, a block with an identity shortcut, a block with a convolution as shortcut, an average pool."""

    def default(n, x):
        x = n.relu0(n.bn0(n.stem(x)))
        y = n.relu1(n.bn1(n.c1(x)))
        x = n.relu2(shortcut(n, n.bn2(n.c2(y)), x))
        y = n.relu3(n.bn3(n.c3(x)))
        x = n.relu4(operator.add(n.bn4(n.c4(y)), n.bn5(n.side(x))))
        return n.fc(n.flat(n.mean(x)))

    return Net(
        flow or default,
        stem=conv("mult", 1, 8), bn0=nn.BatchNorm2d(8), relu0=nn.ReLU(),
        c1=conv(kernel, 8, 8), bn1=nn.BatchNorm2d(8), relu1=nn.ReLU(),
        c2=conv(kernel, 8, 8), bn2=nn.BatchNorm2d(8), relu2=nn.ReLU(), identity=nn.Identity(),
        c3=conv(kernel, 8, 16, stride=2), bn3=nn.BatchNorm2d(16), relu3=nn.ReLU(),
        c4=conv(kernel, 16, 16), bn4=nn.BatchNorm2d(16),
        side=convolution(kernel, 8, 16, 1, stride=2), bn5=nn.BatchNorm2d(16), relu4=nn.ReLU(),
        mean=nn.AvgPool2d(2), flat=nn.Flatten(), fc=nn.Linear(64, 10),
    )  # fmt: skip


@pytest.mark.parametrize("order", ["block + shortcut", "shortcut + block", "torch.add", "in place"])
@pytest.mark.parametrize("kernel", WITH_SHIFT)
def test_residual_network_decides_as_in_float(fit, train_set, test_set, kernel, order):
    join = {
        "block + shortcut": lambda n, block, x: block + x,
        "shortcut + block": lambda n, block, x: x + block,
        "torch.add": lambda n, block, x: torch.add(block, x),
        "in place": lambda n, block, x: operator.iadd(block, x),
    }[order]
    net = fit(residual(kernel, join))
    assert accuracy(net, test_set) > 0.6

    program = lower(net, train_set.x[:300])

    joins = [op for op in program.ops if isinstance(op, Requantise) and op.residual is not None]
    assert [(op.source, op.residual) for op in joins] == [("c2", "stem_out"), ("c4", "side_out")]
    assert program.format("stem_out") == unsigned(8)
    assert program.format("side_out") == signed(12), "a shortcut that is a convolution needs a sign and more bits"
    assert agreement(net, program, test_set) >= 0.95


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("kernel", WITH_SHIFT)
def test_residual_features_are_near_those_in_float(fit, train_set, test_set, kernel, bits):
    """More bits must not be worse: M and R share one shift, and R must not leave M without digits."""
    net = fit(residual(kernel, lambda n, block, x: block + x))
    program = lower(net, train_set.x, bits=bits)

    tensors = golden.run(program, test_set.x, trace=True).tensors

    seen = []
    net.relu4.register_forward_hook(lambda module, arguments, result: seen.append(result))
    predict(net, test_set.x)
    exact = torch.cat(seen).numpy()
    error = np.abs(tensors["c4_out"] * program.steps["c4_out"] - exact)
    assert np.quantile(error, 0.99) < 0.015 * exact.max()


@pytest.mark.parametrize("kernel", KERNELS)
def test_identity_module_as_shortcut_changes_nothing(fit, train_set, test_set, kernel):
    """``self.shortcut = nn.Identity()``, called before the block, is how most residual networks are written."""

    def flow(n, x):
        x = n.relu0(n.bn0(n.stem(x)))
        short = n.identity(x)
        x = n.relu2(n.bn2(n.c2(n.relu1(n.bn1(n.c1(x))))) + short)
        return n.fc(n.flat(n.mean(n.relu3(n.bn3(n.c3(x))))))

    net = fit(residual(kernel, None, flow))

    program = lower(net, train_set.x[:300])

    assert agreement(net, program, test_set) >= 0.95


@pytest.mark.parametrize("kernel", KERNELS)
def test_tensor_read_before_and_after_its_relu(fit, train_set, test_set, kernel):
    """Pre-activation networks: the block reads ReLU(x), the shortcut reads x; they are two tensors."""

    def flow(n, x):
        x = n.bn0(n.stem(x))
        x = n.bn1(n.c1(n.relu0(x))) + x
        return n.fc(n.flat(n.mean(n.relu3(n.bn3(n.c3(n.relu2(x)))))))

    net = fit(residual(kernel, None, flow))

    program = lower(net, train_set.x[:300])

    assert agreement(net, program, test_set) >= 0.95


def test_identity_shortcut_has_eight_bits_in_a_narrow_network(fit, train_set):
    """The contract: an identity shortcut enters as stored, with at least 8 bits."""
    net = fit(residual("mult", lambda n, block, x: block + x))

    program = lower(net, train_set.x[:300], bits=4)

    joins = [op for op in program.ops if isinstance(op, Requantise) and op.residual is not None]
    assert joins[0].source == "c2"
    assert program.format(joins[0].residual).bits >= 8


@pytest.mark.parametrize(
    ("join", "name"),
    [
        (lambda n, block, x: torch.add(block, x, alpha=3), "add"),
        (lambda n, block, x: block + 1, "expected a tensor in the network's graph, not 1"),
        (lambda n, block, x: x + x, "add"),
        (lambda n, block, x: n.relu1(block) + x, "add"),
        (lambda n, block, x: block * x, "mul"),
        (lambda n, block, x: block - x, "sub"),
        (lambda n, block, x: block + x + x, "add"),
    ],
    ids=["alpha", "constant", "no-convolution", "relu-before", "product", "difference", "three-terms"],
)
def test_joins_that_are_not_a_residual_addition_are_refused(train_set, join, name):
    with pytest.raises(UserError, match=name):
        lower(residual("mult", join), train_set.x[:10])


# Refusals


class Dynamic(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


def around(layer, features=64):
    return Net(lambda n, x: n.fc(n.flat(n.body["odd"](n.relu(n.first(x))))), first=conv("mult", 1, 1), relu=nn.ReLU(),
               body=nn.ModuleDict({"odd": layer}), flat=nn.Flatten(), fc=nn.Linear(features, 10))  # fmt: skip


@pytest.mark.parametrize(
    ("layer", "features", "message"),
    [
        (nn.Sigmoid(), 64, "unsupported layer Sigmoid at 'body.odd'; supported: AdderConv2d, BinaryConv2d"),
        (nn.ConvTranspose2d(1, 1, 3, padding=1), 64, "unsupported layer ConvTranspose2d at 'body.odd'"),
        (nn.AdaptiveAvgPool2d(2), 4, "adaptive average pool at 'body.odd' must make one pixel, not 2"),
        (nn.Softmax(1), 64, "unsupported layer Softmax at 'body.odd'"),
        (nn.LeakyReLU(), 64, "unsupported layer LeakyReLU at 'body.odd'"),
        (nn.Conv2d(1, 1, 3, dilation=2), 16, "convolution at 'body.odd': dilation and padding modes"),
        (nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"), 64, "convolution at 'body.odd': dilation and padding"),
        (nn.Conv2d(1, 1, 3, padding="same"), 64, "'body.odd'"),
        (nn.Conv2d(1, 1, 3, stride=(1, 2)), 18, "'body.odd' must have equal vertical and horizontal"),
        (nn.MaxPool2d((1, 2)), 32, "'body.odd' must have equal vertical and horizontal"),
        (nn.MaxPool2d(3, ceil_mode=True), 9, "max pool at 'body.odd': dilation, ceil_mode"),
        (nn.MaxPool2d(2, dilation=2), 9, "max pool at 'body.odd': dilation, ceil_mode"),
        (nn.AvgPool2d(2, padding=1), 25, "average pool at 'body.odd': padding and ceil_mode"),
        (nn.AvgPool2d(3, ceil_mode=True), 9, "average pool at 'body.odd': padding and ceil_mode"),
        (nn.AvgPool2d(2, divisor_override=1), 16, "average pool at 'body.odd'"),
        (nn.BatchNorm2d(1), 64, "batch norm at 'body.odd' must follow a convolution"),
        (nn.Unflatten(2, (2, 4)), 64, "unflatten at 'body.odd' must make one pixel of all channels"),
    ],
    ids=lambda v: repr(v) if isinstance(v, nn.Module) else None,
)
def test_unsupported_layer_is_named_with_its_path(train_set, layer, features, message):
    with pytest.raises(UserError, match=message):
        lower(around(layer, features), train_set.x[:10])


def test_batch_norm_without_statistics_is_refused(train_set):
    net = chain(conv("mult", 1, 4), nn.BatchNorm2d(4, track_running_stats=False), features=256)

    with pytest.raises(UserError, match="batch norm at 'layer1' has no running statistics"):
        lower(net, train_set.x[:10])


@pytest.mark.parametrize(
    ("flow", "message"),
    [
        (lambda n, x: n.fc(n.flat(torch.sigmoid(x))), "unsupported function 'sigmoid'"),
        (lambda n, x: n.fc(n.flat(x.sigmoid())), "unsupported method 'sigmoid'"),
        (lambda n, x: n.fc(x.flatten(2).flatten(1)), "flatten at .* must keep the batch and flatten all the rest"),
        (lambda n, x: n.fc(x.view(-1, 64)), "unsupported method 'view'"),
        (lambda n, x: n.fc(n.flat(n.conv(x)[:, :1])), "unsupported function 'getitem'"),
        (lambda n, x: n.fc(n.flat(x.mT)), "unsupported function 'getattr'"),
        (lambda n, x: n.fc(n.flat(x)) + n.weight, "unsupported get_attr 'weight'"),
        (lambda n, x: (n.fc(n.flat(x)),), "expected a tensor in the network's graph"),
        (lambda n, x: n.fc(n.flat(x)).relu(), "class scores must not pass a ReLU"),
        (lambda n, x: torch.relu(n.fc(n.flat(x))), "class scores must not pass a ReLU"),
        (lambda n, x: n.flat(x), "must end in a convolution, a dense layer"),
    ],
    ids=[
        "function", "method", "flatten-rows", "view", "slice", "attribute", "parameter", "tuple", "method-relu",
        "relu-scores", "no-classifier",
    ],
)  # fmt: skip
def test_unsupported_use_is_named(train_set, flow, message):
    net = Net(
        flow, flat=nn.Flatten(), fc=nn.Linear(64, 10), conv=conv("mult", 1, 4), weight=nn.Parameter(torch.ones(10))
    )

    with pytest.raises(UserError, match=message):
        lower(net, train_set.x[:10])


def test_network_whose_path_depends_on_its_data_is_refused(train_set):
    with pytest.raises(UserError, match="Dynamic cannot be traced"):
        lower(Dynamic(), train_set.x[:10])


@pytest.mark.parametrize(
    "net",
    [
        lambda: Net(lambda n, x: n.fc(n.flat(n.c(x))), c=conv("mult", 3, 4), flat=nn.Flatten(), fc=nn.Linear(256, 10)),
        lambda: Net(lambda n, x: n.fc(n.flat(x)), flat=nn.Flatten(), fc=nn.Linear(784, 10)),
    ],
    ids=["channels", "size"],
)
def test_network_for_other_images_is_refused(train_set, net):
    """A factory for 28x28 or colour images, given digits, is a user's mistake and not ours."""
    with pytest.raises(UserError, match="8"):
        lower(net(), train_set.x[:10])


@pytest.mark.parametrize("bits", [-1, 0, 1, 17, 64])
def test_bits_outside_two_to_sixteen_are_refused(train_set, bits):
    with pytest.raises(UserError, match=rf"bits must be in 2\.\.16, not {bits}"):
        lower(around(nn.Identity()), train_set.x[:10], bits=bits)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["first.weight", "bn.running_var", "bn.bias"])
def test_values_that_are_no_numbers_are_refused_by_name(train_set, name, value):
    net = Net(lambda n, x: n.fc(n.flat(n.bn(n.first(x)))), first=AdderConv2d(1, 1, 1), bn=nn.BatchNorm2d(1),
              flat=nn.Flatten(), fc=nn.Linear(64, 10))  # fmt: skip
    with torch.no_grad():
        net.state_dict()[name].view(-1)[-1] = value

    with pytest.raises(UserError, match=f"tensor '{name}' holds NaN or infinite"):
        lower(net, train_set.x[:10])


def test_calibration_needs_images(train_set):
    with pytest.raises(UserError, match="calibration needs at least one image"):
        lower(around(nn.Identity()), train_set.x[:0])


def test_batch_norm_beyond_sixteen_bits_is_refused(train_set):
    """A factor M that no shift brings into 16 bits must not be clipped in silence."""
    net = chain(conv("mult", 1, 2), nn.BatchNorm2d(2), nn.ReLU(), features=128)
    with torch.no_grad():
        net.layer1.weight[0], net.layer1.running_mean[0] = 1e9, 100.0

    with pytest.raises(UserError, match=r"'layer0': it scales by up to .*, which 16 bits cannot hold"):
        lower(net, train_set.x[:10])


@pytest.mark.parametrize("dead", [False, True])
def test_scores_of_a_dead_classifier_do_not_divide_by_zero(train_set, dead):
    """All-zero factors before the scores, by gamma or by weight, give equal scores or a refusal, never a warning."""
    net = Net(lambda n, x: n.bn(n.fc(n.flat(x))), flat=nn.Flatten(), fc=nn.Linear(64, 10), bn=nn.BatchNorm1d(10))
    nn.init.zeros_(net.fc.weight if dead else net.bn.weight)
    nn.init.zeros_(net.fc.bias)
    nn.init.zeros_(net.bn.bias)

    try:
        program = lower(net, train_set.x[:10])
    except UserError as error:
        assert "batch norm" in str(error)
    else:
        assert set(golden.run(program, train_set.x[:10]).classes) == {0}


def test_pools_and_shapes_of_a_lowered_network(fit, train_set):
    net = fit(residual("adder", lambda n, block, x: block + x))

    program = lower(net, train_set.x[:10])

    pools = [op for op in program.ops if isinstance(op, AveragePool | MaxPool)]
    assert [(type(op), op.size, op.stride) for op in pools] == [(AveragePool, 2, 2)]
    assert program.shape("mean") == (16, 2, 2) and program.classes == 10


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (pictures(20, (1, 16, 16)) / np.float32(255), r"not float32 .* in 0\.\.1; write round\(255 \* x\) as uint8"),
        ((pictures(20, (1, 16, 16)) - 128.0) / 40, "not float64 .*; undo their standardisation"),
        (pictures(20, (1, 16, 16)).astype(np.uint16) * 257, r"not uint16 .*; write round\(x / 257\) as uint8"),
        (pictures(20, (1, 16, 16))[0], r"uint8 of shape \(N, C, H, W\), not uint8 of shape \(1, 16, 16\)"),
        ([[1.0]], "must be a numpy array, uint8 .*, not list"),
    ],
    ids=["unit", "standardised", "words", "one image", "list"],
)  # fmt: skip
def test_calibration_images_that_are_no_pixels_are_refused(images, message):
    """Cut to bytes, they would calibrate a network that sees nothing but black."""
    net = zoo.build("lenet5", kernel="adder")

    for call in (calibrate, lower):
        with pytest.raises(UserError, match=rf"\Acalibration images .*{message}"):
            call(net, images)
