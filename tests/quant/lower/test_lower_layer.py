"""Lowering of one layer: as near to its float arithmetic as the roundings of the contract allow."""

import itertools
import math

import numpy as np
import pytest
import torch
from addax.common.errors import UserError
from addax.models.layers.normalize import Normalise
from addax.models.training.loop import to_float
from addax.quant import golden
from addax.quant.fold.calibrate import per_channel_symmetric
from addax.quant.fold.scheme import Scheme
from addax.quant.formats import signed
from addax.quant.lower.lowering import lower
from lowered import KERNELS, WITH_SHIFT, chain, conv
from torch import nn
from torch.nn import functional as F
from torchnets import Net

pytestmark = pytest.mark.usefixtures("seed")


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
