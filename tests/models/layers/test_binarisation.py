"""Methods that make networks binary: scales of weights, the noise that fades, and that nothing of it is lowered."""

import copy

import numpy as np
import pytest
import torch
from addax.models.compute.surrogates import PassThrough
from addax.models.layers.binarisation import BINARISATIONS, Binarisation
from addax.models.layers.binary import BinaryConv2d, Sign, set_progress, sign
from addax.models.layers.noise import NoiseAdaptation
from addax.quant import golden
from addax.quant.files.archive import program_bytes
from addax.quant.formats import signed, unsigned
from addax.quant.lower.lowering import lower
from addax.quant.program import Convolution, Requantise
from torch import nn
from torchnets import Net, pictures, run, settle


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def binary_net(how, kernel=3, padding=1):
    """A small network of one binary layer, made as ``how`` says."""
    return Net(
        lambda n, x: n.flat(n.fc(n.s(n.bn2(n.c2(n.s1(n.bn1(n.c1(x)))))))),
        c1=nn.Conv2d(1, 6, 3, bias=False), bn1=nn.BatchNorm2d(6), s1=how.sign(6),
        c2=how.convolution(6, 8, kernel, padding=padding), bn2=nn.BatchNorm2d(8), s=how.sign(8),
        fc=how.convolution(8, 10, 6), flat=nn.Flatten(),
    )  # fmt: skip


@pytest.mark.parametrize(("scale", "dims"), [("layer", (0, 1, 2, 3)), ("filter", (1, 2, 3))])
def test_scale_is_the_mean_magnitude_and_has_no_gradient(scale, dims):
    layer = BinaryConv2d(3, 4, 3, scale=scale).double()
    x = torch.randn(2, 3, 5, 5).double()
    layer(x).sum().backward()
    scaled = layer.weight.detach().abs().mean(dims, keepdim=True)

    weight = layer.weight.detach().requires_grad_()
    expected = nn.functional.conv2d(x, sign(weight) * scaled)
    expected.sum().backward()

    assert torch.allclose(layer(x), expected)
    assert torch.allclose(layer.weight.grad, weight.grad)


def test_gradient_of_dorefa_is_not_scaled():
    """Zhou et al.: what reaches the binary weight reaches the real one."""
    scaled = BinaryConv2d(3, 4, 3, scale="layer", surrogate=PassThrough(), scale_gradient=False).double()
    plain = copy.deepcopy(scaled)
    plain.scale = "none"
    x = torch.randn(2, 3, 5, 5).double()

    scaled(x).sum().backward()
    plain(x).sum().backward()

    assert torch.allclose(scaled.weight.grad, plain.weight.grad)
    assert torch.equal(scaled(x), nn.functional.conv2d(x, sign(scaled.weight) * scaled.gains[:, None, None, None]))


def test_border_is_minus_one_or_zero():
    x = torch.ones(1, 2, 3, 3)
    for border, corner in ((-1, -2.0), (0, 8.0)):
        layer = BinaryConv2d(2, 1, 3, padding=1, border=border)
        nn.init.ones_(layer.weight)
        assert layer(x)[0, 0, 0, 0] == corner


@pytest.mark.parametrize(
    ("change", "message"), [({"scale": "each"}, "scale must be one of"), ({"border": 1}, "-1 or 0")]
)
def test_unknown_choices_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        BinaryConv2d(1, 1, 1, **change)


# The noise


@pytest.mark.parametrize(("features", "hidden"), [(1, 1), (3, 1), (16, 4), (63, 15), (64, 1), (576, 9)])
def test_perceptron_has_a_sixty_fourth_of_its_features_or_a_quarter(features, hidden):
    module = NoiseAdaptation(features)

    assert module.first.shape == (hidden, features)
    assert module.second.shape == (features, hidden)
    x = torch.randn(5, features)
    expected = torch.relu(x @ module.first.T) @ module.second.T + 0.1 * torch.sin(x)
    assert torch.allclose(module(x), expected, atol=1e-6)


def test_noise_starts_around_zero():
    """The paper asks for it: the module models an error, which has no mean."""
    means = [float(p.detach().mean()) for p in NoiseAdaptation(4096).parameters()]

    assert max(map(abs, means)) < 0.01


def test_alpha_falls_from_a_tenth_to_nothing():
    """0.05 * (1 + cos(pi * share)): re-implementations' schedule."""
    alphas = [NoiseAdaptation(4).alpha(share) for share in (0.0, 0.5, 1.0)]

    assert alphas == pytest.approx([0.1, 0.05, 0.0], abs=1e-12)


def test_noise_acts_on_pixels_and_filters_in_training_and_fades():
    how = BINARISATIONS["fda"]
    activation, layer = how.sign(4), how.convolution(4, 3, 3)
    x = torch.randn(2, 4, 5, 5)
    pixel = activation.noise(x[1, :, 2, 3])

    assert torch.allclose(activation(x)[1, :, 2, 3], sign(x[1, :, 2, 3]) + 0.1 * pixel, atol=1e-6)
    own = sign(layer.weight[1]) + 0.1 * layer.noise(layer.weight[1].flatten()).view(4, 3, 3)
    bits = torch.ones(1, 4, 3, 3)
    expected = (own * layer.gains[1]).sum()
    assert torch.allclose(layer(bits)[0, 1, 0, 0], expected, atol=1e-5)

    set_progress(nn.ModuleList([activation, layer]), 1.0)
    assert torch.equal(activation(x), sign(x)), "faded out"
    set_progress(activation, 0.0)
    assert torch.equal(activation.eval()(x), sign(x)), "no part of a network that runs"


def test_noise_has_the_gradient_that_its_sum_implies():
    """Alpha times that of the perceptron beside that of the sign; the printed one lacks alpha."""
    how = BINARISATIONS["fda"]
    activation = how.sign(8)
    set_progress(activation, 0.5)
    x = torch.randn(3, 8, requires_grad=True)
    upstream = torch.randn(3, 8)

    (activation(x) * upstream).sum().backward()

    other = x.detach().requires_grad_()
    (activation.noise(other) * upstream).sum().backward()
    expected = upstream * how.features.slope(x.detach(), 0.5) + 0.05 * other.grad
    assert torch.allclose(x.grad, expected, atol=1e-6)


# Lowered


@pytest.mark.parametrize("name", BINARISATIONS)
def test_every_method_becomes_the_same_bits(name):
    """Signs of weights, scales in what follows them, ties of the source: no rounding is left but the first layer's."""
    net = settle(binary_net(BINARISATIONS[name]), pictures(50, (1, 8, 8)), signs=(1.0, -1.0))
    images = pictures(60, (1, 8, 8), seed=1)

    program = lower(net, images[:10], bits=16)

    tensors = golden.run(program, images, trace=True).tensors
    assert (2 * tensors["s"] - 1 == run(net, images)["s"]).mean() > 0.999
    kernels = [(op.kernel, op.weight_format) for op in program.ops if isinstance(op, Convolution)]
    assert kernels[1:] == [("xnor", unsigned(1))] * 2


def test_noise_is_no_part_of_a_program():
    """Byte for byte: neither the modules nor how far the training was."""
    net = settle(binary_net(BINARISATIONS["fda"]), pictures(50, (1, 8, 8)))
    images = pictures(10, (1, 8, 8))
    bare = copy.deepcopy(net)
    for layer in bare.modules():
        if isinstance(layer, Sign | BinaryConv2d):
            layer.noise = None

    found, expected = (program_bytes(lower(module, images)) for module in (net, bare))

    assert found == expected
    assert any("noise" in name for name in net.state_dict())


def test_border_of_zeros_takes_features_of_two_bits():
    """A tap beyond the edge adds nothing, which no single bit says: the layer multiplies -1, 0 and +1 by signs."""
    net = settle(binary_net(Binarisation(border=0)), pictures(50, (1, 8, 8)), signs=(1.0, -1.0))
    images = pictures(60, (1, 8, 8), seed=1)

    program = lower(net, images[:10], bits=16)

    layer = program.by_name["c2"]
    assert (layer.kernel, layer.weight_format, program.format(layer.source)) == ("mult", unsigned(1), signed(2))
    assert isinstance(program.by_name[layer.source], Requantise)
    assert not layer.pad.any()
    tensors = golden.run(program, images, trace=True).tensors
    inputs = torch.tensor(tensors[layer.source]).double()
    assert np.array_equal(tensors["c2"], net.c2.double()(inputs).detach().numpy())
